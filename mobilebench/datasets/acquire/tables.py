"""Reading the CSV tables by which some distributions label their images: a header, then a line an image."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, NamedTuple

from mobilebench.datasets.acquire.listing import files_in
from mobilebench.datasets.spec import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path


class Row(NamedTuple):
    """One line of a table."""

    number: int
    """Its number in the file, the header's is 1."""

    cells: Mapping[str, str]
    """The cells asked for, by column, without blanks around them."""


def rows(table: Path, columns: Sequence[str], *, key: str = "", optional: Sequence[str] = ()) -> list[Row]:
    """Return the lines of a table that hold something, in its order.

    columns: those that it must have. optional: further ones, whose cells are "" where it has not; all others are left
    out. key: the column that must be another in each line, "" for none. Raises DataError for what is no such table,
    naming the line.
    """
    try:
        reader = csv.reader(io.StringIO(table.read_text(encoding="utf-8-sig"), newline=""), strict=True)
        lines = [(reader.line_num, line) for line in reader if any(cell.strip() for cell in line)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read as a CSV ({error}); fetch it again.") from error
    header = [cell.strip() for cell in lines[0][1]] if lines else []
    if len(lines) < 2 or not set(columns) <= set(header):
        raise DataError(
            f"{table} has {max(len(lines) - 1, 0)} lines and columns {', '.join(header)[:200] or 'none'}; expected"
            f" columns {', '.join(columns)} and a line an image. Fetch it again."
        )
    found, seen = [], dict[str, int]()
    for number, line in lines[1:]:
        if len(line) != len(header):
            raise DataError(f"{table}, line {number}: found {len(line)} cells, expected {len(header)}; fetch it again.")
        given = {name: cell.strip() for name, cell in zip(header, line, strict=True)}
        cells = {name: given.get(name, "") for name in (*columns, *optional)}
        if key and seen.setdefault(cells[key], number) != number:
            first = seen[cells[key]]
            raise DataError(f"{table}, line {number}: {key} {cells[key]!r} is in line {first} too; fetch it again.")
        found.append(Row(number, cells))
    return found


def whole(table: Path, row: Row, column: str, allowed: range) -> int:
    """Return the whole number in a cell. Raises DataError, naming the line, for anything that is not `allowed`."""
    cell = row.cells[column]
    digits = cell.removeprefix("-")
    if digits.isascii() and digits.isdecimal() and len(digits) < 10 and int(cell) in allowed:
        return int(cell)
    raise DataError(
        f"{table}, line {row.number}: {column} is {cell[:80]!r}, expected a whole number from {allowed[0]} to"
        f" {allowed[-1]}; fetch it again."
    )


def check_present(table: Path, folder: Path, names: Iterable[str]) -> None:
    """Raise DataError where files that a table names are not in the folder."""
    there = {path.name for path in files_in(folder)} if folder.is_dir() else set()
    wanted = list(dict.fromkeys(names))
    absent = [name for name in wanted if name not in there]
    if absent:
        raise DataError(
            f"{folder} lacks {len(absent)} of the {len(wanted)} images that {table.name} lists, for example"
            f" {absent[0][:80]!r}: unpack the archive again."
        )
