"""Reports of a score table: Markdown, HTML, CSV, LaTeX and figures from plain data, without MLflow or torch."""

from mobilebench.report.inputs import Curve, ReportInputs, RunRef
from mobilebench.report.write import write_report

__all__ = ["Curve", "ReportInputs", "RunRef", "write_report"]
