"""The validation images: from train only, even over classes, whole groups, always the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest

from mobilebench.datasets.spec import DataError
from mobilebench.datasets.val_cut import cut

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Row(NamedTuple):
    split: str
    group: str


class Index:
    """As much of a packed dataset as a cut reads."""

    def __init__(self, splits: list[str], labels: list[int], groups: list[str] | None = None) -> None:
        self.labels = np.array(labels)
        self.index = [Row(*pair) for pair in zip(splits, groups or [""] * len(splits), strict=True)]

    def rows(self, split: str) -> NDArray[np.int64]:
        return np.flatnonzero([row.split == split for row in self.index])


SPLITS = ["test", "train", "train", "train", "train"] * 40
LABELS = [n // 5 % 4 for n in range(200)]


def test_val_comes_from_train_a_fifth_of_each_class_and_test_stays_out() -> None:
    data = Index(SPLITS, LABELS)
    held = cut(data, 0.2, 42)
    assert set(held.train) | set(held.val) == set(data.rows("train"))
    assert not set(held.train) & set(held.val)
    assert np.bincount(data.labels[held.val]).tolist() == [8, 8, 8, 8]


def test_the_same_seed_gives_the_same_cut_and_another_another() -> None:
    data = Index(SPLITS, LABELS)
    assert cut(data, 0.2, 42).digest == cut(data, 0.2, 42).digest
    assert cut(data, 0.2, 42).digest != cut(data, 0.2, 43).digest


def test_a_group_is_never_shared_out() -> None:
    groups = [f"g{n // 10}" for n in range(200)]
    labels = [n // 10 % 4 for n in range(200)]
    held = cut(Index(SPLITS, labels, groups), 0.25, 42)
    assert len(held.val)
    assert not {groups[n] for n in held.val} & {groups[n] for n in held.train}


def test_images_of_several_classes_are_cut_by_the_rarest_of_them() -> None:
    data = Index(SPLITS, LABELS)
    data.labels = np.eye(4, dtype=np.uint8)[data.labels]
    data.labels[:, 3] = 1  # on every image, so never the rarest of two
    held = cut(data, 0.2, 42)
    assert data.labels[held.val].sum(axis=0).tolist() == [8, 8, 8, 32]
    assert held.digest == cut(Index(SPLITS, LABELS), 0.2, 42).digest  # class by class the same draw


def test_a_validation_part_that_is_there_is_taken() -> None:
    splits = ["val" if n % 10 == 1 else split for n, split in enumerate(SPLITS)]
    held = cut(Index(splits, LABELS), 0.2, 42)
    assert held.val.tolist() == [n for n in range(200) if n % 10 == 1]
    assert not set(held.val) & set(held.train)


def test_a_class_of_one_image_cannot_be_cut() -> None:
    with pytest.raises(DataError, match="smallest of which has 1"):
        cut(Index(["train"] * 9, [0] * 8 + [1]), 0.2, 42)
