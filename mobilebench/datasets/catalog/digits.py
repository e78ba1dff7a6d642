"""Real handwritten digits that ship with scikit-learn: the smallest real dataset, no download."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mobilebench.datasets.spec import DatasetSpec, Entry, Reading
from mobilebench.datasets.splits import holdout

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy


def read(_raw: Path, policy: DataPolicy) -> Reading:
    """Return the 1,797 8x8 digits as RGB, split 80/20 stratified by class with the policy's split_seed."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    grey = (bunch.images.astype(np.int64) * 255 // 16).astype(np.uint8)
    labels = bunch.target.tolist()
    test = holdout(labels, fraction=0.2, seed=policy.split_seed)
    entries = [Entry(f"{i:04d}", y, "test" if i in test else "train") for i, y in enumerate(labels)]
    return Reading(tuple("0123456789"), entries, pixels=np.repeat(grey[..., None], 3, axis=3))


SPEC = DatasetSpec(
    id="digits",
    title="Handwritten digits, 8x8 (UCI, test part)",
    domain="handwriting",
    classes=10,
    counts={"train": 1437, "test": 360},
    licence="CC BY 4.0",
    citation="E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI Repository, 1998",
    homepage="https://archive.ics.uci.edu/dataset/80/optical+recognition+of+handwritten+digits",
    hflip=False,
    read=read,
    note="ships with scikit-learn",
    split_digest="cfd4a354f8720f0b2ccd0fb3118b207eb6240bb0ed4faca270eff8563b91a8b1",
)
