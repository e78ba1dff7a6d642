"""How to make a run's number again: the exact commands, and whether this checkout is able to."""

from __future__ import annotations

import json
import platform
import re
import shlex
from dataclasses import asdict, dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from mobilebench import models, training
from mobilebench.config.data import DerivedData
from mobilebench.config.suite import parse_suite
from mobilebench.datasets.packing.packed import read_meta
from mobilebench.errors import UserError
from mobilebench.execution.stage_code import STAGE_CODE
from mobilebench.execution.suites import check_names
from mobilebench.models.names import TIMM, TORCHVISION, split
from mobilebench.runs.identity import wanted
from mobilebench.system.files import read_text
from mobilebench.system.git import git
from mobilebench.system.layout import PACKED
from mobilebench.system.provenance import OWN, PACKAGES, PATCH, SUITE, environment, is_checkout

if TYPE_CHECKING:
    from mobilebench.config.data import DataSource, OwnData
    from mobilebench.config.suite import Suite
    from mobilebench.tracking import Details, Tracker

# The code that makes numbers: what the stages `prepare` and `train` use.
NUMBERS = tuple(sorted(f"mobilebench/{path}" for stage in ("prepare", "train") for path in STAGE_CODE[stage]))


_CHANGED = re.compile(r'^diff --git "?a/(.+?)"? "?b/(.+?)"?$', re.MULTILINE)


@dataclass(frozen=True)
class Check:
    """One thing that the run depended on."""

    name: str
    """What is compared."""

    then: str
    """What it was for the run."""

    here: str
    """What it is in this checkout."""

    same: bool
    """Whether the two are the same."""

    needed: bool = True
    """Whether the number cannot be expected again where they differ."""


@dataclass(frozen=True)
class ReproductionPlan:
    """The commands that make the number again from nothing, and the checks of this checkout."""

    commands: tuple[str, ...]
    checks: tuple[Check, ...]

    @property
    def is_able(self) -> bool:
        """Whether this checkout, as it is, can make the number again."""
        return all(check.same for check in self.checks if check.needed)


def plan(tracker: Tracker, run_id: str) -> ReproductionPlan:
    """Return how to reproduce a run. Raises TrackingError when there is no such run of a cell."""
    run = tracker.run(run_id)
    checks = (*_checks(run, tracker), *_network(run, tracker), *_package_check(run))
    return ReproductionPlan(tuple(_commands(run, tracker)), checks)


def suite_of(tracker: Tracker, run_id: str, project: Path | None = None) -> Suite:
    """Return the suite a run was part of, cut to its cell and under an experiment of its own.

    Under its old experiment the cell would count as finished and not be trained. project: the folder that the run's
    relative paths of own images start from; they are absolute then. Raises UserError when the run has not kept its
    suite, or names a network or a dataset that is not known here.
    """
    run = tracker.run(run_id)
    whole = _kept_suite(tracker, run_id)
    check_names(whole)
    cell = run.record.cell
    sources = whole.data_sources
    if project is not None:
        sources = {name: _below(project.absolute(), own) for name, own in sources.items()}
    return replace(
        whole,
        models=(cell.model,),
        datasets=(cell.dataset,),
        seeds=(cell.seed,),
        experiment=_experiment(run),
        data_sources=sources,
    )


def _kept_suite(tracker: Tracker, run_id: str) -> Suite:
    with TemporaryDirectory() as folder:
        path = tracker.artifact(run_id, SUITE, Path(folder))
        if path is None:
            raise UserError(f"run {run_id} has no artifact {SUITE}: it did not end, or an older version wrote it")
        return parse_suite(read_text(path, "the JSON of a suite"), f"{SUITE} of run {run_id}")


def _places(own: OwnData) -> dict[str, str]:
    """Return the paths of an entry of data_sources by their keys."""
    return {key: path for key in ("folder", "csv", "root") if (path := getattr(own, key)) is not None}


def _below(project: Path, own: DataSource) -> DataSource:
    if isinstance(own, DerivedData):
        return own
    found = {key: str(project / path) for key, path in _places(own).items()}
    return replace(own, folder=found.get("folder"), csv=found.get("csv"), root=found.get("root"))


def as_yaml(suite: Suite) -> str:
    """Return a suite as the text of a params.yaml (JSON, which is YAML)."""
    return json.dumps(asdict(suite), indent=2) + "\n"


def _experiment(run: Details) -> str:
    return f"reproduction of {run.record.run_id[:12]}"


def _commands(run: Details, tracker: Tracker) -> list[str]:
    record, folder = run.record, f"../mobilebench-{run.record.run_id[:8]}"
    commit = run.tags.get("git_commit", "unknown")
    steps = [f"git worktree add {folder} {shlex.quote(commit)}", f"cd {folder}", "make setup", ". .venv/bin/activate"]
    steps.append(f"export MLFLOW_TRACKING_URI={shlex.quote(tracker.store)}")
    if run.tags.get("git_dirty") == "true":
        get = f"mlflow artifacts download --run-id {record.run_id} --artifact-path {PATCH} --dst-path ."
        steps += [get, f"git apply {PATCH}"]
    chosen = f"--model {shlex.quote(record.model)} --seed {record.seed}"
    project, notes = _own_images(run, tracker)
    return [
        *steps,
        *_own_network(run),
        *notes,
        # --force: the patch has just changed params.yaml to what this very command writes, the run's own settings.
        f"mobilebench reproduce {record.run_id} --write-params --force{project}",
        f"mobilebench data prepare {record.dataset}",
        f"mobilebench train {record.dataset} {chosen}",
        f"mobilebench compare {record.run_id} {shlex.quote('experiment:' + _experiment(run))}",
    ]


def _own_images(run: Details, tracker: Tracker) -> tuple[str, list[str]]:
    """Return the option that makes relative paths of own images those of the run's project, and what to know of it."""
    dataset, host = run.record.dataset, run.tags.get("host", "the machine that trained it")
    try:
        sources = _kept_suite(tracker, run.record.run_id).data_sources
    except UserError:  # the command that needs the suite says what is missing
        return "", []
    own = sources.get(dataset)
    if isinstance(own, DerivedData):
        own = sources.get(own.of)
    if own is None or isinstance(own, DerivedData):
        return "", []
    places = [Path(path) for path in _places(own).values()]
    if all(path.exists() for path in places):
        is_relative = not all(path.is_absolute() for path in places)
        return (f" --project {shlex.quote(str(Path.cwd()))}" if is_relative else ""), []
    names = ", ".join(map(str, places))
    if all(path.is_absolute() for path in places):
        return "", [f"# the images of {dataset} were in {names} on {host}: have them there, or change data_sources"]
    return " --project FOLDER", [
        f"# FOLDER: the run's project folder on {host}, or a copy with its own images ({names})"
    ]


def _own_network(run: Details) -> list[str]:
    """Return the step that a network of another package needs. A registry may have a stranger's of the same name."""
    model = _model_id(run)
    if split(model).network in models.MODELS or model.startswith((TIMM, TORCHVISION)):
        return []
    package = run.tags.get("network_package") or _offering(model)
    what = f"the package {package}" if package else "the package"
    return [f"# install {what} that offers the network {model} into this environment, from where you keep it"]


def _package_check(run: Details) -> list[Check]:
    model = _model_id(run)
    then, here = run.tags.get("network_package"), _offering(model)
    return [_equal(f"package of {model}", then, here or "not installed")] if then else []


def _model_id(run: Details) -> str:
    """Return the id of the run's network, which its model's name may stand for."""
    own = run.params.get("network", "None")
    return run.record.model if own == "None" else own


def _offering(model: str) -> str:
    """Return `name==version` of the installed package that offers a network, "" where none does."""
    try:
        return models.get(model).package
    except UserError:
        return ""


def _checks(run: Details, tracker: Tracker) -> list[Check]:
    record, tags = run.record, run.tags
    checks = [
        _code(tags, _patched(run, tracker)),
        _equal("numerics version", str(record.code_version), str(training.VERSION)),
        _equal("python", _minor(tags.get("python", "unknown")), _minor(platform.python_version())),
        *(_equal(name, tags.get(name, "unknown"), _installed(name)) for name in PACKAGES),
        _equal(f"data of {record.dataset}", record.data_digest[:12], _data(record.dataset)),
    ]
    here: dict[str, Any] = environment()
    checks.append(replace(_equal("processor", tags.get("cpu", "unknown"), here["cpu"]), needed=False))
    if "gpu" in tags:
        checks.append(replace(_equal("gpu", tags["gpu"], _gpu()), needed=False))
    return checks


def _patched(run: Details, tracker: Tracker) -> set[str] | None:
    """Return the files that the run's uncommitted changes are of; None where it had some and did not keep them."""
    if run.tags.get("git_dirty") != "true":
        return set()
    with TemporaryDirectory() as folder:
        path = tracker.artifact(run.record.run_id, PATCH, Path(folder))
        if path is None:
            return None
        text = path.read_text(encoding="utf-8", errors="replace")
    return {name for match in _CHANGED.finditer(text) for name in match.groups()}


def _code(tags: Any, patched: set[str] | None) -> Check:
    """Compare the code that makes numbers, by git: an edit to the report or to params.yaml changes none."""
    then, here = str(tags.get("git_commit", "unknown")), environment()["git_commit"][:12]
    numbers = [path for path in patched or () if path.startswith(NUMBERS)]
    is_dirty = patched is None or bool(numbers)
    shown = then[:12]
    if tags.get("git_dirty") == "true":
        shown += " with uncommitted changes" + ("" if is_dirty else ", none of them to code that makes numbers")
    absent = [path for path in NUMBERS if not (OWN / path).exists()]
    # Git finds no difference in a path that is in neither state, which would read as "the same".
    if absent or not is_checkout():
        return Check("code", shown, f"{here} without {', '.join(absent) or 'its repository'}", same=False)
    if is_dirty or git("cat-file", "-e", f"{then}^{{commit}}", folder=OWN) is None:
        return Check("code", shown, here, same=False)
    same = git("diff", "--quiet", then, "--", *NUMBERS, folder=OWN) is not None
    return Check("code", shown, here + (" (same training, models, datasets)" if same else ""), same=same)


def _network(run: Details, tracker: Tracker) -> list[Check]:
    """Compare the network as its code builds it; nothing where that cannot be known, which other checks name."""
    record = run.record
    try:
        meta, suite = read_meta(PACKED / record.dataset), suite_of(tracker, record.run_id)
    except UserError:  # no such data, no kept suite, or no such model here
        return []
    here = wanted(suite, record.cell, meta)
    checks = [_equal(f"network {record.model}", record.network or "unknown", here.network)]
    if record.weights or here.weights:
        checks.append(_equal("pretrained weights", record.weights or "none", here.weights or "none"))
    if here.selection_metric:
        then = record.selection_metric or "unknown"
        checks.append(_equal("metric that chooses the epoch", then, here.selection_metric))
    return checks


def _equal(name: str, then: str, here: str) -> Check:
    return Check(name, then, here, same=then == here)


def _minor(full: str) -> str:
    return ".".join(full.split(".")[:2])


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _data(dataset: str) -> str:
    try:
        return read_meta(PACKED / dataset).data_digest[:12]
    except UserError:
        return "not prepared"


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
