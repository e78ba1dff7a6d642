"""A network that answers from an ONNX file alone: what the file says of itself, and ONNX Runtime."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mobilebench.config.parsing import parse
from mobilebench.execution.model_file import ModelFile
from mobilebench.export.forms import ImageForm
from mobilebench.export.onnx_file import ExportError, onnx_session, read_metadata
from mobilebench.export.onnx_latency import onnx_input
from mobilebench.system.cpu import cores

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

_JSON = ("classes", "mean", "std", "seed", "eval_resize")
_TEXTS = ("model", "dataset", "target", "metric", "fit")
_SIZES = ("resolution", "stored")


class OnnxNetwork:
    """A network that `mobilebench export` wrote as ONNX, run by ONNX Runtime on the CPU: an `answers.Network`.

    Raises ExportError for a file that is damaged, or does not say how images are prepared for it.
    """

    def __init__(self, path: Path) -> None:
        self.made = _made(path)
        self._form = ImageForm(self.made, onnx_input(path).from_bytes)
        self._session = onnx_session(path, cores())

    def logits(self, stored: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return logits [N, C] of images [N, H, W, 3] as its data store them."""
        return self._session(self._form.arrays(stored))


def _made(path: Path) -> ModelFile:
    """Return what an ONNX file says of its network, as model.json has it; how it was built is not known."""
    if not path.is_file():
        raise ExportError(f"there is no file {path}; expected an ONNX file, as `mobilebench export` writes it")
    said = read_metadata(path)
    try:
        return parse(ModelFile, _values(said), f"{path}: ")
    except (KeyError, ValueError) as error:
        reason = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise ExportError(
            f"{path} does not say what its network expects and means: {reason}. Expected the metadata of a file that "
            "`mobilebench export` wrote"
        ) from None


def _values(said: Mapping[str, str]) -> dict[str, Any]:
    texts = {key: said[key] for key in _TEXTS}
    sizes = {key: _size(said[key]) for key in _SIZES}
    return {**texts, **sizes, **{key: json.loads(said[key]) for key in _JSON}, "options": {}, "network": ""}


def _size(text: str) -> int | list[int]:
    numbers = [int(number) for number in text.split("x")]
    return numbers[0] if len(numbers) == 1 else numbers
