"""The tensors of a file of weights, under the names of the network they are for. Nothing in a file is ever run."""

from __future__ import annotations

import re
from itertools import groupby
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mobilebench.models.weights.files import WeightsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

_WRAPPERS = ("state_dict", "model_state_dict", "model")  # what training programs keep a state dict under
_PREFIX = "module."  # of a network that was trained on several devices


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file, or of a state dict that torch.save wrote, by name, on the CPU.

    Raises WeightsError for anything else: a damaged file, or a pickle that holds more than tensors, which could run
    code and is not opened.
    """
    try:
        state = _read(path)
    except UnpicklingError as error:
        reason = str(error).partition("WeightsUnpickler error: ")[2].splitlines()
        raise WeightsError(
            f"{path} holds more than tensors ({reason[0] if reason else 'a pickle'}) and is not opened, because such a "
            "file can run code; expected a state dict. Where you trust it, save its state dict alone, by "
            "torch.save(model.state_dict(), ...) or as .safetensors"
        ) from None
    except Exception as error:  # noqa: BLE001 - a cut file fails in zipfile, pickle, torch or safetensors in many ways
        raise WeightsError(
            f"{path} cannot be read as weights ({type(error).__name__}: {error}); expected a .safetensors file or a "
            "state dict that torch.save wrote. It may be cut short: get it again"
        ) from None
    for key in _WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)} if _is_dict(state) else {}
    if not tensors:
        raise WeightsError(f"{path} holds no tensors by name; expected a network's state dict")
    return {name.removeprefix(_PREFIX): value for name, value in tensors.items()}


def _is_dict(state: Any) -> bool:
    return isinstance(state, dict) and all(isinstance(name, str) for name in state)


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_EXPANDED = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2", "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}  # fmt: skip
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}


def as_timm(tensors: Mapping[str, Tensor], wanted: Iterable[str]) -> dict[str, Tensor]:
    """Return the tensors of an EfficientNet of `efficientnet_pytorch`, whose blocks are one row, under timm's names.

    wanted: the names of timm's network, whose blocks stand in stages. Tensors of other names stay as they are.
    """
    if not any(name.startswith("_blocks.") for name in tensors):
        return dict(tensors)
    places = [key for key, _ in groupby(name.rsplit(".", 2)[0] for name in wanted if name.startswith("blocks."))]
    stages = list(dict.fromkeys(found[0] for place in places if (found := re.match(r"blocks\.\d+\.\d+", place))))
    expanded = {name.split(".")[1] for name in tensors if "._expand_conv." in name}

    def renamed(name: str) -> str:
        head, _, rest = name.partition(".")
        if head in _STEM:
            return f"{_STEM[head]}.{rest}"
        block, _, inner = rest.partition(".")
        module, _, kind = inner.partition(".")
        names = _EXPANDED if block in expanded else _PLAIN
        if head != "_blocks" or module not in names or not block.isdecimal() or int(block) >= len(stages):
            return name
        return f"{stages[int(block)]}.{names[module]}.{kind}"

    return {renamed(name): value for name, value in tensors.items()}
