"""What `mobilebench clean` removes, and above all what it does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from mobilebench.cli import main
from mobilebench.runs.journal import Journal
from mobilebench.runs.records import read_results
from mobilebench.system.layout import FETCHED, RESULTS, STATE


def clean(*options: str) -> dict[str, Any]:
    done = CliRunner().invoke(main, ["clean", "--json", *options])
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def kinds(found: dict[str, Any]) -> list[str]:
    return [row["kind"] for row in found["leftovers"]]


def journal_of(model: str) -> Path:
    (found,) = STATE.glob(f"{model}.blobs.0-*")
    return found


@pytest.fixture
def edited(trained: Path) -> Path:
    """A project whose cells were finished before a setting changed: every journal is of an earlier identity."""
    params = trained / "params.yaml"
    params.write_text(params.read_text().replace("epochs: 2", "epochs: 3"))
    return trained


def test_a_finished_grid_keeps_what_can_be_delivered_again(trained: Path) -> None:
    assert clean()["leftovers"] == []
    leftover = journal_of("starnet") / "checkpoint.pt.previous"
    leftover.write_bytes(bytes(1000))
    FETCHED.mkdir(parents=True)
    (FETCHED / "a.npz").write_bytes(bytes(500))
    found = clean("--dry-run")
    assert sorted(kinds(found)) == ["checkpoint of a finished cell", "fetched predictions"]
    assert found["bytes"] == 1500
    assert leftover.exists()
    assert clean()["bytes"] == 1500
    assert not leftover.exists()
    assert not any(FETCHED.iterdir())
    assert journal_of("starnet").exists()
    assert clean()["leftovers"] == []


def test_superseded_journals_go_where_the_store_has_their_runs(edited: Path) -> None:
    for path in STATE.glob("*/artifacts/model.safetensors"):  # as they are made; the project's copy has them twice
        (stored,) = Path("mlartifacts").glob(
            f"**/{Journal(path.parents[1]).delivery.run_id}/artifacts/model.safetensors"
        )
        path.unlink()
        path.hardlink_to(stored)
    found = clean()
    assert kinds(found) == ["superseded journal"] * 2
    assert 0 < found["bytes"] < min(path.stat().st_size for path in Path("mlartifacts").rglob("model.safetensors"))
    assert not any(STATE.glob("*/journal.jsonl"))
    assert len(list(Path("mlartifacts").rglob("model.safetensors"))) == 2
    assert all(record.value is not None for record in read_results(RESULTS))


def test_the_only_copy_of_a_finished_result_stays(edited: Path, empty_store: Path) -> None:
    starnet, shufflenet = journal_of("starnet"), journal_of("shufflenet")
    Journal(starnet).forget_delivery()  # trained offline
    (lost,) = Path("mlartifacts").glob(f"**/{Journal(shufflenet).delivery.run_id}/artifacts/model.safetensors")
    lost.unlink()
    assert clean()["leftovers"] == []
    shutil.copy(empty_store, edited / "mlflow.db")  # a store that lost everything
    assert clean()["leftovers"] == []


def test_an_unfinished_training_of_another_identity_goes_and_one_that_runs_stays(edited: Path) -> None:
    for model in ("starnet", "shufflenet"):
        path = Journal(journal_of(model)).path
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with Journal(journal_of("starnet")).locked():
        assert kinds(clean()) == ["superseded journal"]
    assert [path.name.split(".")[0] for path in STATE.iterdir()] == ["starnet"]


def test_cells_outside_the_grid_and_damaged_journals_are_left_alone(edited: Path) -> None:
    params = edited / "params.yaml"
    params.write_text(params.read_text().replace("[shufflenet, starnet]", "[starnet]"))
    Journal(journal_of("starnet")).path.write_text("no json\n")
    assert clean()["leftovers"] == []
    shutil.rmtree("data/packed")
    assert clean()["leftovers"] == []


def test_superseded_weights_go_only_when_asked_for_and_settled(edited: Path) -> None:
    assert "superseded weights" not in kinds(clean("--superseded-weights", "--dry-run"))  # nothing replaces them yet
    done = CliRunner().invoke(main, ["train", "blobs", "--model", "starnet"])
    assert done.exit_code == 0, done.output
    assert "superseded weights" not in kinds(clean("--dry-run"))
    found = clean("--superseded-weights")
    assert kinds(found).count("superseded weights") == 1
    assert kinds(found).count("superseded journal") == 2
    kept = list(Path("mlartifacts").rglob("model.safetensors"))
    assert len(kept) == 2  # the new starnet's, and shufflenet's only ones
    assert CliRunner().invoke(main, ["inspect", "starnet", "blobs"]).exit_code == 0
