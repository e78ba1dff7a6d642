"""The validation images a probe chooses on: cut out of train, so that test is never read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.datasets.labels import row_labels
from mobilebench.datasets.splits import holdout

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilebench.datasets.packing.packed import Packed


@dataclass(frozen=True, eq=False)
class ValCut:
    """Rows of the packed arrays, ascending int64: those to learn from and those to choose on."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]

    @property
    def digest(self) -> str:
        """Twelve hex digits that name the cut."""
        lines = hashlib.sha256(self.train.astype("<i8").tobytes() + b"|" + self.val.astype("<i8").tobytes())
        return lines.hexdigest()[:12]


def cut(packed: Packed, fraction: float, seed: int) -> ValCut:
    """Return the packed dataset's own validation part, or about `fraction` of each class of its train split.

    Stratified as `splits.holdout` does it, whole groups kept together, the same for the same seed. The packed mean and
    std, which were taken over the whole train split, stay as the protocol's cells use them. Raises DataError when a
    class is too small to share.
    """
    train, val = packed.rows("train"), packed.rows("val")
    if not len(val):
        labels = row_labels(packed.labels[train])
        groups = [packed.index[row].group for row in train]
        held = holdout(labels, fraction=fraction, seed=seed, groups=groups)
        mask = np.isin(np.arange(len(train)), sorted(held))
        train, val = train[~mask], train[mask]
    return ValCut(train, val)
