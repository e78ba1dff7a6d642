"""The unit of evidence: what one network said of every image of one split, so that any metric can be had afterwards."""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, replace
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

    Labels = NDArray[np.int64] | NDArray[np.uint8]

FLOAT16_MAX = 65504.0
_ARRAYS = ("target", "targets", "predicted", "logits", "ids")


class PredictionsError(UserError):
    """Kept predictions are absent, damaged or of another run; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a network said of the N images of a split, in the order of the packed data; C is the number of classes.

    Raises PredictionsError for shapes that do not belong together, labels that are no classes of the C, and logits that
    are not finite: a network that answers so has diverged, and no metric of it means anything.
    """

    target: Target
    """What is predicted."""
    targets: Labels
    """The truth: class numbers [N], or 0 and 1 [N, C] of several labels."""
    predicted: Labels
    """What was said, in the same form: the class of the largest logit, or each class with a logit above 0. Taken from
    the logits before they were rounded to 16 bits."""
    logits: NDArray[np.floating]
    """[N, C]: float32 as computed, float16 as kept. See `as_kept` for what that changes."""
    ids: NDArray[np.str_]
    """[N] names of the images: their paths in the packed index."""

    def __post_init__(self) -> None:
        if self.target not in TARGETS:
            raise PredictionsError(f"predictions are of a {self.target[:40]!r} target; known are {', '.join(TARGETS)}")
        n = len(self.ids) if self.ids.ndim == 1 else -1
        if self.ids.dtype.kind != "U" or n < 0:
            raise PredictionsError(f"ids are {_form(self.ids)}; expected texts [N]")
        if self.logits.dtype.kind != "f" or self.logits.ndim != 2 or len(self.logits) != n or not self.logits.size:
            raise PredictionsError(
                f"logits are {_form(self.logits)} for {n} images; expected floats [N, C], N and C at least 1"
            )
        labels = (n,) if self.target in ONE_CLASS else self.logits.shape
        above = self.classes if self.target in ONE_CLASS else 2
        for name in ("targets", "predicted"):
            array = getattr(self, name)
            if array.dtype.kind not in "iu" or array.shape != labels:
                raise PredictionsError(
                    f"{name} are {_form(array)}; expected integers {labels} for a {self.target} target"
                )
            if array.min() < 0 or array.max() >= above:
                raise PredictionsError(
                    f"{name} go from {array.min()} to {array.max()}; expected 0 to {above - 1} for a {self.target} "
                    f"target and logits of {self.classes} classes"
                )
        finite = np.isfinite(self.logits).all(axis=1)
        if not finite.all():
            raise PredictionsError(
                f"logits of {n - finite.sum()} of {n} images are not finite, first of {self.ids[~finite][0]!r}; the "
                "network has diverged: train it again with a smaller learning rate"
            )

    @classmethod
    def of_logits(
        cls, target: Target, targets: NDArray[np.generic], logits: NDArray[np.float32], ids: NDArray[np.str_]
    ) -> Predictions:
        """Return the predictions that these logits make. Raises PredictionsError as the class does."""
        if logits.ndim != 2 or not logits.shape[1]:
            raise PredictionsError(f"logits are {_form(logits)}; expected floats [N, C], N and C at least 1")
        whole = _labels(target, targets)
        if not np.array_equal(whole, targets):
            raise PredictionsError(f"targets are {_form(targets)} and not all of them whole numbers; expected classes")
        said = logits.argmax(axis=1) if target in ONE_CLASS else logits > 0
        return cls(target, whole, _labels(target, said), logits, ids)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def classes(self) -> int:
        """The number of classes, C."""
        return int(self.logits.shape[1])

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """[N, C]: softmax of the logits, or each class's sigmoid where there are several labels."""
        return probabilities_of(self.target, self.logits)

    @cached_property
    def log_loss(self) -> NDArray[np.float64]:
        """[N]: cross-entropy of each image in nats, without label smoothing; of several labels the mean over them."""
        logits = self.logits.astype(np.float64)
        if self.target in ONE_CLASS:
            top = logits.max(axis=1)
            spread = np.log(np.exp(logits - top[:, None]).sum(axis=1))
            return cast("NDArray[np.float64]", spread + (top - logits[np.arange(len(self)), self.targets]))
        signed = np.where(self.targets == 1, -logits, logits)
        return cast("NDArray[np.float64]", np.logaddexp(0.0, signed).mean(axis=1))

    def as_kept(self) -> Predictions:
        """Return the same with logits as a file holds them: float16, at most 65504 in size.

        Rounding moves a logit by at most 1/2048 of its size, or by 3e-8. So it moves an image's log loss by at most
        1/1024 of its largest logit in size, and nll too; nothing moves what is read from `predicted`. The logits of
        1,000 images as trained networks give them (up to some 30 in size) moved nll and map by less than 1e-4, roc_auc
        by less than 1e-5, ece and top5 by less than 1e-3 (tests/evaluation/test_float16.py). An image that rounding
        takes into another bin moves ece by 2 / N at most. For logits beyond 65504 there is no such bound.
        """
        kept = np.clip(self.logits, -FLOAT16_MAX, FLOAT16_MAX).astype(np.float16)
        return Predictions(self.target, self.targets, self.predicted, kept, self.ids)

    @cached_property
    def digest(self) -> str:
        """Hex SHA-256 of the content as kept; equal content has an equal digest, whatever wrote the file."""
        kept = self.as_kept()
        total = hashlib.sha256(f"{kept.target} {kept.logits.shape}\n".encode())
        total.update(kept.targets.astype("<i8").tobytes())
        total.update(kept.predicted.astype("<i8").tobytes())
        total.update((kept.logits + np.float16(0)).astype("<f2").tobytes())  # -0 is equal to 0
        total.update(json.dumps(kept.ids.tolist()).encode())  # quoted: where an id ends must not be open
        return total.hexdigest()

    def save(self, path: Path) -> str:
        """Write the predictions as a compressed .npz, replaced in one step, and return their digest.

        Equal content makes equal bytes. Raises OSError where the file cannot be written.
        """
        kept = self.as_kept()
        buffer = io.BytesIO()
        arrays = {name: np.asarray(getattr(kept, name)) for name in _ARRAYS}
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]  # its stub takes the keywords for its own
        write_bytes(path, buffer.getvalue(), durable=True)
        return self.digest


def probabilities_of(target: Target, logits: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return [N, C]: softmax of logits [N, C], or each class's sigmoid where there are several labels."""
    exact = logits.astype(np.float64)
    if target in ONE_CLASS:
        raised = np.exp(exact - exact.max(axis=1, keepdims=True))
        return cast("NDArray[np.float64]", raised / raised.sum(axis=1, keepdims=True))
    return cast("NDArray[np.float64]", np.exp(-np.logaddexp(0.0, -exact)))


def load_predictions(path: Path, digest: str = "") -> Predictions:
    """Return the predictions of a file. Raises PredictionsError when it is absent, damaged or not of this digest."""
    again = f"remove {path}, and `mobilebench train` fetches it from the tracking server again"
    try:
        found = _read(path)
    except FileNotFoundError:
        raise PredictionsError(
            f"there are no predictions at {path}; `mobilebench train` fetches those of finished cells from the "
            "tracking server. Runs of versions before predictions were kept have none"
        ) from None
    except PermissionError as error:
        raise PredictionsError(f"{path} may not be read ({error}); allow it") from None
    except Exception as error:  # of damaged bytes zipfile, zlib and numpy raise nearly anything, and PredictionsError
        raise PredictionsError(f"{path} is no file of predictions or is damaged ({error}); {again}") from error
    if digest and found.digest != digest:
        raise PredictionsError(
            f"{path} holds predictions {found.digest[:12]}, its record names {digest[:12]}; they are of another run or "
            f"were changed: {again}"
        )
    return found


def _read(path: Path) -> Predictions:
    with path.open("rb") as opened, np.lib.npyio.NpzFile(opened, allow_pickle=False) as file:
        target, targets, predicted, logits, ids = (np.asarray(file[name]) for name in _ARRAYS)
    found = Predictions(cast("Target", str(target)), targets, predicted, logits, ids)
    kept = found.as_kept()  # another program may have written other sizes of numbers
    return replace(kept, targets=_labels(found.target, targets), predicted=_labels(found.target, predicted))


def _labels(target: Target, labels: NDArray[np.generic]) -> Labels:
    return labels.astype(np.int64) if target in ONE_CLASS else labels.astype(np.uint8)


def _form(array: NDArray[np.generic]) -> str:
    return f"{array.dtype} {array.shape}"
