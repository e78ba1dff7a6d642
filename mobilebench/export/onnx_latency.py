"""How long an ONNX file takes in ONNX Runtime on this machine's CPU, and what such a file takes and computes in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.export.onnx_file import ExportError, onnx_session
from mobilebench.models.cost.timing import time_calls

if TYPE_CHECKING:
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from mobilebench.config.pixels import Resolution
    from mobilebench.models.cost.timing import Timing

RUNS = 30  # calls of which a median is steady enough to be shown beside a result
_QUANTISED = {"DequantizeLinear", "QLinearConv", "ConvInteger", "MatMulInteger", "QLinearMatMul"}


@dataclass(frozen=True)
class OnnxInput:
    """What an ONNX file takes and computes in."""

    shape: tuple[int, ...]
    """Of one image: channels, height and width of floats; height, width and channels of bytes."""
    from_bytes: bool
    """Whether it takes bytes and normalises them itself."""
    precision: str
    """fp32, fp16 or int8: what its weights are."""

    @property
    def resolution(self) -> Resolution:
        """Input size in pixels."""
        height, width = self.shape[:2] if self.from_bytes else self.shape[1:]
        return height if height == width else (height, width)

    def grey(self, batch: int) -> NDArray[np.float32] | NDArray[np.uint8]:
        """Return images of one colour, as the file takes them."""
        shape = (batch, *self.shape)
        return np.full(shape, 128, np.uint8) if self.from_bytes else np.full(shape, 0.5, np.float32)


def onnx_input(path: Path) -> OnnxInput:
    """Return what an ONNX file takes. Raises ExportError where it is damaged or takes no images of one fixed size."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        graph = onnx.load(path, load_external_data=False).graph
    except (OSError, DecodeError) as error:
        raise ExportError(f"{path} cannot be read as an ONNX file: {error}") from None
    kind = graph.input[0].type.tensor_type if graph.input else None
    sizes = [size.dim_value for size in kind.shape.dim[1:]] if kind else []
    known = {onnx.TensorProto.FLOAT: False, onnx.TensorProto.UINT8: True}
    if kind is None or len(graph.input) != 1 or len(sizes) != 3 or 0 in sizes or kind.elem_type not in known:
        raise ExportError(
            f"{path} takes {len(graph.input)} inputs, the first with {sizes or 'no'} sizes; expected one, of images "
            "float32 [N, C, H, W] or uint8 [N, H, W, C] of a fixed size, as `mobilebench export` writes it"
        )
    return OnnxInput(tuple(sizes), known[kind.elem_type], _precision(graph))


def time_onnx(path: Path, *, batch: int, threads: int, runs: int) -> Timing:
    """Time single calls of an ONNX file, in a plain loop after calls that do not count. Raises ExportError."""
    session, images = onnx_session(path, threads), onnx_input(path).grey(batch)
    return time_calls(lambda: session(images), runs)


def _precision(graph: onnx.GraphProto) -> str:
    import onnx

    if _QUANTISED & {node.op_type for node in graph.node}:
        return "int8"
    half = any(tensor.data_type == onnx.TensorProto.FLOAT16 for tensor in graph.initializer)
    return "fp16" if half else "fp32"
