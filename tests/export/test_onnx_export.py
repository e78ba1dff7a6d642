"""A run as ONNX files: what is written is held to PyTorch and to float32; what is not the network is not written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from bright import Bright
from torch import nn

from mobilebench.datasets.packing.packed import open_packed
from mobilebench.export.forms import ImageForm
from mobilebench.export.images import split_images
from mobilebench.export.onnx_export import OnnxPlan, calibration_images, export_run
from mobilebench.export.onnx_file import ExportError, onnx_session, read_metadata
from mobilebench.export.subject import Subject
from mobilebench.runs.records import Record

OUT = Path("out")
Make = Callable[..., Subject]


class Fixed(nn.Module):
    """Answers otherwise when it is exported, as networks do whose authors wrote a path for that."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Bright()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(images)
        return logits * 1.01 if torch.compiler.is_exporting() else logits


def stored(split: str = "test") -> tuple[np.ndarray, np.ndarray]:
    packed = open_packed("data/packed/blobs")
    rows = packed.rows(split)
    return packed.images[rows], packed.labels[rows]


def test_a_file_says_what_pytorch_says_of_normalised_images_and_how_to_use_it(subject: Make) -> None:
    made = replace(subject(Bright()), record=_record(data=open_packed("data/packed/blobs").meta.data_digest))
    OUT.mkdir()
    (OUT / "bright.blobs.0.onnx").write_bytes(b"earlier")
    found = export_run(made, OnnxPlan(OUT, force=True))
    (file,) = found.files
    assert file.path == OUT / "bright.blobs.0.onnx"
    images, labels = stored()
    normal = (torch.from_numpy(images).permute(0, 3, 1, 2) / 255).numpy()
    normal = (normal - np.reshape(made.made.mean, (3, 1, 1))) / np.reshape(made.made.std, (3, 1, 1))
    logits = onnx_session(file.path)(normal.astype(np.float32))
    with torch.no_grad():
        expected = made.network(torch.from_numpy(normal).float()).numpy()
    assert np.allclose(logits, expected, atol=1e-4)
    top1 = float((expected.argmax(axis=1) == labels).mean())
    assert top1 > 0.9
    assert (found.agreement.images, found.agreement.same_label) == (80, 1.0)
    assert found.agreement.file == found.agreement.torch == top1
    assert found.agreement.relative < 1e-5
    assert (found.drop, found.layers, found.calibrated_on) == (None, (), "")
    assert file.bytes == file.path.stat().st_size
    assert file.latency.median_ms > 0
    said = read_metadata(OUT / "bright.blobs.0.onnx")
    assert json.loads(said["classes"]) == ["dark", "light"]
    assert (json.loads(said["mean"]), json.loads(said["std"])) == ([0.5, 0.4, 0.3], [0.2, 0.25, 0.3])
    assert (said["resolution"], said["fit"], said["eval_resize"]) == ("16", "centre", "16")
    assert said["input"].startswith("float32 [N, 3, 16, 16] (NCHW, RGB), divided by 255, then (x - mean) / std")
    assert (said["run_id"], said["protocol_hash"], said["opset"]) == ("a" * 32, "0123456789ab", "18")
    assert said["data_licence"]


def test_with_preprocessing_the_file_takes_the_bytes(subject: Make) -> None:
    made = subject(Bright())
    found = export_run(made, OnnxPlan(OUT, from_bytes=True, int8=True))
    images, _ = stored()
    with torch.no_grad():
        normal = ImageForm(made.made).arrays(images)
        expected = made.network(torch.from_numpy(normal)).numpy()
    for file, far in zip(found.files, (1e-4, 0.2), strict=True):
        assert ".with_preprocessing" in file.path.name
        assert read_metadata(file.path)["input"].startswith("uint8 [N, 16, 16, 3] (NHWC, RGB, 0 to 255)")
        assert np.abs(onnx_session(file.path)(images) - expected).max() < far
    assert "quantisation" in read_metadata(found.files[1].path)


def test_int8_stands_beside_float32_with_an_interval(subject: Make) -> None:
    found = export_run(subject(Bright()), OnnxPlan(OUT, int8=True, layers=True, calibration=12))
    assert [file.path.name for file in found.files] == ["bright.blobs.0.onnx", "bright.blobs.0.int8.onnx"]
    quantised = onnx.load(found.files[1].path)
    assert [(entry.domain, entry.version) for entry in quantised.opset_import] == [("", 18)]
    assert "QuantizeLinear" in {node.op_type for node in quantised.graph.node}
    drop = found.drop
    assert drop.float32 == found.agreement.file
    assert drop.low < drop.difference < drop.high
    assert found.calibrated_on == "12 train images"
    assert {noise.layer for noise in found.layers} == {"stem", "head"}
    assert found.layers[0].snr_db <= found.layers[1].snr_db
    assert all(20 < noise.snr_db < 80 for noise in found.layers)


def test_ranges_are_never_those_of_test_images(subject: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    packed = open_packed("data/packed/blobs")
    form = ImageForm(subject(Bright()).made)
    assert calibration_images(packed, form).split == "train"
    rows = {"val": np.array([3, 5]), "train": np.array([1])}
    monkeypatch.setattr(packed, "rows", rows.__getitem__)
    assert calibration_images(packed, form).rows.tolist() == [3, 5]


def test_int8_that_is_far_off_is_refused_and_its_worst_layers_named(subject: Make) -> None:
    """One channel is so much larger than the others that 8 bits leave nothing of them."""
    made = subject(Bright(outlier=1e5))
    with pytest.raises(ExportError, match=r"far off: top1 .* hurt most: \w+ \(-?\d\.\d dB\), .*--max-drop"):
        export_run(made, OnnxPlan(OUT, int8=True, layers=True))
    assert not OUT.exists()


def test_a_file_that_is_not_the_network_is_refused(subject: Make) -> None:
    with pytest.raises(ExportError, match=r"is not the network: a logit differs by .*Nothing was written"):
        export_run(subject(Fixed()), OnnxPlan(OUT))
    assert not OUT.exists()


def test_logits_that_are_not_finite_are_refused(subject: Make) -> None:
    test = split_images(open_packed("data/packed/blobs"), ImageForm(subject(Bright()).made), "test")
    with pytest.raises(ExportError, match=r"the file gives logits that are not finite, of 80 of 80 test images"):
        test.predictions(lambda images: np.full((len(images), 2), np.nan, np.float32), "the file")


def test_files_that_are_there_are_replaced_only_by_force(subject: Make) -> None:
    OUT.mkdir()
    there = OUT / "bright.blobs.0.onnx"
    there.write_bytes(b"earlier")
    with pytest.raises(ExportError, match=r"bright\.blobs\.0\.onnx is there already; --force"):
        export_run(subject(Bright()), OnnxPlan(OUT))
    assert there.read_bytes() == b"earlier"


def test_other_classes_than_the_datas_are_refused(subject: Make) -> None:
    with pytest.raises(ExportError, match=r"has 3 classes \(a, b, c\), .*has 2 \(dark, light\)"):
        export_run(subject(Bright(), classes=("a", "b", "c")), OnnxPlan(OUT))


def test_other_data_than_the_runs_are_refused(subject: Make) -> None:
    made = replace(subject(Bright()), record=_record(data="f" * 64))
    with pytest.raises(ExportError, match=r"was trained on blobs ffffffffffff, .* is [0-9a-f]{12}; .*dvc pull"):
        export_run(made, OnnxPlan(OUT))


def test_preprocessing_is_built_in_for_bytes_alone(subject: Make) -> None:
    with pytest.raises(ExportError, match="takes images of uint16; the preprocessing can be built in for images of 8"):
        export_run(subject(Bright(), dtype="uint16"), OnnxPlan(OUT, from_bytes=True))


def test_a_centre_crop_of_a_resized_image_goes_the_way_of_the_test_images(subject: Make) -> None:
    """Resized to 20 px, the middle 12 of it: as torch's own resizing."""
    form = ImageForm(subject(Bright(), resolution=12, eval_resize=20).made, from_bytes=True)
    images, _ = stored()
    whole = torch.from_numpy(images).permute(0, 3, 1, 2).float()
    resized = nn.functional.interpolate(whole, (20, 20), mode="bilinear", antialias=True)[:, :, 4:16, 4:16]
    found = form.arrays(images)
    assert (found.shape, found.dtype) == ((80, 12, 12, 3), np.uint8)
    assert np.abs(found - resized.permute(0, 2, 3, 1).numpy()).max() <= 0.51


def _record(data: str) -> Record:
    return Record("a" * 32, "bright", "blobs", 0, "0123456789ab", data, 1, "FINISHED", {"top1": 0.9}, n_test=80)
