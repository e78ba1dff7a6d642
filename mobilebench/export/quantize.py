"""An ONNX file with weights and activations of 8 bits, by ONNX Runtime's static quantisation."""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mobilebench.export.onnx_file import INPUT, ExportError, onnx_session, read_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray


WORDS = "int8 (QDQ): activations uint8 per tensor, weights int8 per channel, ranges by min and max"
CALIBRATION = 128  # images
_CLIPPING = ("Relu", "Clip")
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


class Calibration(Protocol):
    """Images that ranges are measured on, such as `images.Images`."""

    def __len__(self) -> int: ...

    def batches(self, size: int) -> Iterator[NDArray[Any]]:
        """Return them, `size` at once, as the file takes them."""
        ...


@dataclass(frozen=True)
class LayerNoise:
    """What quantising one layer alone does to the logits."""

    layer: str
    """Its name in the network where the file has kept it, else its name in the file."""
    operator: str
    """Of ONNX."""
    snr_db: float
    """Power of the logits over that of what quantising changes in them, in decibels; infinite where nothing does."""
    same_label: float
    """Share of the images whose label stays."""


class Quantizer:
    """Quantises one ONNX file. Ranges are measured once, whatever is quantised afterwards."""

    def __init__(self, source: Path, images: Calibration, folder: Path) -> None:
        """images: to calibrate on, which are not the test images; folder: for files between."""
        from onnxruntime.quantization.shape_inference import quant_pre_process

        if not len(images):
            raise ExportError("there is no image to calibrate on: the packed data has neither val nor train images")
        self._images, self._folder = images, folder
        self._source, self._ranges = folder / "prepared.onnx", folder / "ranges.json"
        with _quiet():
            quant_pre_process(str(source), str(self._source), skip_symbolic_shape=True)
        self._metadata = read_metadata(source)

    def write(self, path: Path, nodes: Sequence[str] = ()) -> None:
        """Write the quantised file, or one in which only the nodes of these names are. Raises ExportError."""
        from onnxruntime import quantization as ort

        try:
            with _quiet():
                ort.quantize_static(
                    str(self._source), str(path), _reader(self._images), quant_format=ort.QuantFormat.QDQ,
                    per_channel=True, activation_type=ort.QuantType.QUInt8, weight_type=ort.QuantType.QInt8,
                    nodes_to_quantize=list(nodes), calibration_cache_path=self._ranges,
                )  # fmt: skip
        except Exception as error:  # of a tool that raises nearly anything
            reason = " ".join(str(error).split())[:300]
            raise ExportError(
                f"ONNX Runtime cannot quantise the file: {reason}. Nothing was written; without --int8 it is"
            ) from error
        self._say(path)

    def layers(self, images: NDArray[Any]) -> list[LayerNoise]:
        """Return what quantising each layer alone does to the logits of some images, the worst layer first.

        A layer is an operator with weights and the activation that ONNX Runtime makes one with it.
        """
        whole = onnx_session(self._source)(images)
        path = self._folder / "one.onnx"
        found = []
        for nodes, layer, operator in self._weighted():
            self.write(path, nodes)
            said = onnx_session(path)(images)
            same = float((said.argmax(axis=1) == whole.argmax(axis=1)).mean())
            found.append(LayerNoise(layer, operator, snr_db(whole, said), same))
        return sorted(found, key=lambda noise: noise.snr_db)

    def _weighted(self) -> list[tuple[list[str], str, str]]:
        """Return (nodes, layer, operator) of everything that has weights."""
        import onnx

        graph = onnx.load(self._source).graph
        weights = {tensor.name for tensor in graph.initializer}
        readers: dict[str, list[Any]] = {}
        for node in graph.node:
            for name in node.input:
                readers.setdefault(name, []).append(node)
        found = []
        prefix = "network." if graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8 else ""
        for node in graph.node:
            if node.op_type not in _WEIGHTED or not weights.intersection(node.input[1:2]):
                continue
            after = readers.get(node.output[0], [])
            nodes = [node.name, *(one.name for one in after if len(after) == 1 and one.op_type in _CLIPPING)]
            weight = node.input[1].removeprefix(prefix)
            layer = weight.removesuffix(".weight") if weight.endswith(".weight") else node.name
            found.append((nodes, layer, node.op_type))
        return found

    def _say(self, path: Path) -> None:
        """Put the metadata of the source into a quantised file, which ONNX Runtime leaves out.

        It names sets of operators that no node is of, which other programs may not know: they are taken out.
        """
        import onnx

        model = onnx.load(path)
        used = [entry for entry in model.opset_import if entry.domain in {node.domain for node in model.graph.node}]
        del model.opset_import[:]
        model.opset_import.extend(used)
        onnx.helper.set_model_props(model, self._metadata | {"quantisation": WORDS})
        path.write_bytes(model.SerializeToString())


def snr_db(whole: NDArray[np.floating], changed: NDArray[np.floating]) -> float:
    """Signal to noise of changed logits [N, C] in decibels; each image's mean over its classes is no signal."""
    exact = whole.astype(np.float64)
    noise = float(np.square(exact - changed).sum())
    power = float(np.square(exact - exact.mean(axis=1, keepdims=True)).sum())
    if not noise:
        return math.inf
    return 10 * math.log10(power / noise) if power and math.isfinite(noise) else -math.inf


def _reader(images: Calibration) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # the package has no types
        def __init__(self) -> None:
            self._batches = images.batches(16)

        def get_next(self) -> dict[str, NDArray[Any]] | None:
            batch = next(self._batches, None)
            return None if batch is None else {INPUT: batch}

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep back what the tool prints and logs."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stdout(StringIO()):
            yield
    finally:
        logging.disable(before)
