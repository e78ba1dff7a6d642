"""Write a report's files: every one beside and renamed, nothing left half-written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from mobilebench.report import grid
from mobilebench.report.sections import build
from mobilebench.score.files import write_bytes, write_text

if TYPE_CHECKING:
    from mobilebench.report.inputs import ReportInputs
    from mobilebench.report.sections import Section


def write_report(out_dir: str | Path, inputs: ReportInputs) -> tuple[Path, ...]:
    """Write report.md, figures/*.png and *.svg and tables/*.csv and *.tex under `out_dir`; return the paths written."""
    out = Path(out_dir)
    sections = build(inputs)
    return (
        write_text(out / "report.md", _render("report.md.j2", inputs, sections)),
        *_figures(out / "figures", sections),
        *_tables(out / "tables", sections),
    )


def _figures(folder: Path, sections: tuple[Section, ...]) -> list[Path]:
    pictures = [picture for section in sections for picture in section.pictures]
    return [write_bytes(folder / f"{p.name}.png", p.png()) for p in pictures] + [
        write_text(folder / f"{p.name}.svg", p.svg()) for p in pictures
    ]


def _tables(folder: Path, sections: tuple[Section, ...]) -> list[Path]:
    tables = [table for section in sections for table in section.tables]
    return [write_text(folder / f"{t.name}.csv", grid.to_csv(t)) for t in tables] + [
        write_text(folder / f"{t.name}.tex", grid.to_latex(t)) for t in tables
    ]


def _render(template: str, inputs: ReportInputs, sections: tuple[Section, ...]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("mobilebench.report"),
        autoescape=jinja2.select_autoescape(("html", "html.j2")),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["markdown_table"] = grid.to_markdown
    return environment.get_template(template).render(inputs=inputs, sections=sections)
