"""`mobilebench export` of a trained cell, by each of its names, and what it refuses."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import onnx
import pytest
import torch
from click.testing import CliRunner, Result

import mobilebench as mb
from mobilebench.cli import main
from mobilebench.export.subject import open_subject
from mobilebench.runs.records import read_results
from mobilebench.system.layout import RESULTS, STATE

pytestmark = pytest.mark.usefixtures("trained")


def export(*words: str) -> Result:
    result = CliRunner().invoke(main, ["export", *words])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def journal() -> Path:
    (found,) = STATE.glob("starnet.blobs.0-*")
    return found


def test_a_cell_becomes_a_file_and_a_folder() -> None:
    done = export("starnet", "blobs", "--format", "onnx", "--hf", "hub", "--json")
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert (said["model"], said["dataset"], said["seed"]) == ("starnet", "blobs", 0)
    file = said["files"][0]
    assert file["path"] == said["written"][0] == "results/export/starnet.blobs.0.onnx"
    (record,) = (record for record in read_results(RESULTS) if record.model == "starnet")
    assert said["agreement"]["file"] == pytest.approx(record.value)
    props = {prop.key: prop.value for prop in onnx.load(file["path"]).metadata_props}
    assert (props["run_id"], props["protocol_hash"]) == (record.run_id, record.protocol_hash)
    loaded = mb.load_model("hub")
    assert loaded.run_id == record.run_id
    assert "95 % interval" in Path("hub/README.md").read_text()


def test_every_name_means_the_same_run() -> None:
    names = [
        "tiny/starnet/blobs",
        f"run:{mb.load_model('tiny/starnet/blobs').run_id}",
        str(journal()),
        "starnet.blobs.0",
    ]
    found = [open_subject(name) for name in names] + [open_subject("starnet", "blobs", 0)]
    values = {subject.record.run_id for subject in found if subject.record is not None}
    assert len(values) == 1
    assert all(subject.name == "starnet.blobs.0" for subject in found)
    first, *others = (next(iter(subject.network.state_dict().values())) for subject in found)
    assert all(torch.equal(first, other) for other in others)


def test_a_journal_that_was_never_delivered_has_its_record() -> None:
    (journal() / "delivered.json").unlink()
    record = open_subject(str(journal())).record
    (other,) = (record for record in read_results(RESULTS) if record.model == "starnet")
    assert record is not None
    assert (record.run_id, record.metrics, record.n_test) == ("", other.metrics, other.n_test)


def test_a_run_without_weights_is_refused() -> None:
    alone = Path(shutil.copytree(journal() / "artifacts", "alone"))
    (alone / "model.safetensors").unlink()
    refused = export(str(alone), "--hf", "hub")
    assert refused.exit_code == 2
    assert "has no model.safetensors" in refused.output
    assert not Path("hub").exists()
    assert not Path("results/export").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("starnet", "blobs", "--layers"), "--layers goes with --int8"),
        (("starnet", "blobs", "--hf", "hub", "--int8"), "--int8 goes with --format onnx"),
        (("starnet", "blobs", "--format", "safetensors", "--with-preprocessing"), "goes with --format onnx"),
        (("starnet", "blobs", "--push", "me/x"), "--push goes with --hf DIR"),
        (("starnet",), "write `mobilebench export starnet DATASET`"),
        (("tiny/starnet/blobs", "--seed", "0"), "is one run already"),
        (("starnet", "nothing"), "nothing"),
        (("tiny/resnet/blobs",), "no finished run of tiny/resnet/blobs"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: tuple[str, ...], said: str) -> None:
    refused = export(*words)
    assert refused.exit_code == 2
    assert said in " ".join(refused.output.split())


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mobilebench.system.extras.find_spec", lambda name: None if name == "onnxruntime" else name)
    refused = export("starnet", "blobs")
    assert refused.exit_code == 2
    assert "pip install 'mobilebench[export]'" in refused.output
