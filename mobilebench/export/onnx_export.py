"""A finished run as ONNX files: held to PyTorch on the test images, quantised, written; or refused, nothing written.

The steps, each of which may refuse: trace and translate, compare the logits of real test images, quantise with ranges
from val images (train images where there is no val), compare the metric of both files. Only then are files laid where
they were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from mobilebench.evaluation.metrics import get_metric
from mobilebench.export.check import MAX_DROP, Agreement, Drop, agreement, drop, raise_if_far_off, raise_unless_equal
from mobilebench.export.forms import ImageForm
from mobilebench.export.images import open_data, split_images, torch_said
from mobilebench.export.onnx_file import ExportError, onnx_session, write_module
from mobilebench.export.onnx_latency import RUNS, time_onnx
from mobilebench.export.quantize import CALIBRATION, LayerNoise, Quantizer
from mobilebench.system.cpu import cores
from mobilebench.system.disk import disk_errors
from mobilebench.system.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobilebench.datasets.packing.packed import Packed
    from mobilebench.evaluation.metrics import Metric
    from mobilebench.evaluation.predictions import Predictions
    from mobilebench.export.images import Images
    from mobilebench.export.subject import Subject
    from mobilebench.models.cost.timing import Timing

LAYER_IMAGES = 16  # of those to calibrate on, that layers are compared on


@dataclass(frozen=True)
class OnnxPlan:
    """What is asked for."""

    out: Path
    """The folder of the files."""
    from_bytes: bool = False
    """Whether the preprocessing is built in."""
    int8: bool = False
    """Whether a quantised file is written too."""
    layers: bool = False
    """Whether each layer is quantised alone, to see what it does."""
    images: int | None = None
    """Test images to compare on, spread over the split; None for all."""
    calibration: int = CALIBRATION
    """Images that the ranges of activations are measured on."""
    max_drop: float = MAX_DROP
    """What a quantised file may lose, see `check.raise_if_far_off`."""
    force: bool = False
    """Whether files that are there are replaced."""

    def paths(self, name: str) -> list[Path]:
        """Return the files that are written, that of float32 first. name: of the cell."""
        stem = f"{name}.with_preprocessing" if self.from_bytes else name
        return [self.out / f"{stem}{kind}.onnx" for kind in ("", ".int8")[: 1 + self.int8]]


@dataclass(frozen=True)
class OnnxFile:
    """A file that was written."""

    path: Path
    bytes: int
    latency: Timing
    """Of one image in ONNX Runtime on one thread of this machine's CPU."""


@dataclass(frozen=True)
class OnnxExport:
    """What was written, and what the checks found."""

    files: tuple[OnnxFile, ...]
    """That of float32, and with int8 the quantised one."""
    agreement: Agreement
    drop: Drop | None
    """Of the quantised file; None where there is none."""
    layers: tuple[LayerNoise, ...]
    """The worst first; empty where they were not asked for."""
    calibrated_on: str
    """The images that the ranges are of, in words; "" without a quantised file."""


def export_run(subject: Subject, plan: OnnxPlan) -> OnnxExport:
    """Write a run's network as ONNX and return what the checks found.

    Raises ExportError where a file is there already, the network cannot be exported, an exported file is not the
    network or a quantised one is far off, and where this folder has not the data that the run was tested on. Then
    nothing was written.
    """
    paths = plan.paths(subject.name)
    raise_if_there(paths, force=plan.force)
    form = ImageForm(subject.made, plan.from_bytes)
    packed = open_data(subject.made, subject.record)
    test = split_images(packed, form, "test")
    test = test.some(plan.images or len(test))
    metric, module = get_metric(subject.made.metric), form.module(subject.network)
    with TemporaryDirectory() as temporary:
        made = [Path(temporary) / path.name for path in paths]
        write_module(module, made[0], form.example(), subject.onnx_metadata(packed, form))
        of_torch = test.predictions(torch_said(module), subject.name)
        of_file = test.predictions(onnx_session(made[0], cores()), f"the ONNX file of {subject.name}")
        found = agreement(of_torch, of_file, metric)
        raise_unless_equal(found, subject.name)
        int8 = _quantised(made, test, of_file, plan, metric) if plan.int8 else _Quantised(None, (), "")
        speeds = [time_onnx(path, batch=1, threads=1, runs=RUNS) for path in made]
        with disk_errors(plan.out):
            for path, source in zip(paths, made, strict=True):
                write_bytes(path, source.read_bytes(), durable=True)
    files = (OnnxFile(path, path.stat().st_size, speed) for path, speed in zip(paths, speeds, strict=True))
    return OnnxExport(tuple(files), found, *int8)


class _Quantised(NamedTuple):
    drop: Drop | None
    layers: tuple[LayerNoise, ...]
    calibrated_on: str


def _quantised(made: Sequence[Path], test: Images, of_file: Predictions, plan: OnnxPlan, metric: Metric) -> _Quantised:
    """Quantise the first file into the second, and return what that costs. Raises ExportError where it is too much."""
    images = calibration_images(test.packed, test.form).some(plan.calibration)
    quantizer = Quantizer(made[0], images, made[0].parent)
    quantizer.write(made[1])
    layers = tuple(quantizer.layers(next(images.some(LAYER_IMAGES).batches()))) if plan.layers else ()
    name = test.form.made.cell.name
    lost = drop(of_file, test.predictions(onnx_session(made[1], cores()), f"the int8 file of {name}"), metric)
    raise_if_far_off(lost, metric, plan.max_drop, name, layers)
    return _Quantised(lost, layers, f"{len(images)} {images.split} images")


def calibration_images(packed: Packed, form: ImageForm) -> Images:
    """Return the images to calibrate on: those of val, or of train where there is no val; never of test."""
    val = split_images(packed, form, "val")
    return val if len(val) else split_images(packed, form, "train")


def raise_if_there(paths: Sequence[Path], *, force: bool) -> None:
    """Raise ExportError where a file would be replaced and `force` does not say so."""
    there = [str(path) for path in paths if path.exists()]
    if there and not force:
        raise ExportError(f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already; --force replaces it")
