"""A CSV of your own images: columns path,label[,split,group], every line of it checked.

Of a multi_label target a label is `a|b|c`, empty for an image of no class; or the file has no column `label` but one a
class, with 0 or 1 in each line.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from mobilebench.config.data import SEPARATOR
from mobilebench.datasets.acquire.listing import fault, shown
from mobilebench.datasets.class_names import check_distinct, check_known, tidy
from mobilebench.datasets.custom_image import OwnImage, role
from mobilebench.datasets.spec import DataError
from mobilebench.evaluation.target import ONE_CLASS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mobilebench.config.data import OwnData

COLUMNS = ("path", "label", "split", "group")
_YES_OR_NO = {"0": False, "1": True, "false": False, "true": True}


class _Line(NamedTuple):
    """One line of the file that holds something."""

    number: int
    """Its number in the file."""

    cells: Mapping[str, str]
    """Its cells by column."""

    names: Sequence[str]
    """The names of its classes, as they are written."""


def read_bytes(path: Path) -> bytes:
    """Return the content of a CSV. Raises DataError for what cannot be read as a file."""
    wrong = fault(path)  # a device or pipe would be read without end
    if wrong:
        raise DataError(f"data_sources: {shown(path)} cannot be read as a CSV (it {wrong}).")
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"data_sources: {shown(path)} cannot be read as a CSV ({error.strerror}).") from error


def list_csv(path: Path, content: bytes, root: Path, own: OwnData) -> list[OwnImage]:
    """Return the images that a CSV lists, in its order, whether their files are there or not.

    own.test: value of the split column that means test; None for `test`. own.target says what a label is, own.classes
    which there are. Raises DataError naming the line.
    """
    lines = _lines(path, content, own)
    check_distinct(shown(path), (name for line in lines for name in line.names))
    check_known(own, ((f"{shown(path)}, line {line.number}", tidy(name)) for line in lines for name in line.names))
    images = [
        OwnImage(
            root / line.cells["path"],
            line.cells["path"],
            tuple(sorted(map(tidy, line.names))),
            _split(path, line, own.test),
            line.cells["group"],
        )
        for line in lines
    ]
    if own.test is not None and not any(line.cells["split"] == own.test for line in lines):
        raise DataError(f"data_sources: test is {own.test!r}, but no line of {shown(path)} has that split.")
    twice = [name for name, n in Counter(os.path.normpath(image.name) for image in images).items() if n > 1]
    if twice:
        raise DataError(f"{shown(path)} lists {len(twice)} paths more than once: {', '.join(twice[:5])}.")
    return images


def split_names(cell: str) -> list[str]:
    """Return the names in a label of several classes, `a|b|c`, in its order; none of an empty one.

    Raises ValueError, saying what is wrong, for an empty name and for one that is there twice.
    """
    if not cell.strip():
        return []
    names = [name.strip() for name in cell.split(SEPARATOR)]
    if "" in names:
        raise ValueError(f"has an empty name beside a {SEPARATOR}; an image of no class has nothing in this cell")
    twice = [name for name, n in Counter(names).items() if n > 1]
    if twice:
        raise ValueError(f"names {twice[0]!r} more than once")
    return names


def check_present(path: Path, root: Path, images: Sequence[OwnImage]) -> None:
    """Raise DataError naming the files that a CSV lists and that are not there."""
    absent = [(image.name, wrong) for image in images if (wrong := fault(image.place))]
    if absent:
        named = ", ".join(f"{name!r} ({wrong})" for name, wrong in absent[:5])
        raise DataError(
            f"{shown(path)} lists {len(absent)} files that are not below {shown(root)}: {named}; set root to the folder"
            " that the paths start from."
        )


def _lines(path: Path, content: bytes, own: OwnData) -> list[_Line]:
    """Return the lines that hold something, every column present and blanks around cells gone.

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
    several = own.target not in ONE_CLASS
    kinds = [name for name in header if name not in COLUMNS] if several and "label" not in header else []
    _check_header(path, header, kinds, max(len(rows) - 1, 0), several=several)
    lines = [(number, _cells(path, number, header, row, several=several)) for number, row in rows[1:]]
    if kinds:
        return _of_columns(path, kinds, lines)
    if several:
        return _of_several(path, lines, own)
    return [_Line(number, cells, [cells["label"]]) for number, cells in lines]


def _check_header(path: Path, header: Sequence[str], kinds: Sequence[str], lines: int, *, several: bool) -> None:
    once = len(set(header)) == len(header) and "" not in header and SEPARATOR not in "".join(kinds)
    if lines and once and {"path"} < set(header) <= {*COLUMNS, *kinds} and ("label" in header or len(kinds) > 1):
        check_distinct(shown(path), [*kinds, *COLUMNS])
        return
    found = f"{shown(path)} has {lines} lines and columns {', '.join(header) or 'none'}; expected"
    rest = "optionally split,group, each once, and at least one line."
    if several:
        raise DataError(
            f"{found} columns path,label, a label being a{SEPARATOR}b{SEPARATOR}c, or path and one column a class, two"
            f" or more without {SEPARATOR} in their names; {rest}"
        )
    more = " For one 0/1 column a class write `target: multi_label`." if "label" not in header else ""
    raise DataError(f"{found} columns path,label and {rest}{more}")


def _cells(path: Path, number: int, header: Sequence[str], row: Sequence[str], *, several: bool) -> Mapping[str, str]:
    if len(row) != len(header):
        raise DataError(
            f"{shown(path)}, line {number}: found {len(row)} cells ({', '.join(map(repr, row[:6]))}), expected columns"
            f" {', '.join(header)}: a cell that holds a comma needs quotes around it."
        )
    cells = {name: cell if name == "path" else cell.strip() for name, cell in zip(header, row, strict=True)}
    if not cells["path"].strip() or not (several or cells["label"]):
        needed = "path" if several else "path and label"
        raise DataError(f"{shown(path)}, line {number}: {needed} must not be empty (found {cells}).")
    return dict.fromkeys(COLUMNS, "") | cells


def _of_columns(path: Path, kinds: Sequence[str], lines: Sequence[tuple[int, Mapping[str, str]]]) -> list[_Line]:
    """Return the lines of a file with one column a class."""
    found = []
    for number, cells in lines:
        for kind in kinds:
            if cells[kind].casefold() not in _YES_OR_NO:
                raise DataError(
                    f"{shown(path)}, line {number}: column {kind!r} is {cells[kind]!r}; every column beside path, split"
                    " and group is a class, and holds 0, 1, true or false in each line."
                )
        found.append(_Line(number, cells, [kind for kind in kinds if _YES_OR_NO[cells[kind].casefold()]]))
    empty = sorted(set(kinds) - {name for line in found for name in line.names})
    if empty:
        raise DataError(f"{shown(path)} has classes without an image: {', '.join(empty[:5])}; take these columns out.")
    return found


def _of_several(path: Path, lines: Sequence[tuple[int, Mapping[str, str]]], own: OwnData) -> list[_Line]:
    """Return the lines of a file whose labels name several classes."""
    found = []
    for number, cells in lines:
        try:
            names = split_names(cells["label"])
        except ValueError as error:
            raise DataError(f"{shown(path)}, line {number}: label {cells['label']!r} {error}.") from None
        found.append(_Line(number, cells, names))
    if not any(line.names for line in found):
        raise DataError(f"{shown(path)}: no line has a label; expected names of classes, as a{SEPARATOR}b{SEPARATOR}c.")
    odd = [line for line in found if any(sign in name for name in line.names for sign in ",;")]
    if odd and not own.classes and all(len(line.names) < 2 for line in found):
        raise DataError(
            f"{shown(path)}, line {odd[0].number}: label {odd[0].names[0]!r}, and no label of the file has a"
            f" {SEPARATOR}. Put {SEPARATOR} between the classes of an image; if this is the name of one class, list all"
            " of them under `classes` in data_sources."
        )
    return found


def _split(path: Path, line: _Line, test: str | None) -> str:
    value = line.cells["split"]
    split = "test" if test is not None and value == test else role(value)
    if value and not split:
        raise DataError(
            f"{shown(path)}, line {line.number}: split is {value!r}; allowed: train, val, test, or no split column at"
            " all."
        )
    return split
