"""Does ImageNet accuracy predict: tables and figures of associations, of a suite and of the published studies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilebench.report.figures import WIDTH
from mobilebench.report.style import BLUE, GREEN, INK, LINE, MUTED, ORANGE, Picture, canvas, styled
from mobilebench.report.table import Field, Table, interval_cell, number, text
from mobilebench.scoring.correlation import HALF
from mobilebench.scoring.prediction import NOTHING, Association, Estimate
from mobilebench.system.words import counted, p_words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from mobilebench.scoring.beyond import Beyond, Rival

RULE = (
    "It predicts where it carries half the variance of the true results (r of 0.71 and more): said where the whole "
    "interval lies there, or surely not, noise of measuring taken out; else undecided"
)
_COLOURS = {"predicts": BLUE, "does not predict": ORANGE, "undecided": MUTED}
_MARKERS = ("o", "s", "D", "^", "v")


@dataclass(frozen=True)
class Row:
    """One dataset of one source."""

    domain: str
    """Domain of its images; "" for none known."""
    source: str
    """The study or the suite."""
    dataset: str
    """Id of the dataset."""
    predictor: str
    """What predicts."""
    found: Association | None
    """How they go together; None where there is only a printed number."""
    printed: float = math.nan
    """The printed correlation."""

    @property
    def r(self) -> Estimate:
        """The correlation, as far as it is known."""
        return self.found.r if self.found else Estimate(self.printed)

    @property
    def verdict(self) -> str:
        """The verdict, or that there is none."""
        return self.found.verdict if self.found else "printed, no interval"


def in_order(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return the rows by domain, then by source, best predicted first; those of no domain come last."""
    return tuple(sorted(rows, key=lambda row: (not row.domain, row.domain, row.source, -row.r.value)))


def prediction_table(name: str, rows: Sequence[Row], caption: str, *, several: bool = False) -> Table:
    """Return one line a row; `several`: the rows are of several sources, which get a column."""
    more = ("study", "predictor") if several else ()
    columns = ("domain", *more[:1], "dataset", *more[1:], "metric", "n", "r", "95% interval", "Spearman", "Kendall",
               "p of r", "slope", "noise", "verdict")  # fmt: skip
    return Table(name, caption, columns, tuple(_cells(row, several=several) for row in rows))


def _cells(row: Row, *, several: bool) -> tuple[Field, ...]:
    found = row.found
    before = (text(row.source),) if several else ()
    after = (text(row.predictor),) if several else ()
    of_all = (found.rho, found.tau, found.slope if found.logit else found.normalised) if found else (NOTHING,) * 3
    share = found.noise if found else math.nan
    return (
        text(row.domain or "-"), *before, text(row.dataset), *after, text(found.metric if found else "-"),
        number(found.n if found else None, 0), number(row.r.value, 2), _ends(row.r), _interval(of_all[0]),
        _interval(of_all[1]), p_value(row.r.p), _interval(of_all[2]),
        Field(f"{share:.0%}", share) if math.isfinite(share) else number(None), text(row.verdict),
    )  # fmt: skip


def _ends(estimate: Estimate) -> Field:
    low, high = float(estimate.low), float(estimate.high)
    return interval_cell(f"{low:.2f} to {high:.2f}", low, high) if math.isfinite(low) else text("none")


def _interval(estimate: Estimate) -> Field:
    if not math.isfinite(estimate.value):
        return number(None)
    ends = f" [{estimate.low:.2f}, {estimate.high:.2f}]" if math.isfinite(estimate.low) else ""
    known = (float(estimate.low), float(estimate.high)) if ends else None
    return Field(f"{estimate.value:.2f}{ends}", estimate.value, ends=known)


def p_value(p: float) -> Field:
    """Return the cell of a p-value."""
    return Field("<0.001", p) if p < 0.001 else number(p)


def beyond_table(name: str, found: Beyond, predictor: str) -> Table:
    """Return the nested regressions, one line a dataset."""
    caption = (
        f"Two nested regressions of each dataset's results, n = {len(found.models)} models: on {predictor} alone, and "
        "with the mean of the other datasets (each standardised). p of the gain by F, by permuted residuals, and "
        f"corrected for {counted(len(found.rows), 'dataset')} (Holm). All together: mean partial correlation "
        f"{found.partial:+.2f}, permutation p {p_words(found.p)}."
    )
    rows = tuple(
        (
            text(row.dataset), number(row.r2, 2), number(row.gain, 2), number(row.partial, 2), number(row.f, 2),
            p_value(row.p), p_value(row.p_permutation), p_value(row.p_holm),
        )
        for row in found.rows
    )  # fmt: skip
    columns = ("dataset", "R2 alone", "gain in R2", "partial r", "F", "p", "p permuted", "p Holm")
    return Table(name, caption, columns, rows)


def rivals_table(found: Sequence[tuple[str, Rival]]) -> Table:
    """Return whether properties of datasets say where a predictor works, one line for each (study, property)."""
    caption = (
        "Rival explanations: Spearman, over the n datasets of a study, of a property of the dataset with the "
        "correlation and with the slope found there; 95% interval (Fisher), p of the first."
    )
    rows = tuple(
        (
            text(study), text(each.name), number(each.n, 0), _interval(each.of_r), p_value(each.of_r.p),
            _interval(each.of_slope),
        )
        for study, each in found
    )  # fmt: skip
    return Table("rivals", caption, ("study", "property", "n", "with r", "p", "with the slope"), rows)


@styled()
def forest(rows: Sequence[Row], caption: str) -> Picture:
    """Return each row's correlation with its interval under its domain; the marker says the source."""
    sources = list(dict.fromkeys(row.source for row in rows))
    lines = _lines(rows)
    figure, (axes,) = canvas(WIDTH, 1.3 + 0.19 * len(lines))
    for place, line in enumerate(lines):
        if isinstance(line, Row):
            _draw(axes, place, line, _MARKERS[sources.index(line.source) % len(_MARKERS)])
    for bound, style in ((0, "-"), (HALF, "--")):
        axes.axvline(bound, color=MUTED, linewidth=0.8, linestyle=style, zorder=0)
    axes.set_yticks(range(len(lines)), [line.dataset if isinstance(line, Row) else line for line in lines])
    for tick, line in zip(axes.yaxis.get_major_ticks(), lines, strict=True):
        tick.label1.set_fontweight("normal" if isinstance(line, Row) else "bold")
    axes.set_xlim(-1.02, 1.02)
    axes.set_ylim(len(lines) - 0.3, -0.9)
    axes.tick_params(axis="y", length=0)
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("Pearson's r with the predictor (dashed: half the variance)")
    _legend(axes, rows, sources)
    return Picture("prediction", caption, figure)


def _lines(rows: Sequence[Row]) -> list[Row | str]:
    """Return the rows with a heading before each domain where there are several."""
    domains = list(dict.fromkeys(row.domain for row in rows))
    if len(domains) < 2:
        return list(rows)
    found: list[Row | str] = []
    for domain in domains:
        found += [domain or "no known domain", *(row for row in rows if row.domain == domain)]
    return found


def _draw(axes: Axes, place: int, row: Row, marker: str) -> None:
    colour = _COLOURS.get(row.verdict, GREEN)
    if math.isfinite(row.r.low):
        axes.plot([row.r.low, row.r.high], [place, place], color=colour, linewidth=1.8, solid_capstyle="round")
    axes.plot(
        row.r.value, place, marker, color=INK, markersize=4.5, markerfacecolor=INK if row.found else "white", zorder=3
    )


def _legend(axes: Axes, rows: Sequence[Row], sources: Sequence[str]) -> None:
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], color=_COLOURS[name], linewidth=1.8, label=name) for name in _COLOURS]
    if len(sources) > 1:
        for place, source in enumerate(sources):
            (predictor,) = {row.predictor for row in rows if row.source == source}
            known = any(row.found for row in rows if row.source == source)
            handles.append(
                Line2D(
                    [], [], color=INK, marker=_MARKERS[place % len(_MARKERS)], linestyle="none", markersize=4.5,
                    markerfacecolor=INK if known else "white",
                    label=f"{source}: {predictor}{'' if known else ', printed'}",
                )
            )  # fmt: skip
    figure = axes.get_figure(root=True)
    assert figure is not None, "axes made by canvas() lie in a figure"
    figure.legend(handles=handles, loc="outside upper center", ncols=2, fontsize=8)
    axes.spines[["left"]].set_color(LINE)
