"""Lists whose lines are class/image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mobilebench.datasets import DataError
from mobilebench.datasets.acquire.split_lists import class_entries
from mobilebench.datasets.spec import Entry

if TYPE_CHECKING:
    from pathlib import Path


def lists(folder: Path, train: str, test: str) -> dict[Path, str]:
    (folder / "train.txt").write_text(train)
    (folder / "test.txt").write_text(test)
    return {folder / "train.txt": "train", folder / "test.txt": "test"}


def test_classes_are_numbered_by_name_whatever_the_order_of_the_lines(tmp_path: Path) -> None:
    classes, entries = class_entries(lists(tmp_path, "b/1\na/1\n", "a/2\r\nb/2\r\n"), suffix=".jpg")
    assert classes == ("a", "b")
    assert entries == [
        Entry("b/1.jpg", 1, "train"),
        Entry("a/1.jpg", 0, "train"),
        Entry("a/2.jpg", 0, "test"),
        Entry("b/2.jpg", 1, "test"),
    ]


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ("a/1\nb\n", "a/2\n", r"train\.txt, line 2: found 'b', expected class/image"),
        ("a/1\n", "a/../../2\n", r"test\.txt, line 1: found"),
        ("a/1\n", "../2\n", r"test\.txt, line 1: found"),
        ("a/1\nb/1\n", "a/2\n", r"test\.txt has no image of b"),
        ("a/1\n", "a/1\n", "list an image more than once"),
        ("a/1\n", "\n", r"test\.txt is empty"),
    ],
)
def test_a_list_that_is_wrong_is_refused(train: str, test: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        class_entries(lists(tmp_path, train, test))
