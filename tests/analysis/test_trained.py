"""`load_model` and `load_predictions`: the network and the answers of a finished run, by any of its names."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import mobilebench as mb
from mobilebench.analysis.trained import fetch_run
from mobilebench.datasets.packing.packed import open_packed
from mobilebench.evaluation.metrics import get_metric
from mobilebench.execution.model_versions import register
from mobilebench.execution.suites import open_suite
from mobilebench.models.weights.files import find_weights
from mobilebench.models.weights.tensors import read_tensors
from mobilebench.runs.records import Record, read_results
from mobilebench.system.layout import PACKED, RESULTS, STATE
from mobilebench.tracking import Tracker

if TYPE_CHECKING:
    from mobilebench.tracking.model_registry import Version

pytestmark = pytest.mark.usefixtures("trained")
NAME = "tiny/starnet/blobs"


def record() -> Record:
    (found,) = (record for record in read_results(RESULTS) if record.model == "starnet")
    return found


def journal() -> Path:
    (found,) = STATE.glob("starnet.blobs.0-*")
    return found


def packed_test() -> tuple[torch.Tensor, np.ndarray]:
    """Return the packed test images as plain tensors at the network's size, made by torch's own resizing."""
    packed = open_packed(PACKED / "blobs")
    rows = packed.rows("test")
    images = torch.from_numpy(packed.images[rows]).permute(0, 3, 1, 2).float() / 255
    return torch.nn.functional.interpolate(images, (32, 32), mode="bilinear", antialias=True), packed.labels[rows]


def load_version(uri: str, version: Version) -> torch.nn.Module:
    import mlflow

    mlflow.set_tracking_uri(uri)
    model: torch.nn.Module = mlflow.pytorch.load_model(f"models:/{version.name}/{version.number}")
    return model


@pytest.mark.parametrize("name", ["run", "cell", "cell and seed", "journal", "artifacts"])
def test_a_network_has_the_accuracy_that_its_run_recorded(name: str) -> None:
    named = {
        "run": f"run:{record().run_id}",
        "cell": NAME,
        "cell and seed": f"{NAME}/0",
        "journal": str(journal()),
        "artifacts": journal() / "artifacts",
    }
    model = mb.load_model(named[name])
    assert (model.classes, model.resolution, model.metric) == (("dark", "light"), 32, "top1")
    assert model.run_id == record().run_id
    assert not model.training
    images, labels = packed_test()
    with torch.no_grad():
        logits = model(images).numpy()
    said = logits.argmax(axis=1)
    assert np.mean(said == labels) == record().value
    kept = mb.load_predictions(named[name])
    assert np.array_equal(said, kept.predicted)
    assert np.allclose(logits, kept.logits, atol=0.02)  # kept in half precision
    assert get_metric("top1").value(kept) == record().value


def test_pil_images_of_any_size_and_mode_go_the_way_of_the_test_images() -> None:
    model = mb.load_model(NAME)
    kept = mb.load_predictions(NAME)
    files = [Image.open(Path("source") / name) for name in kept.ids]
    with torch.no_grad():
        logits = model(files)
        one = model(files[0])
    assert np.allclose(logits.numpy(), kept.logits, atol=0.02)  # kept in half precision
    assert torch.allclose(one[0], logits[0], atol=1e-5)
    odd = Image.new("RGBA", (70, 40), (255, 0, 0, 128))
    assert model.preprocess(odd).shape == (1, 3, 32, 32)
    assert odd.mode == "RGBA"
    assert float(model.preprocess([Image.new("L", (5, 9), 255)]).min()) == pytest.approx(1)


def test_a_network_is_loaded_without_the_project(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Its weights and model.json are all that is needed: no packed data, no store, no params.yaml."""
    alone = tmp_path_factory.mktemp("alone")
    for file in ("model.safetensors", "model.json"):
        shutil.copy(journal() / "artifacts" / file, alone)
    images, _ = packed_test()
    model = mb.load_model(NAME)
    shutil.rmtree("data")
    other = mb.load_model(alone)
    assert other.run_id is None
    with torch.no_grad():
        assert torch.equal(other(images), model(images))


def test_the_weights_of_a_run_alone_say_how_its_network_is_built(tmp_path: Path) -> None:
    one = shutil.copy(journal() / "artifacts/model.safetensors", tmp_path / "renamed.safetensors")
    with torch.no_grad():
        assert torch.equal(mb.load_model(one)(packed_test()[0]), mb.load_model(NAME)(packed_test()[0]))


def test_weights_that_an_earlier_version_wrote_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch.save has them, in the store and in the journal."""
    monkeypatch.setenv("MOBILEBENCH_WEIGHTS", "fetched")
    with torch.no_grad():
        before = mb.load_model(NAME)(packed_test()[0])
        for file in Path().rglob("model.safetensors"):
            torch.save(load_file(file), file.with_suffix(".pt"))
            file.unlink()
        for what in (NAME, journal(), journal() / "artifacts"):
            assert torch.equal(mb.load_model(what)(packed_test()[0]), before)
    fetched = fetch_run(f"starnet@run:{record().run_id}")
    assert find_weights(f"starnet@run:{record().run_id}").path == fetched
    assert read_tensors(fetched).keys() == mb.load_model(NAME).network.state_dict().keys()
    tracker = Tracker()
    (done,) = register(tracker, open_suite(), open_packed(PACKED / "blobs"), [record()])
    with torch.no_grad():
        assert torch.equal(load_version(tracker.uri, done.version)(packed_test()[0]), before)


def test_a_run_that_kept_no_model_json_is_loaded_where_its_data_is_packed() -> None:
    with torch.no_grad():
        before = mb.load_model(NAME)(packed_test()[0])
        for file in Path().rglob("model.json"):
            file.unlink()
        for what in (NAME, journal()):
            assert torch.equal(mb.load_model(what)(packed_test()[0]), before)
    lone = shutil.copytree(journal() / "artifacts", "lone")
    with pytest.raises(mb.UserError, match=r"no model\.json"):
        mb.load_model(lone)
    shutil.rmtree("data")
    with pytest.raises(mb.UserError, match="data prepare blobs"):
        mb.load_model(NAME)


def test_weights_that_the_store_lost_are_read_from_the_journal() -> None:
    (lost,) = Path("mlartifacts").glob(f"**/{record().run_id}/artifacts/model.safetensors")
    lost.unlink()
    assert mb.load_model(NAME).run_id == record().run_id
    (journal() / "artifacts/model.safetensors").unlink()
    with pytest.raises(mb.UserError, match=r"no artifact model\.safetensors"):
        mb.load_model(NAME)


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("starnet", "no folder here and no name of a run"),
        ("tiny/starnet/", "no folder here and no name of a run"),
        ("tiny/resnet/blobs", r"no finished run of tiny/resnet/blobs; it has models shufflenet, starnet"),
        (f"{NAME}/4", r"it has seeds 0"),
        ("another/starnet/blobs", r"no experiment 'another'; it has: tiny"),
        ("run:0123", "0123"),
        (".", r"no model\.safetensors: it is of no finished run"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(what: str, message: str) -> None:
    with pytest.raises(mb.UserError, match=message):
        mb.load_model(what)


def test_images_of_another_form_are_refused() -> None:
    model = mb.load_model(NAME)
    for images, found in (
        (torch.zeros(1, 3, 32, 32, dtype=torch.uint8), "torch.uint8 [1, 3, 32, 32]"),
        (torch.zeros(3, 32, 32), "torch.float32 [3, 32, 32]"),
        ([np.zeros((32, 32, 3))], "found a ndarray"),
    ):
        with pytest.raises(mb.UserError, match=re.escape(found)):
            model(images)  # type: ignore[arg-type]


def test_an_edited_network_is_said() -> None:
    kept = journal() / "artifacts/model.json"
    kept.write_text(re.sub('"network": "[0-9a-f]+"', '"network": "0123456789ab"', kept.read_text()))
    with pytest.warns(UserWarning, match="the code of starnet is not what"):
        mb.load_model(journal())


def test_val_predictions_that_a_run_did_not_keep_are_refused() -> None:
    with pytest.raises(mb.UserError, match="no predictions on val: it kept those of: test"):
        mb.load_predictions(NAME, "val")
