"""Labels in each of their forms: what goes in comes out, and what is none is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mobilebench.datasets import DataError
from mobilebench.datasets.custom_csv import split_names
from mobilebench.datasets.labels import label_array, label_names, label_text, read_label, row_labels

if TYPE_CHECKING:
    from mobilebench.datasets.spec import ClassLabel
    from mobilebench.evaluation.target import Target

SEVERAL = st.sets(st.integers(0, 11)).map(lambda numbers: tuple(sorted(numbers)))


@given(st.lists(SEVERAL, max_size=8))
def test_several_labels_come_back_from_the_array_and_from_the_index(labels: list[ClassLabel]) -> None:
    array = label_array(labels, "multi_label", 12)
    assert (array.dtype, array.shape) == (np.uint8, (len(labels), 12))
    assert array.tolist() == [[int(number in label) for number in range(12)] for label in labels]
    assert row_labels(array) == labels
    assert [read_label(label_text(label), "multi_label") for label in labels] == labels


@given(st.lists(st.integers(0, 11), max_size=8))
def test_one_label_comes_back_from_the_array_and_from_the_index(labels: list[int]) -> None:
    for target in ("single_label", "ordinal"):
        array = label_array(labels, target, 12)
        assert (array.dtype, array.tolist()) == (np.int64, labels)
        assert row_labels(array) == labels
        assert [read_label(label_text(label), target) for label in labels] == labels


def test_labels_are_shown_by_their_names() -> None:
    classes = ("cat", "dog", "hen")
    assert [label_names(classes, label) for label in (1, (0, 2), (2,), ())] == ["dog", "cat|hen", "hen", ""]
    assert label_text((0, 2)) == "0|2"


@pytest.mark.parametrize(
    ("target", "label", "said"),
    [
        ("single_label", 3, "label 3; with target single_label each image needs one of the class numbers 0 to 2"),
        ("single_label", -1, "label -1"),
        ("ordinal", (1,), r"label \(1,\); with target ordinal"),
        ("multi_label", 1, "label 1; with target multi_label each image needs a tuple"),
        ("multi_label", (0, 3), r"label \(0, 3\)"),
        ("multi_label", (1, 0), r"label \(1, 0\)"),
        ("multi_label", (1, 1), r"label \(1, 1\)"),
    ],
)
def test_a_label_of_another_target_is_refused(target: Target, label: Any, said: str) -> None:
    good: Any = 0 if target != "multi_label" else ()
    with pytest.raises(DataError, match=f"image 1 has the {said}"):
        label_array([good, label], target, 3)


NAMES = st.text(min_size=1, max_size=5).map(str.strip).filter(lambda name: name and "|" not in name)


@given(st.lists(NAMES, unique=True, max_size=6), st.sampled_from(["|", " | ", "| "]))
def test_a_cell_gives_the_names_it_was_joined_from(names: list[str], between: str) -> None:
    assert split_names(between.join(names)) == names


@given(st.text(max_size=12))
@example("|")
@example("a||b")
@example("a|a")
@example("a | a")
def test_any_cell_gives_different_names_or_is_refused(cell: str) -> None:
    parts = [part.strip() for part in cell.split("|")]
    if cell.strip() and ("" in parts or len(set(parts)) < len(parts)):
        with pytest.raises(ValueError, match=r"has an empty name|more than once"):
            split_names(cell)
    else:
        assert split_names(cell) == ([] if not cell.strip() else parts)
