"""Write a report's files: every one beside and renamed, nothing left half-written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.report import table as grid
from mobilebench.report.dvc_outputs import write_metrics, write_plots
from mobilebench.report.page import render
from mobilebench.report.sections import build, proxy_dataset
from mobilebench.system.files import write_bytes, write_text

if TYPE_CHECKING:
    from mobilebench.report.inputs import ReportInputs
    from mobilebench.report.sections import Section


def write_report(
    out_dir: str | Path, inputs: ReportInputs, more: tuple[Section, ...] = (), without: tuple[str, ...] = ()
) -> tuple[Path, ...]:
    """Write the report under `out_dir` and return the paths, report.md first; `more` and `without` as for `build`.

    report.html is one file for reading offline; report.md uses figures/*.png (and *.svg beside them); tables/*.csv and
    *.tex are for papers; metrics.json and plots/*.csv are for DVC. Figures and tables of an earlier report that this
    one does not have are removed.
    """
    out = Path(out_dir)
    sections = build(inputs, more, without)
    return (
        write_text(out / "report.md", render("report.md.j2", inputs=inputs, sections=sections)),
        write_text(out / "report.html", render("report.html.j2", ("tables.js",), inputs=inputs, sections=sections)),
        write_metrics(out / "metrics.json", inputs),
        *write_plots(out / "plots", inputs, proxy_dataset(inputs)),
        *write_sections(out, sections),
    )


def write_sections(out: Path, sections: tuple[Section, ...]) -> tuple[Path, ...]:
    """Write figures/ and tables/ of these sections below `out`, remove others of theirs there, and return the paths."""
    written = (*_figures(out / "figures", sections), *_tables(out / "tables", sections))
    _remove_stale(out / "figures", (".png", ".svg"), written)
    _remove_stale(out / "tables", (".csv", ".tex"), written)
    return written


def _remove_stale(folder: Path, suffixes: tuple[str, ...], written: tuple[Path, ...]) -> None:
    for path in folder.iterdir():
        if path.suffix in suffixes and path not in written:
            path.unlink()


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
