"""Which runs may enter a score: one finished, agreeing record per cell, and every other cell named with the reason."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mobilebench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mobilebench.config.suite import Cell
    from mobilebench.runs.records import Record


class RecordsError(UserError):
    """The runs do not make one finished, agreeing record per cell; the message names every cell and what to do."""


@dataclass(frozen=True)
class Problem:
    """One cell that cannot enter the score, and why."""

    cell: Cell
    kind: Literal["missing", "unfinished", "duplicate", "other protocol", "damaged", "disagrees"]
    detail: str

    def __str__(self) -> str:
        return f"{self.cell.name}: {self.kind}: {self.detail}"


@dataclass(frozen=True)
class CheckedRecords:
    """The outcome of a check: the records to score, what is wrong with other cells, and how many runs were left out."""

    records: tuple[Record, ...]
    problems: tuple[Problem, ...]
    ignored: int


def check(records: Sequence[Record], cells: Iterable[Cell], protocol_hash: str) -> CheckedRecords:
    """Return, for each cell, its one finished record under the protocol, or the problem with it.

    Runs of cells outside the grid, of other protocols, and unfinished runs beside a finished one count as ignored.
    """
    by_cell: dict[Cell, list[Record]] = defaultdict(list)
    for record in records:
        by_cell[record.cell].append(record)
    accepted: list[Record] = []
    problems: list[Problem] = []
    for cell in cells:
        outcome = _one(cell, by_cell[cell], protocol_hash)
        if isinstance(outcome, Problem):
            problems.append(outcome)
        else:
            accepted.append(outcome)
    problems += _mixed(accepted)
    return CheckedRecords(tuple(accepted), tuple(problems), len(records) - len(accepted))


def _one(cell: Cell, runs: list[Record], protocol_hash: str) -> Record | Problem:
    ours = [run for run in runs if run.protocol_hash == protocol_hash]
    finished = [run for run in ours if run.status == "FINISHED"]
    if len(finished) > 1:
        ids = ", ".join(run.run_id for run in finished)
        return Problem(cell, "duplicate", f"finished runs {ids}; delete all but one in MLflow")
    if finished:
        return _sound(cell, finished[0])
    if ours:
        states = ", ".join(f"{run.status} ({run.run_id})" for run in ours)
        return Problem(cell, "unfinished", f"{states}; run `mobilebench train {cell.dataset}` to finish it")
    if runs:
        hashes = ", ".join(sorted({run.protocol_hash for run in runs}))
        return Problem(
            cell, "other protocol", f"only runs of protocol {hashes}, wanted {protocol_hash}; `dvc repro` trains them"
        )
    return Problem(cell, "missing", f"no run; run `mobilebench train {cell.dataset}`")


def _sound(cell: Cell, record: Record) -> Record | Problem:
    if record.test_top1 is None or not 0 <= record.test_top1 <= 1 or not record.n_test:
        found = f"test_top1 {record.test_top1}, n_test {record.n_test}"
        return Problem(cell, "damaged", f"run {record.run_id} is FINISHED with {found}; expected a fraction in [0, 1]")
    return record


def _mixed(records: Sequence[Record]) -> list[Problem]:
    """Name the cells whose data or code differ from most others: their accuracies are not comparable."""
    problems = []
    for what, key, group in (
        ("data_digest", lambda r: r.data_digest, lambda r: r.dataset),
        ("code_version", lambda r: str(r.code_version), lambda _: ""),
    ):
        groups: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            groups[group(record)].append(record)
        for members in groups.values():
            values = [key(member) for member in members]
            usual = max(sorted(set(values)), key=values.count)
            problems += [
                Problem(m.cell, "disagrees", f"{what} {key(m)} where most cells have {usual}; train it again")
                for m in members
                if key(m) != usual
            ]
    return problems


def raise_if_incomplete(checked: CheckedRecords, *, allow_partial: bool) -> None:
    """Raise RecordsError naming every problem, unless a partial matrix is allowed and nothing contradicts itself."""
    fatal = [p for p in checked.problems if not allow_partial or p.kind == "disagrees"]
    if fatal or not checked.records:
        lines = "\n".join(f"  {line}" for line in describe(fatal or checked.problems))
        hint = "" if allow_partial else "\nTo score what is there, add --allow-partial."
        raise RecordsError(f"{len(fatal or checked.problems)} cells cannot be scored:\n{lines}{hint}")


def describe(problems: Sequence[Problem]) -> list[str]:
    """Return one line per reason: cells that share it are named together."""
    by_reason: dict[tuple[str, str], list[str]] = defaultdict(list)
    for problem in problems:
        by_reason[problem.kind, problem.detail].append(problem.cell.name)
    return [f"{', '.join(cells)}: {kind}: {detail}" for (kind, detail), cells in by_reason.items()]


def compare_files(records: Iterable[Record], files: Iterable[Record]) -> list[Problem]:
    """Return the cells whose result file names another run than the tracking server's record.

    DVC sees the files, the score sees the server: a file restored from a cache, or a store swapped under the
    results, would otherwise mix two histories.
    """
    on_server = {record.cell: record for record in records}
    problems = []
    for file in files:
        record = on_server.get(file.cell)
        if record is not None and (record.run_id, record.test_top1) != (file.run_id, file.test_top1):
            detail = f"its result file names run {file.run_id}, the tracking server has {record.run_id}"
            problems.append(Problem(file.cell, "disagrees", f"{detail}; run `mobilebench train {file.dataset} --redo`"))
    return problems
