"""What a name stands for: an experiment, a run, a model version, a git revision or files, read as one set of runs."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from mobilebench.analysis.caveats import chosen_on_test
from mobilebench.analysis.identities import identities_here
from mobilebench.analysis.kept import KeptPredictions, metrics_of, values_of
from mobilebench.analysis.result_files import are_files, read_files
from mobilebench.analysis.run_sets import RunSet, RunSetError
from mobilebench.config.parsing import flatten
from mobilebench.config.suite import Cell, parse_suite
from mobilebench.errors import UserError
from mobilebench.execution.suites import suite_here, suite_of_experiment
from mobilebench.runs.score_check import check, name_cells, undecided_note
from mobilebench.scoring import Matrix
from mobilebench.system.files import read_text
from mobilebench.system.git import git
from mobilebench.system.layout import RESULTS
from mobilebench.system.provenance import SUITE, is_own_repository

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from mobilebench.config.suite import Suite
    from mobilebench.evaluation.predictions import Predictions
    from mobilebench.runs.records import Record
    from mobilebench.tracking import Details, Tracker

    OfCell = Callable[[tuple[str, str, int]], Predictions | None]

CODE = (
    "git_commit",
    "git_dirty",
    "code_version",
    "network",
    "weights",
    "network_package",
    "selection_metric",
    "python",
    "torch",
    "torchvision",
    "timm",
    "numpy",
    "device",
    "gpu",
    "tf32_convolutions",
    "tf32_matmuls",
    "cudnn_benchmark",
)
_RUN = re.compile(r"(?:run:)?([0-9a-f]{32})")
_VERSION = re.compile(r"(?:models:/)?(mobilebench\.[a-z0-9_.]+)(?:/([0-9]+)|@([A-Za-z0-9_-]+))")
_SAFE_REVISION = re.compile(r"[A-Za-z0-9_./~^@{}][A-Za-z0-9_./~^@{}-]*")
_TRIES = 3  # runs of one protocol whose suite is looked for
_NOT_SETTINGS = {"model", "dataset", "seed", "num_classes"}


def load_run_set(name: str, store: Callable[[], Tracker], metric: str | None = None) -> RunSet:
    """Return what `name` stands for, each dataset by the metric that its packed data here says, else its runs.

    metric: what every dataset is read by instead. Of runs that did not record it, it is computed from the predictions
    that they kept. Files that are a table alone have the metric that is in it.

    Files (`published`, a results folder or a CSV), a run's id, a model version (`mobilebench.model.dataset/3` or
    `...@best`), an experiment, or a git revision that has results/accuracy.csv; `run:`, `experiment:` and `git:` before
    it say which where it could be two. The runs of one protocol among several are `experiment:NAME@HASH`. The store is
    opened for those that may be in it alone.
    """
    if are_files(name) and not _is_marked(name):
        return _of_files(name, metric)
    if name.startswith("git:"):
        return _of_revision(name.removeprefix("git:"), metric)
    return _of_store(name, store(), metric)


def records_of(experiment: str, tracker: Tracker) -> dict[Cell, Record]:
    """Return the run that counts for each cell of an experiment, or of one of its protocols (`NAME@HASH`)."""
    name, _, protocol = experiment.partition("@")
    found, _ = _counting(name, tracker, protocol)
    return {run.record.cell: run.record for run in found}


def _of_store(name: str, tracker: Tracker, metric: str | None) -> RunSet:
    """Return a set that the tracking store may hold, else that of a git revision of this name."""
    if run_id := run_meant(name):
        return _of_runs(name, [tracker.run(run_id)], tracker, metric)
    if match := _VERSION.fullmatch(name):
        run_id = tracker.registry.run_of(match[1], match[2], match[3])
        return _of_runs(f"{name} (run {run_id})", [tracker.run(run_id)], tracker, metric)
    kind, _, rest = name.rpartition(":")
    if kind == "experiment":
        experiment, _, protocol = rest.partition("@")
        return _of_experiment(experiment, tracker, metric, protocol)
    is_experiment, is_revision = name in tracker.experiments(), _resolve(name) is not None
    if is_experiment and is_revision:
        raise RunSetError(f"{name!r} is an experiment and a git revision; write experiment:{name} or git:{name}")
    if is_experiment:
        return _of_experiment(name, tracker, metric)
    if is_revision:
        return _of_revision(name, metric)
    known = ", ".join(tracker.experiments()) or "none, so train first (`mobilebench train DATASET`)"
    raise RunSetError(
        f"{name!r} is no run id, model version, git revision, experiment, results folder or CSV; experiments in "
        f"{tracker.store}: {known}"
    )


def stands_for_runs(name: str, experiments: Collection[str]) -> bool:
    """Return whether a name has the form of a run, a version or a marked set, or is an experiment or git revision."""
    return _is_marked(name) or are_files(name) or name in experiments or _resolve(name) is not None


def _is_marked(name: str) -> bool:
    """Return whether a name says by its form what it is: a run, a version, or a set with its kind before it."""
    is_form = run_meant(name) is not None or _VERSION.fullmatch(name) is not None
    return is_form or name.startswith(("experiment:", "git:"))


def run_meant(name: str) -> str | None:
    """Return the id of the MLflow run that a name stands for (32 hex digits, `run:` before them or not), else None."""
    match = _RUN.fullmatch(name)
    return match[1] if match else None


def _of_experiment(name: str, tracker: Tracker, metric: str | None, chosen: str = "") -> RunSet:
    found, notes = _counting(name, tracker, chosen)
    run_set = _of_runs(name, found, tracker, metric)
    return replace(run_set, notes=(*notes, *run_set.notes))


def _counting(name: str, tracker: Tracker, chosen: str) -> tuple[list[Details], tuple[str, ...]]:
    """Return the run that counts for each cell of an experiment, and what a person should know of the others."""
    found = tracker.runs(name)
    records = [d.record for d in found]
    recipes, grid = _recipes(name, records, chosen, tracker)
    here = suite_here(name)
    is_ours = here is not None and chosen in {"", here.protocol.hash}
    identities = identities_here(here)[0] if here is not None and is_ours else {}
    checked = check(records, recipes, identities)
    behind = {problem.cell: problem.detail for problem in checked.problems if problem.kind == "superseded"}
    if behind:
        checked = check(records, recipes, {c: identity for c, identity in identities.items() if c not in behind})
    doubled = [p for p in checked.problems if p.kind in {"duplicate", "damaged", "disagrees"}]
    if doubled:
        raise RunSetError(f"experiment {name!r} cannot be compared:\n" + "\n".join(f"  {p}" for p in doubled))
    taken = {record.run_id for record in checked.records}
    notes = (
        _absent(name, grid, {record.cell for record in checked.records}),
        f"{name}: the runs of {name_cells(behind)} are of another network or other data than there is here now"
        if behind
        else "",
        f"{name}: {note}" if (note := undecided_note(checked.undecided)) else "",
    )
    return [d for d in found if d.record.run_id in taken], tuple(note for note in notes if note)


def _absent(name: str, grid: list[Cell], present: Collection[Cell]) -> str:
    """Return one sentence on the cells of a grid that have no run to compare; "" where all have."""
    absent = [cell for cell in grid if cell not in present]
    if not absent:
        return ""
    return f"{name}: {len(absent)} of {len(grid)} cells have no finished run ({name_cells(absent, grid)})"


def _recipes(name: str, records: list[Record], chosen: str, tracker: Tracker) -> tuple[dict[Cell, str], list[Cell]]:
    """Return the recipe that is meant of each cell with a finished run, and the grid.

    It is that of the protocol `chosen`, else of the suite of this name, else the only one there is. Raises RunSetError
    where that leaves none or several, with how many finished runs each protocol has.
    """
    finished = [record for record in records if record.status == "FINISHED"]
    if not finished:
        raise RunSetError(f"experiment {name!r} has no finished cell")
    suite = _kept_suite(finished, chosen, tracker) if chosen else suite_of_experiment(name)
    if suite is not None:
        ours = {r.cell: suite.protocol.recipe_hash_for(r.model, r.dataset) for r in finished}
        if any(record.recipe_hash == ours[record.cell] for record in finished):
            return ours, list(suite.cells())
    of_protocol = [record for record in finished if chosen in {"", record.protocol_hash}]
    recipes = {(record.cell, record.recipe_hash) for record in of_protocol}
    if recipes and len(dict(recipes)) == len(recipes):
        return dict(recipes), list(dict.fromkeys(record.cell for record in records))
    counts = Counter(record.protocol_hash for record in finished)
    runs = ", ".join(f"{protocol} ({count} run{'s' * (count > 1)})" for protocol, count in sorted(counts.items()))
    reason = (
        f"none of protocol {chosen}"
        if chosen
        else f"none of params.yaml's, {suite.protocol.hash}"
        if suite
        else "no suite of that name says which counts"
    )
    raise RunSetError(
        f"experiment {name!r} has finished runs of protocols {runs}; {reason}. Write which one you mean, as "
        f"experiment:{name}@{min(counts)}; it takes each cell's runs of that protocol's recipe, whichever other "
        "protocol they were trained under"
    )


def _kept_suite(finished: list[Record], protocol: str, tracker: Tracker) -> Suite | None:
    """Return the suite of a protocol as its newest run has kept it, None where none can be read.

    It says the recipe of every cell: also of those that were trained before an override for others made the protocol
    another one.
    """
    runs = [record for record in finished if record.protocol_hash == protocol]
    for record in sorted(runs, key=lambda run: run.end_time or 0, reverse=True)[:_TRIES]:
        with TemporaryDirectory() as folder, suppress(UserError):
            path = tracker.artifact(record.run_id, SUITE, Path(folder))
            if path is not None:
                suite = parse_suite(read_text(path, "the JSON of a suite"), f"{SUITE} of run {record.run_id}")
                if suite.protocol.hash == protocol:
                    return suite
    return None


def _of_runs(name: str, found: Sequence[Details], tracker: Tracker, metric: str | None) -> RunSet:
    records = {run.record.cell: run.record for run in found}
    for record in records.values():
        if not record.metrics:
            raise RunSetError(f"run {record.run_id} is {record.status}: it has no final {record.metric} to compare")
    kept = KeptPredictions(tracker, RESULTS)
    metrics = metrics_of(records.values(), metric, records)
    cells = values_of(records.values(), metrics, kept)
    sizes: dict[str, int] = {}
    parts: dict[str, dict[Cell, dict[str, str]]] = defaultdict(dict)
    for run in found:
        record, cell = run.record, run.record.cell
        sizes[cell.dataset] = record.n_test or 0
        parts["settings"][cell] = {key: value for key, value in run.params.items() if key not in _NOT_SETTINGS}
        parts["data"][cell] = {f"{cell.dataset} digest": record.data_digest}
        if "dvc_data" in run.tags:
            parts["data"][cell][f"{cell.dataset} dvc"] = run.tags["dvc_data"]
        parts["code"][cell] = {key: run.tags[key] for key in CODE if key in run.tags} | _project(run.tags)
    return RunSet(
        name, cells, sizes, {dataset: of.id for dataset, of in metrics.items()},
        parts["settings"], parts["data"], parts["code"], records=records,
        notes=(*chosen_on_test(records.values()), *kept.notes), kept=kept,
    )  # fmt: skip


def _project(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the commit of the folder that a run was started in, where it is not the program's own repository."""
    names = [f"project_{key}" for key in ("commit", "dirty")]
    if tags.get("project_commit") in {None, "unknown", tags.get("git_commit")}:
        return {}
    return {name: tags[name] for name in names if name in tags}


def _of_files(source: str, metric: str | None) -> RunSet:
    found = read_files(source, metric=metric)
    records = {record.cell: record for record in found.records}
    cells, sizes, metrics = _cells_of(found.matrix)
    return RunSet(
        found.name, cells, sizes, metrics,
        data={cell: {f"{cell.dataset} digest": record.data_digest} for cell, record in records.items()},
        records=records, kept=found.kept,
        notes=tuple(f"{found.name}: {note}" for note in (*chosen_on_test(found.records), *found.notes)),
    )  # fmt: skip


def _cells_of(matrix: Matrix) -> tuple[dict[Cell, float], dict[str, int], dict[str, str]]:
    """Return the present cells of a matrix, and the test size and the metric of each dataset."""
    keys = [Cell(m, d, s) for m in matrix.models for d in matrix.datasets for s in matrix.seeds]
    flat = dict(zip(keys, matrix.values.ravel(), strict=True))
    cells = {cell: float(value) for cell, value in flat.items() if value == value}  # noqa: PLR0124 - NaN: absent
    sizes = dict(zip(matrix.datasets, map(int, matrix.n_test), strict=True))
    return cells, sizes, dict(zip(matrix.datasets, matrix.metrics, strict=True))


def _of_revision(name: str, metric: str | None = None) -> RunSet:
    commit = _resolve(name)
    if commit is None:
        raise RunSetError(f"{name!r} is no revision of this repository")
    table = git("show", f"{commit}:./results/accuracy.csv")
    if table is None:
        raise RunSetError(f"git revision {name!r} has no results/accuracy.csv; commit it there, or compare experiments")
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"accuracy of {name.replace('/', '_')}.csv"
        path.write_text(table, encoding="utf-8")
        matrix = Matrix.from_csv(path)
    cells, sizes, metrics = _cells_of(matrix)
    if metric is not None and set(metrics.values()) != {metric}:
        raise RunSetError(
            f"git revision {name!r} keeps a table of {', '.join(dict.fromkeys(metrics.values()))} and no predictions, "
            f"so {metric} cannot be computed of it; compare experiments or results folders"
        )
    kind = "git" if is_own_repository() else "project"
    code = {f"{kind}_commit": commit, f"{kind}_dirty": "false"}
    suite, title = _suite_at(commit), f"{name} (commit {commit[:12]})"
    settings = {} if suite is None else _settings(suite, cells)
    absent = "" if suite is None else _absent(title, list(suite.cells()), cells.keys())
    notes = (absent,) if absent else ()
    return RunSet(title, cells, sizes, metrics, settings, {}, dict.fromkeys(cells, code), notes=notes)


def _suite_at(commit: str) -> Suite | None:
    """Return the suite that a commit's scores are of; None where its params.yaml is of another, or can't be read now.

    `unknown` then says that the protocol was not compared.
    """
    try:
        suite = parse_suite(git("show", f"{commit}:./params.yaml") or "", f"params.yaml at {commit[:12]}")
        scored = json.loads(git("show", f"{commit}:./results/score.json") or "{}").get("experiment")
    except (ValueError, AttributeError, UserError):
        return None
    return suite if scored in {None, suite.experiment} else None


def _settings(suite: Suite, cells: Iterable[Cell]) -> dict[Cell, dict[str, str]]:
    """Return the settings of cells as a suite says them."""
    protocol = suite.protocol
    recipes = {(c.model, c.dataset): protocol.recipe_for(c.model, c.dataset) for c in cells}
    # As a run's parameters are: through JSON, which has lists and no tuples, to text.
    plain = {key: flatten(json.loads(json.dumps(asdict(recipe)))) for key, recipe in recipes.items()}
    flat = {key: {k: str(v) for k, v in settings.items()} for key, settings in plain.items()}
    return {cell: flat[cell.model, cell.dataset] for cell in cells}


def _resolve(name: str) -> str | None:
    """Return the commit of a revision; only what can be one reaches git, whose options begin with a dash."""
    if not _SAFE_REVISION.fullmatch(name):
        return None
    found = git("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    return found.strip() if found else None
