"""One trained cell: what its run says of where it comes from, how to make it again, and the model others load."""

from __future__ import annotations

import contextlib
import json
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import grids
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mobilebench.analysis import reproduce
from mobilebench.analysis.reproduce import NUMBERS, plan, suite_of
from mobilebench.cli import main
from mobilebench.config.data import OwnData
from mobilebench.config.suite import Cell
from mobilebench.datasets.packing.packed import open_packed
from mobilebench.execution.context import open_context
from mobilebench.execution.describe import start_event
from mobilebench.execution.grid import run_cells
from mobilebench.execution.model_versions import best_of, model_name, register
from mobilebench.execution.stage_code import STAGE_CODE
from mobilebench.execution.suites import open_suite
from mobilebench.models.registry import MODELS
from mobilebench.runs.records import read_results
from mobilebench.system import provenance
from mobilebench.system.layout import PACKED, RESULTS
from mobilebench.tracking import Tracker, uri
from mobilebench.tracking.model_registry import Version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mobilebench.runs.records import Record

REPOSITORY = Path(__file__).parents[2]
STARNET = Cell("starnet", "blobs", 0)


@dataclass
class Trained:
    folder: Path
    record: Record


def git(*arguments: str) -> None:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments]
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Iterator[Trained]:
    folder = tmp_path_factory.mktemp("project")
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patched:
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        for module in (provenance, reproduce):  # as if the program ran from this repository
            patched.setattr(module, "OWN", folder)
        (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
        suite = grids.write(folder)
        (folder / ".gitignore").write_text("*\n!params.yaml\n!.gitignore\n")
        other = ("mobilebench/__init__.py", "mobilebench/report")
        for path in (*NUMBERS, *other):  # the code that makes numbers and some other, as far as git can see it
            file = folder / path if path.endswith(".py") else folder / path / "code.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("# code\n")
        git("init", "-q")
        git("add", ".")
        git("add", "--force", "mobilebench")
        git("commit", "-qm", "first")
        params = folder / "params.yaml"
        params.write_text(params.read_text() + "# not committed\n")
        (folder / "mobilebench/report/code.py").write_text("# changed\n")
        cached_values = (provenance.environment, provenance.machine, provenance._uncommitted, provenance.is_checkout)
        for cached in cached_values:
            cached.cache_clear()
        assert run_cells(open_context(suite, "blobs", Tracker()), [STARNET]) == []
        (record,) = read_results(RESULTS)
        yield Trained(folder, record)
        for cached in cached_values:
            cached.cache_clear()


def test_a_run_says_where_it_comes_from(trained: Trained, tmp_path: Path) -> None:
    tracker = Tracker()
    run = tracker.run(trained.record.run_id)
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    assert run.tags["git_commit"] == commit
    assert run.tags["git_dirty"] == "true"
    assert (run.tags["project_commit"], run.tags["project_dirty"]) == (commit, "true")
    assert {"torch", "python", "cpu", "host", "device", "data_digest"} <= set(run.tags)
    patch = tracker.artifact(trained.record.run_id, "uncommitted.patch", tmp_path)
    assert patch is not None
    assert "+# not committed" in patch.read_text()
    machine = tracker.artifact(trained.record.run_id, "environment.json", tmp_path)
    assert machine is not None
    found = json.loads(machine.read_text())
    assert found["packages"]["torch"] == run.tags["torch"]
    assert found["memory_bytes"] > 1e8
    assert trained.record.train_seconds is not None


def test_dvc_data_digests_are_read_from_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    provenance.dvc_digest.cache_clear()
    Path("dvc.lock").write_text(
        "schema: '2.0'\nstages:\n  prepare@blobs:\n    cmd: x\n    outs:\n    - path: data/packed/blobs\n"
        "      md5: 0123.dir\n"
    )
    assert provenance.dvc_digest("data/packed/blobs") == "0123.dir"
    assert provenance.dvc_digest("data/packed/other") is None
    provenance.dvc_digest.cache_clear()


def test_the_plan_names_the_commands_and_what_differs(trained: Trained) -> None:
    found = plan(Tracker(), trained.record.run_id)
    same = {check.name: check.same for check in found.checks}
    assert same["torch"]
    assert same["numerics version"]
    assert same["data of blobs"]
    assert same["network starnet"]
    assert same["code"]  # its uncommitted changes are of params.yaml and of the report
    assert found.is_able
    apply, write = (found.commands.index(c) for c in ("git apply uncommitted.patch", _write(trained)))
    assert apply < write  # and what the patch made of params.yaml is replaced without a question
    assert "mobilebench train blobs --model starnet --seed 0" in found.commands
    (code,) = [check for check in found.checks if check.name == "code"]
    assert code.then.endswith("with uncommitted changes, none of them to code that makes numbers")
    assert CliRunner().invoke(main, ["reproduce", trained.record.run_id]).exit_code == 0


def _write(trained: Trained) -> str:
    return f"mobilebench reproduce {trained.record.run_id} --write-params --force --project {trained.folder}"


@pytest.mark.parametrize(
    "patch",
    [
        "diff --git a/mobilebench/training/loop.py b/mobilebench/training/loop.py\n",
        'diff --git "a/mobilebench/models/\\303\\274.py" "b/mobilebench/models/\\303\\274.py"\n',
        None,
    ],
    ids=["training", "quoted", "not kept"],
)
def test_edited_training_code_is_never_the_same(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, patch: str | None, tmp_path: Path
) -> None:
    (tmp_path / "a.patch").write_text(patch or "", "utf-8")
    real = Tracker.artifact

    def artifact(self: Tracker, run_id: str, name: str, folder: Path) -> Path | None:
        if name != "uncommitted.patch":
            return real(self, run_id, name, folder)
        return tmp_path / "a.patch" if patch else None

    monkeypatch.setattr(Tracker, "artifact", artifact)
    answer = CliRunner().invoke(main, ["reproduce", trained.record.run_id])
    assert answer.exit_code == 1
    assert "This checkout cannot" in answer.output


def test_the_printed_commands_write_params_over_the_patchs(trained: Trained) -> None:
    """As in a fresh worktree after `git apply`: params.yaml differs from the commit, and is the run's own."""
    params = trained.folder / "params.yaml"
    before = params.read_text("utf-8")
    command = _write(trained).split()[1:]
    try:
        refused = CliRunner().invoke(main, [word for word in command if word != "--force"])
        assert refused.exit_code == 2
        assert CliRunner().invoke(main, command).exit_code == 0
        assert open_suite().experiment == f"reproduction of {trained.record.run_id[:12]}"
        assert open_suite().data_sources["blobs"].folder == str(trained.folder / "source")
    finally:
        params.write_text(before, "utf-8")


@pytest.mark.parametrize("own", [OwnData(folder="source"), OwnData(csv="lists/all.csv", root="elsewhere")])
def test_own_images_that_are_not_here_are_explained(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, own: OwnData
) -> None:
    kept = replace(open_suite(), data_sources={"blobs": own})
    monkeypatch.setattr(reproduce, "_kept_suite", lambda *_: kept)
    tracker = Tracker(uri())
    monkeypatch.chdir(tmp_path)
    commands = plan(tracker, trained.record.run_id).commands
    assert f"mobilebench reproduce {trained.record.run_id} --write-params --force --project FOLDER" in commands
    (note,) = [command for command in commands if command.startswith("# FOLDER: the run's project folder on ")]
    assert all(path in note for path in (own.folder, own.csv, own.root) if path)
    written = suite_of(tracker, trained.record.run_id, trained.folder).data_sources["blobs"]
    absolute = {str(trained.folder / path) for path in (own.folder, own.csv, own.root) if path}
    assert {written.folder, written.csv, written.root} - {None} == absolute


@pytest.mark.parametrize("installed", [True, False])
def test_the_package_of_an_own_network_is_named(
    trained: Trained, monkeypatch: pytest.MonkeyPatch, unknown_model: Callable[[str], None], installed: bool
) -> None:
    spec = replace(MODELS["starnet"], zoo="entry_point", package="nets==1.2", origin=("nets", "build"))
    real = Tracker.run
    tags = dict(Tracker().run(trained.record.run_id).tags) | {"network_package": "nets==1.2"}
    monkeypatch.setattr(Tracker, "run", lambda self, run_id: replace(real(self, run_id), tags=tags))
    unknown_model("starnet")
    monkeypatch.setattr("mobilebench.models.entry_points", lambda: {"starnet": spec} if installed else {})
    found = plan(Tracker(), trained.record.run_id)
    step = (
        "# install the package nets==1.2 that offers the network starnet into this environment, from where you keep it"
    )
    assert found.commands.index(step) < found.commands.index(_write(trained))
    (check,) = [check for check in found.checks if check.name == "package of starnet"]
    assert (check.same, check.here) == ((True, "nets==1.2") if installed else (False, "not installed"))


def test_a_run_of_an_own_network_says_which_package_it_is_of(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    context = open_context(open_suite(), "blobs", Tracker())
    identity = context.identity(STARNET)
    assert "network_package" not in start_event(context, identity).tags
    spec = replace(MODELS["starnet"], zoo="entry_point", package="nets==1.2", origin=("nets", "build"))
    monkeypatch.setitem(MODELS, "starnet", spec)
    assert start_event(context, identity).tags["network_package"] == "nets==1.2"


@pytest.fixture
def clean(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run as it would be, had its code been committed."""
    tags = dict(Tracker().run(trained.record.run_id).tags) | {"git_dirty": "false"}
    real = Tracker.run
    monkeypatch.setattr(Tracker, "run", lambda self, run_id: replace(real(self, run_id), tags=tags))


def test_a_checkout_that_has_everything_is_able(trained: Trained, clean: None) -> None:
    answer = CliRunner().invoke(main, ["reproduce", trained.record.run_id])
    assert answer.exit_code == 0, answer.output
    assert "can make the number again" in answer.output


@pytest.mark.parametrize("path", NUMBERS)
def test_code_that_is_not_there_is_never_the_same(trained: Trained, clean: None, path: str) -> None:
    aside = trained.folder / "aside"
    (trained.folder / path).rename(aside)
    try:
        (code,) = [check for check in plan(Tracker(), trained.record.run_id).checks if check.name == "code"]
    finally:
        aside.rename(trained.folder / path)
    assert not code.same
    assert code.here.endswith(f" without {path}")


def test_the_code_that_makes_numbers_is_there() -> None:
    """A path that exists nowhere never differs: a renamed module would drop out of both without a word."""
    code = {path for paths in STAGE_CODE.values() for path in paths}
    assert [path for path in code if not (REPOSITORY / "mobilebench" / path).exists()] == []
    assert [path for path in NUMBERS if not (REPOSITORY / path).exists()] == []


def test_the_runs_suite_comes_back_as_params_of_an_experiment_of_its_own(trained: Trained) -> None:
    suite = suite_of(Tracker(), trained.record.run_id)
    original = open_suite()
    assert suite.protocol == original.protocol
    assert suite.experiment == f"reproduction of {trained.record.run_id[:12]}"
    assert list(suite.cells()) == [STARNET]


def test_a_finished_cell_becomes_a_version_that_classifies(trained: Trained) -> None:
    import mlflow

    tracker, suite, packed = Tracker(), open_suite(), open_packed(PACKED / "blobs")
    (done,) = register(tracker, suite, packed, [trained.record])
    assert done.is_new
    (again,) = register(tracker, suite, packed, [trained.record])
    assert not again.is_new
    assert again.version == done.version
    address = f"models:/{model_name(trained.record)}@best"
    mlflow.set_tracking_uri(tracker.uri)
    model = mlflow.pytorch.load_model(address)
    rows = packed.rows("test")
    stored = torch.from_numpy(np.asarray(packed.images[rows]).copy()).permute(0, 3, 1, 2).float() / 255
    images = torch.nn.functional.interpolate(stored, size=32, mode="bilinear", antialias=True, align_corners=False)
    with torch.inference_mode():
        hits = (model(images).argmax(1).numpy() == packed.labels[rows]).mean()
    assert hits == pytest.approx(trained.record.value, abs=1.5 / len(rows))
    info = mlflow.models.get_model_info(address)
    assert info.metadata["classes"] == ["dark", "light"]
    assert info.signature.inputs.inputs[0].shape == (-1, 3, 32, 32)
    assert tracker.registry.run_of(model_name(trained.record), None, "best") == trained.record.run_id


def test_a_version_made_by_other_means_is_left_alone(trained: Trained) -> None:
    from mlflow import MlflowClient

    tracker, suite, packed = Tracker(), open_suite(), open_packed(PACKED / "blobs")
    name = model_name(trained.record)
    (ours,) = register(tracker, suite, packed, [trained.record])
    client = MlflowClient(tracker.uri)
    source = client.get_model_version(name, ours.version.number).source
    plain = client.create_model_version(name, source, run_id=trained.record.run_id)
    odd = client.create_model_version(name, source, run_id=trained.record.run_id, tags={"test_top1": "very good"})
    tags = dict(ours.version.tags) | {"test_top1": "0.99", "data_digest": "0" * 64}
    elsewhere = client.create_model_version(name, source, run_id="0" * 32, tags=tags)  # read on other test images
    (again,) = register(tracker, suite, packed, [trained.record])
    assert again.version == ours.version
    assert str(client.get_model_version_by_alias(name, "best").version) == ours.version.number
    for version in (plain, odd, elsewhere):
        client.delete_model_version(name, version.version)


def test_compare_takes_versions_and_runs(trained: Trained) -> None:
    tracker = Tracker()
    if not tracker.registry.versions(model_name(trained.record)):
        list(register(tracker, open_suite(), open_packed(PACKED / "blobs"), [trained.record]))
    answer = CliRunner().invoke(main, ["compare", trained.record.run_id, f"{model_name(trained.record)}@best"])
    assert answer.exit_code == 0, answer.output
    assert "+0.00" in answer.output
    assert Path("results/compare/differences.csv").exists()
    wrong = CliRunner().invoke(main, ["compare", "tiny", "tinny"])
    assert wrong.exit_code == 2
    assert "experiments in" in wrong.output


@pytest.mark.parametrize(
    ("metric", "values", "best"), [("qwk", (-0.1, 0.0, -0.2), 1), ("nll", (0.7, 0.0, 0.2), 1), ("top1", (0.0, 0.5), 1)]
)
def test_the_best_version_is_the_best_in_its_metrics_direction(
    metric: str, values: tuple[float, ...], best: int
) -> None:
    own = {"model": "m", "dataset": "d", "seed": "0", "metric": metric}
    versions = [Version("n", str(i), f"run{i}", own | {f"test_{metric}": repr(v)}) for i, v in enumerate(values)]
    assert best_of(versions, "test") is versions[best]
