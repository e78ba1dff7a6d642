"""Which runs may enter a score: one finished, agreeing record per cell, and every other cell named with the reason."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import METRICS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Container, Iterable, Mapping, Sequence

    from mobilebench.config.suite import Cell
    from mobilebench.runs.identity import Identity
    from mobilebench.runs.records import Record


_NAMED = 5  # cells in one sentence


class RecordsError(UserError):
    """The runs do not make one finished, agreeing record per cell; the message names every cell and what to do."""


@dataclass(frozen=True)
class Problem:
    """One cell that cannot enter the score, and why."""

    cell: Cell
    kind: Literal["missing", "unfinished", "duplicate", "other recipe", "superseded", "damaged", "disagrees"]
    detail: str

    def __str__(self) -> str:
        return f"{self.cell.name}: {self.kind}: {self.detail}"


@dataclass(frozen=True)
class CheckedRecords:
    """The outcome of a check: the records to score, what is wrong with other cells, and the runs that were left out."""

    records: tuple[Record, ...]
    problems: tuple[Problem, ...]
    left_out: Mapping[str, int]
    """How many runs were left out, by the reason in words."""
    undecided: Mapping[Cell, str] = field(default_factory=dict)
    """Scored cells with finished runs of several identities, none of which is known to be wanted: what differs, in
    words. The newest run was taken, which is the wrong one where an edit was undone."""

    @property
    def ignored(self) -> int:
        """How many runs were left out in all."""
        return sum(self.left_out.values())


@dataclass(frozen=True)
class Whereabouts:
    """Where a tracking store has a run."""

    experiment: str
    status: str
    superseded: bool
    restore: str = ""
    """The command that brings it back from MLflow's trash; "" for a run that is not in it."""


def check(
    records: Sequence[Record], recipes: Mapping[Cell, str], identities: Mapping[Cell, Identity] | None = None
) -> CheckedRecords:
    """Return, for each cell, its one finished record under its recipe, or the problem with it.

    recipes: each cell of the grid with the hash of its recipe. identities: what the cells would be trained with here,
    as far as that is known: a run of another identity is then superseded. Of a cell that is not among them the newest
    identity counts. Runs of cells outside the grid, of other recipes, superseded ones, and unfinished ones are left
    out.
    """
    by_cell: dict[Cell, list[Record]] = defaultdict(list)
    for record in records:
        by_cell[record.cell].append(record)
    accepted: list[Record] = []
    problems: list[Problem] = []
    for cell, recipe in recipes.items():
        outcome = _one(cell, by_cell[cell], recipe, (identities or {}).get(cell))
        if isinstance(outcome, Problem):
            problems.append(outcome)
        else:
            accepted.append(outcome)
    problems += _mixed(accepted)
    taken = {record.run_id for record in accepted}
    unsound = {problem.cell for problem in problems if problem.kind in {"duplicate", "damaged"}}
    reasons = [_left_out(record, recipes, unsound) for record in records if record.run_id not in taken]
    left_out = {why: reasons.count(why) for why in sorted(set(reasons))}
    undecided = {
        record.cell: why
        for record in accepted
        if record.cell not in (identities or {}) and (why := _alternatives(record, by_cell[record.cell]))
    }
    return CheckedRecords(tuple(accepted), tuple(problems), left_out, undecided)


def _alternatives(taken: Record, runs: Iterable[Record]) -> str:
    """Return in words what differs between the identities of a cell's finished runs; "" where all are of one."""
    others = [run for run in runs if run.recipe_hash == taken.recipe_hash and run.status == "FINISHED"]
    identities = dict.fromkeys(run.identity for run in others if run.identity != taken.identity)
    return ", ".join(dict.fromkeys(why for other in identities for why in taken.identity.differences(other)))


def undecided_note(undecided: Mapping[Cell, str]) -> str:
    """Return one sentence on the cells whose newest run was taken among several identities; "" where there are none."""
    if not undecided:
        return ""
    differences = ", ".join(dict.fromkeys(undecided.values()))
    return (
        f"Of {len(undecided)} cells ({name_cells(undecided)}) there are finished runs of several identities "
        f"({differences}), and the newest were taken. After an edit that was undone, those are the wrong ones: in the "
        "project's own folder, with its data packed and its networks installed, the right ones are known"
    )


def name_cells(cells: Iterable[Cell], grid: Collection[Cell] = ()) -> str:
    """Return a short list of cells; a model of which all cells in `grid` are among them is named as a whole."""
    these = set(cells)
    models = {cell.model for cell in these} - {cell.model for cell in grid if cell not in these} if grid else set[str]()
    others = sorted(cell.name for cell in these if cell.model not in models)
    shown = others[:_NAMED] + ["..."] * (len(others) > _NAMED)
    return ", ".join([*(f"all of {model}" for model in sorted(models)), *shown])


def _left_out(record: Record, recipes: Mapping[Cell, str], unsound: Container[Cell]) -> str:
    """Return in words why a run is not scored. unsound: cells whose finished runs can't be used as they are."""
    state = "" if record.status == "FINISHED" else f" ({record.status})"
    if record.cell not in recipes:
        return f"outside the grid{state}"
    if record.recipe_hash != recipes[record.cell]:
        return f"of another recipe{state}"
    if state:
        return f"unfinished{state}"
    return "named above" if record.cell in unsound else "superseded"


def _one(cell: Cell, runs: list[Record], recipe: str, wanted: Identity | None) -> Record | Problem:
    ours = [run for run in runs if run.recipe_hash == recipe]
    finished = [run for run in ours if run.status == "FINISHED"]
    if finished:
        return _of_one_identity(cell, finished, wanted)
    if ours:
        states = ", ".join(f"{run.status} ({run.run_id})" for run in ours)
        return Problem(cell, "unfinished", f"{states}; run `mobilebench train {cell.dataset}` to finish it")
    if runs:
        hashes = ", ".join(sorted({run.recipe_hash or "an earlier version of mobilebench" for run in runs}))
        return Problem(
            cell, "other recipe", f"only runs of recipe {hashes}, wanted {recipe}; `dvc repro` trains its cells"
        )
    return Problem(cell, "missing", f"no run; run `mobilebench train {cell.dataset}`")


def _of_one_identity(cell: Cell, finished: list[Record], wanted: Identity | None) -> Record | Problem:
    newest = max(finished, key=lambda run: (run.end_time or 0, run.run_id))
    identity = wanted or newest.identity
    same = [run for run in finished if run.identity == identity]
    if not same:
        why = ", ".join(identity.differences(newest.identity))
        return Problem(
            cell,
            "superseded",
            f"its runs were made under another identity ({why}); run `mobilebench train {cell.dataset}`",
        )
    if len(same) > 1:
        first, *others = sorted(same, key=lambda run: (run.end_time or 0, run.run_id))
        delete = ", ".join(f"`mlflow runs delete --run-id {run.run_id}`" for run in others)
        ids = ", ".join(run.run_id for run in same)
        advice = f"{delete} leaves the earliest, {first.run_id}"
        return Problem(cell, "duplicate", f"finished runs {ids} of one identity; {advice}")
    return _sound(cell, same[0])


def _sound(cell: Cell, record: Record) -> Record | Problem:
    # Which metric it recorded does not matter: any other one comes from its predictions.
    if not record.metrics or not record.n_test:
        read = ", ".join(f"test_{name}" for name in record.metrics) or "no metric of test"
        problem = f"{read} and n_test {record.n_test}; expected a metric and the number of test images"
    else:
        problem = next(filter(None, (_outside(name, value) for name, value in record.metrics.items())), "")
    if problem:
        delete = f"`mlflow runs delete --run-id {record.run_id}`"
        return Problem(
            cell,
            "damaged",
            f"run {record.run_id} is FINISHED with {problem}. Its values were changed in the store, or it is no run of "
            f"this program: after {delete}, `mobilebench score` says how to go on",
        )
    loss = record.metrics.get("nll")
    if loss is not None and not math.isfinite(loss):  # of a version that let this pass
        detail = (
            f"run {record.run_id} is FINISHED with test_loss {loss}: its network diverged, and its other metrics "
            "are of undefined outputs. Give its cell a smaller lr in params.yaml (an override), then run "
            f"`mobilebench train {cell.dataset}`"
        )
        return Problem(cell, "damaged", detail)
    return record


def _outside(name: str, value: float) -> str:
    """Return in words that a value cannot be one of its metric; "" where it can, or the metric is not known here."""
    metric = METRICS.get(name)  # the bounds of one from outside may be others since: what is scored is checked by those
    if metric is None or name == "nll":  # an undefined loss is a divergence, which is said in other words
        return ""
    low, high = metric.bounds
    is_sound = not math.isnan(value) and not metric.outside(value)
    return "" if is_sound else f"test_{name} {value}; expected a number in [{low:g}, {high:g}]"


def _mixed(records: Sequence[Record]) -> list[Problem]:
    """Name the cells whose data or code differ from most others: their accuracies are not comparable."""
    problems = []
    for what, key, group in (
        ("data_digest", lambda r: r.data_digest, lambda r: r.dataset),
        ("code_version", lambda r: str(r.code_version), lambda _: ""),
        ("network", lambda r: r.network, lambda r: f"{r.model} on {r.dataset}"),  # the seeds of one model
        ("weights", lambda r: r.weights, lambda r: f"{r.model} on {r.dataset}"),
        ("selection_metric", lambda r: r.selection_metric, lambda r: f"{r.model} on {r.dataset}"),
    ):
        groups: dict[str, list[Record]] = defaultdict(list)
        for record in records:
            groups[group(record)].append(record)
        for members in groups.values():
            values = [key(member) for member in members]
            usual = max(sorted(set(values)), key=values.count)
            problems += [
                Problem(
                    m.cell,
                    "disagrees",
                    f"{what} {key(m)} where most cells have {usual}; `mobilebench data prepare {m.dataset}` and then "
                    f"`mobilebench train {m.dataset}` make all cells of {m.dataset} as things are here",
                )
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


def compare_files(
    checked: CheckedRecords,
    on_server: Iterable[Record],
    files: Iterable[Record],
    has_journal: Callable[[Record], bool],
    find: Callable[[str], Whereabouts | None],
) -> CheckedRecords:
    """Return the check with its problems seen beside the result files of the same recipes.

    DVC sees the files, the score sees the server: a file restored from a cache, or a store swapped under the
    results, would otherwise mix two histories. on_server: all runs the server has; has_journal: whether this folder
    can deliver a file's run once more; find: where the server has a run, if it has it.
    """
    known = {record.run_id for record in on_server}
    taken = {record.cell: record for record in checked.records}
    found = []
    for file in files:
        record = taken.get(file.cell)
        if record is not None and (record.run_id, record.value) != (file.run_id, file.value):
            found.append(_contradiction(file, record))
        elif record is None and file.run_id not in known:
            found.append(_lost(file, find(file.run_id), can_deliver=has_journal(file)))
    replaced = {problem.cell for problem in found if problem.cell not in taken}
    kept = (problem for problem in checked.problems if problem.cell not in replaced)
    return replace(checked, problems=(*kept, *found))


def _lost(file: Record, place: Whereabouts | None, *, can_deliver: bool) -> Problem:
    """Return the problem of a finished cell whose run is not among the experiment's; nothing is lost by the advice."""
    if place is None:
        what = "which this tracking store does not have"
    elif place.restore:
        what = "which was deleted in MLflow and is in its trash"
    elif place.superseded:
        what = "which is marked as superseded there"
    else:
        what = f"which is in the experiment {place.experiment!r}"
    detail = f"its result file names run {file.run_id}, {what}"
    return Problem(file.cell, "missing", f"{detail}; {_way_back(file, place, can_deliver=can_deliver)}")


def _way_back(file: Record, place: Whereabouts | None, *, can_deliver: bool) -> str:
    if can_deliver:
        return "`mobilebench sync` delivers it again"
    if place is None:
        one = f"`mobilebench train {file.dataset} --model {file.model} --seed {file.seed} --redo`"
        return (
            "point MLFLOW_TRACKING_URI at the store that has it, or give `mobilebench sync` the folder that it was "
            f"trained in. Only where both are lost: {one} trains it anew"
        )
    if place.restore:
        return f"`{place.restore}` brings it back"
    if place.superseded:
        return "the run that takes its place is not finished: finish it where it is trained"
    return f"name that experiment in params.yaml, and `mobilebench train {file.dataset}` brings the other cells to it"


def _contradiction(file: Record, record: Record) -> Problem:
    detail = f"its result file names run {file.run_id}, the tracking server has {record.run_id}"
    if file.identity == record.identity:  # `train` would see a finished cell
        advice = (
            f"after `rm results/cells/{file.dataset}/{file.cell.name}.json`, `mobilebench train {file.dataset}` takes "
            "the server's run"
        )
    else:
        advice = f"run `mobilebench train {file.dataset}`"
    return Problem(file.cell, "disagrees", f"{detail}; {advice}")
