"""Training: batches, augmentation, schedule, loop, checkpoint. Plain torch: no mlflow, no dvc, no pydantic.

`loop.Trainer` is the whole of it on two screens; what exists for speed alone lies in `accel`.

`from mobilebench.training import Split, TrainData, Trainer, EpochResult, DivergedError, VERSION`. Names are resolved on
first use, so that reading a recipe (`mobilebench.config.recipe`) does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mobilebench.training.version import VERSION

if TYPE_CHECKING:
    from mobilebench.training.data import Split, TrainData
    from mobilebench.training.errors import DivergedError, TrainingError
    from mobilebench.training.loop import EpochResult, Trainer

_HOME = {
    "Split": "data",
    "TrainData": "data",
    "DivergedError": "errors",
    "TrainingError": "errors",
    "EpochResult": "loop",
    "Trainer": "loop",
}

__all__ = ["VERSION", "DivergedError", "EpochResult", "Split", "TrainData", "Trainer", "TrainingError"]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
