"""Sets of runs that are compared: what they hold, and what differs between two. `named_runs` says what names mean."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

from mobilebench.errors import UserError
from mobilebench.scoring import Matrix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mobilebench.analysis.kept import KeptPredictions
    from mobilebench.config.suite import Cell
    from mobilebench.evaluation.predictions import Predictions
    from mobilebench.runs.records import Record

    OfCell = Callable[[tuple[str, str, int]], Predictions | None]

T = TypeVar("T")


class RunSetError(UserError):
    """A name stands for nothing that can be compared, or for two things; the message says what was looked for."""


@dataclass(frozen=True, eq=False)
class RunSet:
    """One set of runs: results, and per cell its settings, data digests and code, as far as they are known."""

    name: str
    cells: Mapping[Cell, float]
    n_test: Mapping[str, int]
    metrics: Mapping[str, str] = field(default_factory=dict)
    """{dataset: id of its metric}; top-1 for one that is not in it."""
    settings: Mapping[Cell, Mapping[str, str]] = field(default_factory=dict)
    data: Mapping[Cell, Mapping[str, str]] = field(default_factory=dict)
    code: Mapping[Cell, Mapping[str, str]] = field(default_factory=dict)
    records: Mapping[Cell, Record] = field(default_factory=dict)
    """The runs behind the cells, where they are runs."""
    notes: tuple[str, ...] = ()
    """What a person should know: cells that have no run, and where one of several runs was chosen."""
    kept: KeptPredictions | None = None
    """The predictions of these runs; None where there are no runs behind the cells."""

    @property
    def matrix(self) -> Matrix:
        """The results as a matrix."""
        cells = {(c.model, c.dataset, c.seed): value for c, value in self.cells.items()}
        return Matrix.from_cells(cells, self.n_test, self.metrics)


@dataclass(frozen=True)
class Change:
    """One thing that differs in `count` pairs of cells. kind: protocol, data or code."""

    kind: str
    name: str
    a: str
    b: str
    count: int


def match_models(a: RunSet, b: RunSet) -> tuple[RunSet, RunSet]:
    """Let two sets of runs of one model each be compared although the models differ, under both names."""
    first, second = ({cell.model for cell in run_set.cells} for run_set in (a, b))
    if len(first) != 1 or len(second) != 1 or first == second:
        return a, b
    label = f"{first.pop()} > {second.pop()}"
    return _renamed(a, label), _renamed(b, label)


def kept_of_both(a: RunSet, b: RunSet) -> tuple[OfCell, OfCell]:
    """Return functions of (model, dataset, seed) to the predictions of A and of B, for cells trained on the same data.

    Of other cells there are none: results on different images cannot be paired.
    """
    same = {
        (cell.model, cell.dataset, cell.seed): cell
        for cell in a.records.keys() & b.records.keys()
        if a.records[cell].data_digest == b.records[cell].data_digest
    }

    def of(side: RunSet) -> OfCell:
        kept = side.kept
        return lambda key: kept.of(side.records[same[key]]) if kept is not None and key in same else None

    return of(a), of(b)


def changes(a: RunSet, b: RunSet) -> list[Change]:
    """Return what differs in protocol, data and code between the cells that both have, most frequent first."""
    counts: Counter[tuple[str, str, str, str]] = Counter()
    for cell in a.cells.keys() & b.cells.keys():
        for kind, key in (("protocol", "settings"), ("data", "data"), ("code", "code")):
            left, right = getattr(a, key).get(cell, {}), getattr(b, key).get(cell, {})
            both = left.keys() & right.keys()
            counts.update((kind, name, left[name], right[name]) for name in both if left[name] != right[name])
    order = ("protocol", "data", "code")
    ranked = sorted(counts.items(), key=lambda item: (order.index(item[0][0]), -item[1], item[0]))
    return [Change(kind, name, x, y, count) for (kind, name, x, y), count in ranked]


def unknown(a: RunSet, b: RunSet) -> list[str]:
    """Return the kinds that one of the two sets does not know: no difference found there means nothing."""
    names = {"settings": "protocol", "data": "data", "code": "code"}
    return [kind for key, kind in names.items() if not (getattr(a, key) and getattr(b, key))]


def _renamed(run_set: RunSet, model: str) -> RunSet:
    def over(part: Mapping[Cell, T]) -> dict[Cell, T]:
        return {replace(cell, model=model): value for cell, value in part.items()}

    return replace(
        run_set,
        cells=over(run_set.cells),
        settings=over(run_set.settings),
        data=over(run_set.data),
        code=over(run_set.code),
        records=over(run_set.records),
    )
