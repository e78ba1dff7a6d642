"""Reports of a score table: Markdown, HTML, CSV, LaTeX and figures from plain data, without MLflow or torch."""

from mobilebench.report.inputs import CostRow, Curve, ReportInputs, RunRef
from mobilebench.report.write import write_report

__all__ = ["CostRow", "Curve", "ReportInputs", "RunRef", "write_report"]
