"""Checkpoints that survive a kill at any moment: written beside, synced, renamed; the one before is kept."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, Any

import torch

from mobilebench.system.files import sync_folder
from mobilebench.training.errors import TrainingError

if TYPE_CHECKING:
    from pathlib import Path


def previous(path: Path) -> Path:
    """Where the checkpoint before the newest one lies."""
    return path.with_name(f"{path.name}.previous")


def save(path: Path, state: dict[str, Any]) -> None:
    """Writes `state` (tensors, numbers, strings, lists, dicts) to `path`, keeping the file that was there.

    The older file becomes `previous(path)`. At every instant either `path` or `previous(path)` is a whole checkpoint.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = io.BytesIO()  # torch's own writer reports a full disk as "unexpected pos"; the file below says OSError
    torch.save(state, whole)
    beside = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        with beside.open("wb") as file:
            file.write(whole.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            path.replace(previous(path))
        beside.replace(path)
        sync_folder(path.parent)
    finally:
        beside.unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any] | None:
    """The newest checkpoint that can be read, on the CPU; None when none was written.

    A damaged newest file falls back to the one before it. Raises TrainingError when files exist and none can be read.
    """
    found = [p for p in (path, previous(path)) if p.exists()]
    damage: list[str] = []
    for file in found:
        try:
            state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=True)
        except Exception as error:  # noqa: BLE001 - a cut file fails in zipfile, pickle or torch in many ways
            damage.append(f"{file}: {type(error).__name__}")
        else:
            return state
    if found:
        raise TrainingError(
            f"no checkpoint can be read ({'; '.join(damage)}); expected a file written by this program. "
            "Remove these files to train the cell from its first epoch"
        )
    return None


def remove(path: Path) -> None:
    """Deletes the checkpoint and the one before it; called once a cell is finished."""
    path.unlink(missing_ok=True)
    previous(path).unlink(missing_ok=True)
