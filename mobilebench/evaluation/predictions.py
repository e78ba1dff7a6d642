"""The unit of evidence: what one network said of every image of one split, so that any metric can be had afterwards."""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, cast

import numpy as np

from mobilebench.errors import UserError
from mobilebench.evaluation.target import ONE_CLASS, TARGETS
from mobilebench.system.files import write_bytes

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mobilebench.evaluation.target import Target

FLOAT16_MAX = 65504.0
_ARRAYS = ("target", "targets", "predicted", "logits", "ids")


class PredictionsError(UserError):
    """Kept predictions are absent, damaged or of another run; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network said of the N images of a split, in the order of the packed data; C is the number of classes."""

    target: Target
    """What is predicted."""
    targets: NDArray[np.int64] | NDArray[np.uint8]
    """The truth: class numbers [N], or 0 and 1 [N, C] of several labels."""
    predicted: NDArray[np.int64] | NDArray[np.uint8]
    """What was said, in the same form: the class of the largest logit, or each class with a logit above 0. Taken from
    the logits before they were rounded to 16 bits."""
    logits: NDArray[np.floating]
    """[N, C]: float32 as computed, float16 as kept."""
    ids: NDArray[np.str_]
    """[N] names of the images: their paths in the packed index."""

    def __post_init__(self) -> None:
        n = len(self.ids)
        labels = (n,) if self.target in ONE_CLASS else self.logits.shape
        if self.logits.ndim != 2 or len(self.logits) != n or not n:
            raise PredictionsError(f"logits are {self.logits.shape} for {n} images; expected [N, C], N at least 1")
        for name in ("targets", "predicted"):
            shape = getattr(self, name).shape
            if shape != labels:
                raise PredictionsError(f"{name} are {shape}; expected {labels} for a {self.target} target")

    @classmethod
    def of_logits(
        cls, target: Target, targets: NDArray[np.generic], logits: NDArray[np.float32], ids: NDArray[np.str_]
    ) -> Predictions:
        """Return the predictions that these logits make."""
        if target in ONE_CLASS:
            return cls(target, targets.astype(np.int64), logits.argmax(axis=1), logits, ids)
        return cls(target, targets.astype(np.uint8), (logits > 0).astype(np.uint8), logits, ids)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def classes(self) -> int:
        """The number of classes, C."""
        return int(self.logits.shape[1])

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """[N, C]: softmax of the logits, or each class's sigmoid where there are several labels."""
        logits = self.logits.astype(np.float64)
        if self.target in ONE_CLASS:
            raised = np.exp(logits - logits.max(axis=1, keepdims=True))
            return cast("NDArray[np.float64]", raised / raised.sum(axis=1, keepdims=True))
        return cast("NDArray[np.float64]", np.exp(-np.logaddexp(0.0, -logits)))

    @cached_property
    def log_loss(self) -> NDArray[np.float64]:
        """[N]: cross-entropy of each image in nats, without label smoothing; of several labels the mean over them."""
        logits = self.logits.astype(np.float64)
        if self.target in ONE_CLASS:
            top = logits.max(axis=1)
            total = top + np.log(np.exp(logits - top[:, None]).sum(axis=1))
            return cast("NDArray[np.float64]", total - logits[np.arange(len(self)), self.targets])
        signed = np.where(self.targets == 1, -logits, logits)
        return cast("NDArray[np.float64]", np.logaddexp(0.0, signed).mean(axis=1))

    def as_kept(self) -> Predictions:
        """Return the same with logits as a file holds them: float16, at most 65504 in size."""
        kept = np.clip(self.logits, -FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)
        return Predictions(self.target, self.targets, self.predicted, kept, self.ids)

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the content as kept; equal content has an equal digest, whatever wrote the file."""
        kept = self.as_kept()
        total = hashlib.sha256(f"{kept.target} {kept.logits.shape}\n".encode())
        total.update(kept.targets.astype("<i8").tobytes())
        total.update(kept.predicted.astype("<i8").tobytes())
        total.update(kept.logits.astype("<f2").tobytes())
        total.update("\n".join(kept.ids.tolist()).encode("utf-8", "surrogatepass"))
        return total.hexdigest()

    def save(self, path: Path) -> str:
        """Write the predictions as a compressed .npz, replaced in one step, and return their digest."""
        kept = self.as_kept()
        buffer = io.BytesIO()
        arrays = {name: np.asarray(getattr(kept, name)) for name in _ARRAYS}
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # its stub takes the keywords for its own
        write_bytes(path, buffer.getvalue(), durable=True)
        return self.digest


def load_predictions(path: Path, digest: str = "") -> Predictions:
    """Return the predictions of a file. Raises PredictionsError when it is absent, damaged or not of this digest."""
    again = f"remove {path}, and `mobilebench sync` fetches it from the tracking server again"
    try:
        with np.load(path, allow_pickle=False) as file:
            target = str(file["target"])
            arrays = [file[name] for name in _ARRAYS[1:]]
    except FileNotFoundError:
        raise PredictionsError(
            f"there are no predictions at {path}; `mobilebench sync` fetches those of finished cells from the tracking "
            "server. Runs of versions before predictions were kept have none"
        ) from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise PredictionsError(f"{path} is no file of predictions or is damaged ({error}); {again}") from None
    if target not in TARGETS:
        raise PredictionsError(f"{path} is of a {target[:40]!r} target; known are {', '.join(TARGETS)}")
    found = Predictions(target, *arrays)
    if digest and found.digest != digest:
        raise PredictionsError(
            f"{path} holds predictions {found.digest[:12]}, its record names {digest[:12]}; they are of another run or "
            f"were changed: {again}"
        )
    return found
