"""Figures of ONNX files on this machine, and of networks in both runtimes. No time is looked at, only what is said."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import onnx
import pytest
from torch import Tensor, nn

from mobilebench.export import device_latency
from mobilebench.export.device_latency import Asked, Subject, measured, raise_unless_possible
from mobilebench.export.onnx_file import ExportError, export_onnx
from mobilebench.export.onnx_latency import onnx_input

if TYPE_CHECKING:
    from pathlib import Path


class Tiny(nn.Module):
    """One convolution and a head: quickly exported."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.conv(images).mean((2, 3)))


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX file of starnet by its metadata, for images of 16x24 px."""
    path = tmp_path_factory.mktemp("onnx") / "any_name.onnx"
    export_onnx(Tiny(), path, channels=3, side=(16, 24), metadata={"model": "starnet"})
    return path


def asked(*runtimes: str) -> Asked:
    return Asked(runtimes, (1, 2), 2, 3, "bench")  # type: ignore[arg-type]


def test_an_onnx_file_says_what_it_takes_and_whose_it_is(file: Path) -> None:
    given = onnx_input(file)
    assert (given.shape, given.from_bytes, given.precision, given.resolution) == ((3, 16, 24), False, "fp32", (16, 24))
    rows = [row for row, _ in measured(Subject(str(file), file=file), asked())]
    assert [(row.model, row.runtime, row.threads, row.batch, row.resolution, row.n) for row in rows] == [
        ("starnet", "ort", threads, 2, "16x24", 3) for threads in (1, 2)
    ]
    assert {row.file_sha256 for row in rows} == {hashlib.sha256(file.read_bytes()).hexdigest()}
    model = onnx.load(file)
    del model.metadata_props[:]
    model.graph.node.append(onnx.helper.make_node("DequantizeLinear", ["a", "b"], ["c"]))
    other = file.with_name("other.onnx")
    onnx.save(model, other)
    assert onnx_input(other).precision == "int8"
    assert device_latency._named_in(other) == "other"


def test_a_network_runs_in_both_runtimes_and_leaves_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_latency, "_deployed", lambda _: Tiny())
    rows = [row for row, _ in measured(Subject("tiny", resolution=16), asked("torch", "ort"))]
    assert [(row.runtime, row.threads) for row in rows] == [("torch", 1), ("torch", 2), ("ort", 1), ("ort", 2)]
    assert {(row.model, row.device, row.file_sha256, row.resolution) for row in rows} == {("tiny", "bench", "", "16")}
    assert all(row.p90_ms >= row.median_ms > 0 for row in rows if row.median_ms and row.p90_ms)


def test_what_is_deployed_is_folded() -> None:
    from mobilebench import models

    def params(network: nn.Module) -> int:
        return sum(p.numel() for p in network.parameters())

    folded = device_latency._deployed(Subject("mobileone", "mobileone", resolution=32))
    assert params(folded) == 1_063_754 < params(models.create("mobileone", 10))


def test_a_file_that_cannot_be_measured_is_refused_first(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="runs in ONNX Runtime, and --runtime torch is asked for"):
        raise_unless_possible([Subject(str(file), file=file)], asked("torch"))
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(b"\x08\xff no model")
    with pytest.raises(ExportError, match=r"damaged\.onnx"):
        raise_unless_possible([Subject("x", file=damaged)], asked())
    with pytest.raises(ExportError, match=r"gone\.onnx cannot be read"):
        raise_unless_possible([Subject("x", file=tmp_path / "gone.onnx")], asked())
