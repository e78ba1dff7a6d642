"""A trained network as safetensors: one file, or a folder with config.json as model hubs keep it; written and read."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NamedTuple

from mobilebench.config.parsing import parse
from mobilebench.errors import UserError
from mobilebench.execution.model_file import ModelFile
from mobilebench.runs.records import Record
from mobilebench.system.files import read_text, write_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

SAFETENSORS, CONFIG = "model.safetensors", "config.json"
OURS = "mobilebench"  # the key of what we say in config.json, and in the metadata of a file


class Exported(NamedTuple):
    """What stands beside exported weights."""

    made: ModelFile
    record: Record | None
    """Of the run they are from; None where it is not known."""

    def to_values(self) -> dict[str, Any]:
        """Return what is said of the weights, as JSON values."""
        return {"model": asdict(self.made), "record": self.record and asdict(self.record)}

    def to_metadata(self) -> dict[str, str]:
        """Return the metadata of a safetensors file that `load_model` reads without another file."""
        return {"format": "pt", OURS: json.dumps(self.to_values(), ensure_ascii=False)}


def write_safetensors(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write tensors and texts as one safetensors file, replaced in one step; tensors that share memory are copied."""
    from safetensors.torch import save

    whole = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    return write_bytes(path, save(whole, dict(metadata)), durable=True)


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file. Raises UserError where it is damaged or may not be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read as safetensors ({error}); copy or export it again") from None


def is_exported(path: Path) -> bool:
    """Return whether a path is exported weights: a .safetensors file, or a folder with one and its config.json."""
    if path.is_file():
        return path.suffix == ".safetensors"
    return (path / SAFETENSORS).is_file() and (path / CONFIG).is_file()


def weights_of(path: Path) -> Path:
    """Return the file of the weights that a path of exported weights is."""
    return path if path.is_file() else path / SAFETENSORS


def read_exported(path: Path) -> Exported:
    """Return what is said of exported weights. Raises UserError for those that mobilebench did not write."""
    file = path if path.is_file() else path / CONFIG
    try:
        said = _metadata(path) if path.is_file() else json.loads(read_text(file, "the JSON of an exported network"))
        ours = said[OURS]
        made = parse(ModelFile, ours["model"], f"{file}: ")
        record = None if ours["record"] is None else parse(Record, ours["record"], f"{file}: ")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{file} does not say how its network is built (no {error}); expected what `mobilebench export` writes. "
            "A network of timm's is read by timm.create_model"
        ) from None
    return Exported(made, record)


def _metadata(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} cannot be read as safetensors ({error}); copy or export it again") from None
    return {OURS: json.loads(said[OURS])}
