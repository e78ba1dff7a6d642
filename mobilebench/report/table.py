"""One table, four renderings: HTML (in the template), Markdown, CSV and LaTeX with booktabs."""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LATEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$", "λ": r"$\lambda$", "≥": r"$\ge$",
    "<": r"$<$", ">": r"$>$",
    "\n": r"\newline ",
}  # fmt: skip


CODE = re.compile(r"`([^`\n]+)`")  # as Markdown has it, in captions, sentences and cells


@dataclass(frozen=True)
class Field:
    """One field: `text` for people, `value` for sorting and CSV, `href` if it links, `strong` if it is marked.

    `note` is what a page shows to who points at it: what a number rests on. `ends` are those of an interval, of which
    a CSV has two columns.
    """

    text: str
    value: float | str | None = None
    href: str | None = None
    strong: bool = False
    note: str = ""
    ends: tuple[float, float] | None = None

    @property
    def raw(self) -> float | str:
        """What a CSV holds: the full value where there is one."""
        if isinstance(self.value, float) and math.isnan(self.value):
            return ""
        return self.text if self.value is None else self.value


@dataclass(frozen=True)
class Table:
    """A captioned grid of cells; `name` becomes the file name and the anchor."""

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Field, ...], ...]

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold numbers, [columns]; they are set flush right."""
        return tuple(
            bool(self.rows) and all(not isinstance(row[i].value, str) and row[i].value is not None for row in self.rows)
            for i in range(len(self.columns))
        )

    @property
    def prose(self) -> bool:
        """Whether some cell is a sentence or more; on a phone such a table is shown row by row."""
        return any(len(cell.text) > 60 for row in self.rows for cell in row)

    @property
    def key(self) -> int:
        """The column that says what a row is of; on a narrow screen it stays in sight."""
        return self.columns.index("model") if "model" in self.columns else 0

    def _repr_markdown_(self) -> str:
        """What a notebook shows."""
        return f"{to_markdown(self)}\n\n{self.caption}"


def number(value: float | None, digits: int = 3, *, strong: bool = False, note: str = "") -> Field:
    """Return a number cell; an undefined value reads "n/a"."""
    if value is None or not math.isfinite(value):
        return Field("n/a", math.nan, strong=strong, note=note)
    return Field(f"{value:.{digits}f}", float(value), strong=strong, note=note)


def interval_cell(words: str, low: float, high: float) -> Field:
    """Return the cell of an interval, sorted by its lower end; an undefined one reads "n/a"."""
    return Field(words, low, ends=(low, high)) if math.isfinite(low) else number(None)


def text(value: str, href: str | None = None) -> Field:
    """Return a cell of words."""
    return Field(value, value, href)


def to_markdown(table: Table) -> str:
    """Return the table as GitHub Markdown; a cell's link stays one."""
    numeric = table.numeric
    lines = [_md(table.columns), _md("---:" if right else ":---" for right in numeric)]
    lines += [_md(_md_cell(cell) for cell in row) for row in table.rows]
    return "\n".join(lines)


def to_csv(table: Table) -> str:
    """Return the table as CSV with full-precision values; a column of intervals becomes two, its ends.

    An estimate that has its interval in the same cell is followed by them.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    columns = [[row[i] for row in table.rows] for i in range(len(table.columns))]
    parts = [_csv_columns(name, cells) for name, cells in zip(table.columns, columns, strict=True)]
    writer.writerow(name for part in parts for name in part)
    writer.writerows(zip(*(values for part in parts for values in part.values()), strict=True))
    return out.getvalue()


def _csv_columns(name: str, cells: Sequence[Field]) -> dict[str, list[float | str]]:
    """Return the columns of a CSV that a column of the table becomes, by name."""
    plain = {name: [cell.raw for cell in cells]}
    if all(cell.ends is None for cell in cells):
        return plain
    ends = {
        f"{name} {word}": [Field("", cell.ends[end]).raw if cell.ends else "" for cell in cells]
        for end, word in enumerate(("low", "high"))
    }
    is_alone = all(cell.ends is None or cell.value == cell.ends[0] for cell in cells)
    return ends if is_alone else plain | ends


def to_latex(table: Table) -> str:
    """Return the table as a LaTeX float for the booktabs package."""
    spec = "".join(_tex_column(table, i) for i in range(len(table.columns)))
    head = " & ".join(_tex(name) for name in table.columns)
    body = [to_latex_row(row) for row in table.rows]
    return "\n".join([
        r"% needs \usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\caption{{{_tex(table.caption)}}}",
        rf"\label{{tab:{table.name}}}", rf"\begin{{tabular}}{{{spec}}}", r"\toprule", head + r" \\", r"\midrule",
        *body, r"\bottomrule", r"\end{tabular}", r"\end{table}", "",
    ])  # fmt: skip


def to_latex_row(row: Iterable[Field]) -> str:
    """Return one line of a LaTeX table."""
    return " & ".join(_tex_cell(cell) for cell in row) + r" \\"


def _md(cells: Iterable[str]) -> str:
    return "| " + " | ".join(c.replace("|", "\\|").replace("\n", "<br>") for c in cells) + " |"


def _md_cell(cell: Field) -> str:
    words = f"**{cell.text}**" if cell.strong else cell.text
    return f"[{words}]({cell.href})" if cell.href else words


def _tex_column(table: Table, i: int) -> str:
    long = any(len(row[i].text) > 40 for row in table.rows)
    return r"p{0.25\linewidth}" if long else "r" if table.numeric[i] else "l"


def _tex(words: str) -> str:
    escaped = "".join(_LATEX.get(c, c) for c in words)
    return CODE.sub(r"\\texttt{\1}", escaped)


def _tex_cell(cell: Field) -> str:
    return rf"\textbf{{{_tex(cell.text)}}}" if cell.strong else _tex(cell.text)
