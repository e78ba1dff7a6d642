"""The label of an image in each form it has: class numbers, a row of labels.npy, a cell of index.csv, class names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mobilebench.config.data import SEPARATOR
from mobilebench.datasets.spec import ClassLabel, DataError
from mobilebench.evaluation.target import ONE_CLASS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobilebench.evaluation.target import Target

Labels = npt.NDArray[Any]
"""int64 [N], class numbers, where each image has one class; uint8 [N, C], 0 and 1, of a multi_label dataset."""


def class_numbers(label: ClassLabel) -> tuple[int, ...]:
    """Return the numbers of an image's classes."""
    return label if isinstance(label, tuple) else (label,)


def label_array(labels: Sequence[ClassLabel], target: Target, classes: int) -> Labels:
    """Return the labels of N images as labels.npy holds them: int64 [N] or, of several labels, uint8 [N, C].

    Raises DataError for a label that is not of this target or of these classes.
    """
    several = target not in ONE_CLASS
    for row, label in enumerate(labels):
        numbers = class_numbers(label)
        wrong = isinstance(label, tuple) is not several or list(numbers) != sorted(set(numbers))
        if wrong or not all(0 <= number < classes for number in numbers):
            expected = "a tuple of different ones, ascending" if several else "one"
            raise DataError(
                f"image {row} has the label {label!r}; with target {target} each image needs {expected} of the class"
                f" numbers 0 to {classes - 1}."
            )
    if not several:
        return np.array(labels, np.int64)
    array = np.zeros((len(labels), classes), np.uint8)
    for row, label in enumerate(labels):
        array[row, list(class_numbers(label))] = 1
    return array


def row_labels(labels: Labels) -> list[ClassLabel]:
    """Return the labels of the rows of an array that `label_array` made."""
    if labels.ndim == 1:
        return [int(label) for label in labels]
    return [tuple(np.flatnonzero(row).tolist()) for row in labels]


def label_text(label: ClassLabel) -> str:
    """Return a label as a cell of index.csv: "3", or "0|3" of several classes; empty for none."""
    return SEPARATOR.join(map(str, class_numbers(label)))


def read_label(text: str, target: Target) -> ClassLabel:
    """Return the label that such a cell holds. Raises ValueError for another text."""
    if target in ONE_CLASS:
        return int(text)
    return tuple(int(number) for number in text.split(SEPARATOR)) if text else ()


def label_names(classes: Sequence[str], label: ClassLabel) -> str:
    """Return the names of an image's classes, "a" or "a|b"; empty for none."""
    return SEPARATOR.join(classes[number] for number in class_numbers(label))
