"""A network as one ONNX file, and such a file as a function of images. Knows no run and no dataset."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from mobilebench.config.pixels import sides
from mobilebench.errors import UserError
from mobilebench.models.cost.counts import deployed, evaluating
from mobilebench.system.files import write_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from onnx_ir import Model
    from torch import nn
    from torch.export import ExportedProgram
    from torch.fx.node import Node
    from torch.onnx import ONNXProgram


Session = Callable[[NDArray[Any]], NDArray[np.float32]]
"""Images as an ONNX file takes them -> logits [N, classes]."""

OPSET = 18  # what PyTorch's exporter writes without converting
INPUT, OUTPUT, BATCH = "images", "logits", "N"
_ANY_NUMBER = ({0: torch.export.Dim(BATCH)},)
_TRACES = ("pkg.torch", "namespace")  # how a node came to be: paths of this machine and lines of code
_UNTRANSLATED = re.compile(r"node %(\w+) :.*?target=torch\.ops\.([\w.]+)", re.DOTALL)


class ExportError(UserError):
    """A network cannot be exported, or a file is not what it should be; the message says what and what to do."""


def export_onnx(
    network: nn.Module, path: Path, *, channels: int, side: tuple[int, int] | int, metadata: Mapping[str, str]
) -> None:
    """Write a network as one ONNX file: `images` float32 [N, channels, H, W] -> `logits` [N, classes], any N.

    Training branches are folded where the network can do so. The network itself stays as it was. Needs the extra
    `export`.

    Args:
        network: in any mode; it is exported in eval mode, on the device where it is.
        path: the file, which is replaced in one step. Nothing is left beside it, also where this fails.
        channels: of an image.
        side: of an image in pixels, or its height and width.
        metadata: written into the file's metadata_props.

    Raises ExportError where the exporter cannot take the network, naming the layer and the operator where they are
    known, and where it does not return [N, classes].
    """
    shape = (2, channels, *sides(side))
    like = next(network.parameters(), torch.zeros(()))
    write_module(network, path, torch.zeros(shape, device=like.device, dtype=like.dtype), metadata)


def write_module(network: nn.Module, path: Path, example: torch.Tensor, metadata: Mapping[str, str]) -> None:
    """Write a network as `export_onnx` does, whose input is any tensor like `example` of at least two images."""
    folded = deployed(network)
    with evaluating(network):
        program = _traced(network if folded is None else folded, example)
    made = _translated(program)
    model = made.model
    _raise_unless_logits(model, type(network).__name__)
    for owner in (model, model.graph, *model.graph):
        for key in [key for key in owner.metadata_props if key.startswith(_TRACES)]:
            del owner.metadata_props[key]
    model.metadata_props.update(metadata)
    write_bytes(path, made.model_proto.SerializeToString())


def onnx_session(path: Path, threads: int = 1) -> Session:
    """Return an ONNX file as a function on the CPU: images as the file takes them -> logits, float32 [N, classes].

    Images are float32 [N, C, H, W] for what `export_onnx` wrote. threads: that one call uses. Raises ExportError for
    what is no file of ONNX Runtime's, and where it takes no such images.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors alone
    if not path.is_file():
        raise ExportError(f"there is no file {path}; expected an ONNX file, as `mobilebench export` writes it")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's have no class of their own
        raise ExportError(f"{path} cannot be read by ONNX Runtime {onnxruntime.__version__}: {error}") from error
    given = session.get_inputs()[0]

    def logits(images: NDArray[Any]) -> NDArray[np.float32]:
        try:
            return cast("NDArray[np.float32]", session.run(None, {given.name: images})[0])
        except Exception as error:  # noqa: BLE001 - likewise
            reason = " ".join(str(error).split())[:300]
            raise ExportError(
                f"{path} takes {given.type} {given.shape}, given were {images.dtype} {list(images.shape)}: {reason}"
            ) from None

    return logits


def read_metadata(path: Path) -> dict[str, str]:
    """Return the metadata_props of an ONNX file. Raises ExportError where there is no such file or it is damaged."""
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (OSError, DecodeError) as error:
        raise ExportError(f"{path} cannot be read as an ONNX file: {error}") from None
    return {entry.key: entry.value for entry in model.metadata_props}


def _traced(network: nn.Module, example: torch.Tensor) -> ExportedProgram:
    """Return the network as a graph that takes any number of images."""
    try:
        with torch.no_grad():
            return torch.export.export(
                network, (example,), dynamic_shapes=({0: torch.export.Dim(BATCH)},), strict=False
            )
    except Exception as error:  # of a network's own code anything may come
        reason = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        place = re.findall(r'File "([^"]+)", line (\d+), in', str(error))
        where = f", in line {place[-1][1]} of {place[-1][0].rpartition('/')[2]}" if place else ""
        raise ExportError(
            f"{type(network).__name__} cannot be exported: torch.export says {reason.strip()!r}{where}. What its "
            "forward computes may depend on the shape of the images and on nothing else of them, and any number of "
            "images must be taken"
        ) from error


def _translated(program: ExportedProgram) -> ONNXProgram:
    try:
        made = torch.onnx.export(
            program, input_names=[INPUT], output_names=[OUTPUT], dynamic_shapes=_ANY_NUMBER, opset_version=OPSET,
            dynamo=True, verbose=False,
        )  # fmt: skip
    except torch.onnx.OnnxExporterError as error:
        raise ExportError(_untranslated(error, program)) from error
    assert made is not None
    return made


def _untranslated(error: BaseException, program: ExportedProgram) -> str:
    """Say which operator of which layer ONNX lacks."""
    words = "\n".join(str(cause) for cause in _causes(error))
    found = _UNTRANSLATED.search(words)
    if found is None:
        reason = next((line for line in reversed(words.splitlines()) if line.strip()), "")
        return f"the network cannot be written as ONNX: {reason.strip()[:300]}"
    layer = _layer(program, found[1], found[2])
    return (
        f"the network cannot be written as ONNX: the operator {found[2]}{layer and f' in its layer {layer}'} has no "
        f"counterpart in opset {OPSET}. Replace it by operators that have one (for trained weights by an equal "
        "computation), or keep to --format safetensors"
    )


def _layer(program: ExportedProgram, name: str, operator: str) -> str:
    """Return the innermost module that an operator is of, such as `blocks.0.conv`; "" where it is not known."""
    nodes = [node for node in program.run_decompositions().graph.nodes if operator in str(node.target)]
    node: Node | None = next((node for node in nodes if node.name == name), nodes[0] if len(nodes) == 1 else None)
    stack = {} if node is None else node.meta.get("nn_module_stack", {})
    return str([path for path, _ in stack.values()][-1]) if stack else ""


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _raise_unless_logits(model: Model, name: str) -> None:
    shapes = [[str(size) for size in value.shape or ()] for value in model.graph.outputs]
    if len(shapes) != 1 or len(shapes[0]) != 2 or not shapes[0][1].isdecimal() or shapes[0][0].isdecimal():
        found = " and ".join(f"[{', '.join(shape)}]" for shape in shapes)
        raise ExportError(
            f"{name} returns {found} for N images; expected [N, classes]: one row of logits for each of any number of "
            "images"
        )
