"""A CSV of your own images: columns path,label[,split,group], every line of it checked."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import fault, shown
from mobilebench.datasets.class_names import check_distinct, tidy
from mobilebench.datasets.custom_image import OwnImage, role
from mobilebench.datasets.spec import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

COLUMNS = ("path", "label", "split", "group")


def read_bytes(path: Path) -> bytes:
    """Return the content of a CSV. Raises DataError for what cannot be read as a file."""
    wrong = fault(path)  # a device or pipe would be read without end
    if wrong:
        raise DataError(f"data_sources: {shown(path)} cannot be read as a CSV (it {wrong}).")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"data_sources: {shown(path)} cannot be read as a CSV ({error.strerror}).") from error


def list_csv(path: Path, content: bytes, root: Path, test: str | None) -> list[OwnImage]:
    """Return the images that a CSV lists, in its order, whether their files are there or not.

    test: value of the split column that means test; None for `test`. Raises DataError naming the line.
    """
    lines = _lines(path, content)
    check_distinct(shown(path), (line["label"] for _, line in lines))
    images = [
        OwnImage(
            root / line["path"], line["path"], tidy(line["label"]), _split(path, number, line, test), line["group"]
        )
        for number, line in lines
    ]
    if test is not None and not any(line["split"] == test for _, line in lines):
        raise DataError(f"data_sources: test is {test!r}, but no line of {shown(path)} has that split.")
    twice = [name for name, n in Counter(os.path.normpath(image.name) for image in images).items() if n > 1]
    if twice:
        raise DataError(f"{shown(path)} lists {len(twice)} paths more than once: {', '.join(twice[:5])}.")
    return images


def check_present(path: Path, root: Path, images: Sequence[OwnImage]) -> None:
    """Raise DataError naming the files that a CSV lists and that are not there."""
    absent = [(image.name, wrong) for image in images if (wrong := fault(image.place))]
    if absent:
        named = ", ".join(f"{name!r} ({wrong})" for name, wrong in absent[:5])
        raise DataError(
            f"{shown(path)} lists {len(absent)} files that are not below {shown(root)}: {named}; set root to the folder"
            " that the paths start from."
        )


def _lines(path: Path, content: bytes) -> list[tuple[int, Mapping[str, str]]]:
    """Return the lines that hold something, with their numbers, every column present and blanks around cells gone.

    Only a path keeps its blanks: a file's name may end with one.
    """
    try:
        reader = csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True)
        rows = [(reader.line_num, row) for row in reader if any(cell.strip() for cell in row)]
    except UnicodeDecodeError as error:
        raise DataError(f"data_sources: {shown(path)} cannot be read as a CSV ({error}); save it as UTF-8.") from error
    except csv.Error as error:
        raise DataError(f"data_sources: {shown(path)} cannot be read as a CSV ({error}).") from error
    header = [cell.strip() for cell in rows[0][1]] if rows else []
    if len(rows) < 2 or not {"path", "label"} <= set(header) <= set(COLUMNS) or len(set(header)) < len(header):
        raise DataError(
            f"{shown(path)} has {max(len(rows) - 1, 0)} lines and columns {', '.join(header) or 'none'}; expected"
            " columns path,label and optionally split,group, each once, and at least one line."
        )
    return [(number, _line(path, number, header, row)) for number, row in rows[1:]]


def _line(path: Path, number: int, header: Sequence[str], row: Sequence[str]) -> Mapping[str, str]:
    if len(row) != len(header):
        raise DataError(
            f"{shown(path)}, line {number}: found {len(row)} cells ({', '.join(map(repr, row[:6]))}), expected columns"
            f" {', '.join(header)}: a cell that holds a comma needs quotes around it."
        )
    cells = {name: cell if name == "path" else cell.strip() for name, cell in zip(header, row, strict=True)}
    if not cells["path"].strip() or not cells["label"]:
        raise DataError(f"{shown(path)}, line {number}: path and label must not be empty (found {cells}).")
    return dict.fromkeys(COLUMNS, "") | cells


def _split(path: Path, number: int, line: Mapping[str, str], test: str | None) -> str:
    value = line["split"]
    split = "test" if test is not None and value == test else role(value)
    if value and not split:
        raise DataError(
            f"{shown(path)}, line {number}: split is {value!r}; allowed: train, val, test, or no split column at all."
        )
    return split
