"""Reading the plain-text lists that some official distributions use for their splits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.datasets.spec import DataError, Entry

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def lines(path: Path) -> list[str]:
    """Return the non-empty lines of a list, stripped. Raises DataError when it is absent, binary or empty."""
    try:
        found = [line.strip() for line in path.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read as a list ({error}).") from error
    kept = [line for line in found if line]
    if not kept:
        raise DataError(f"{path} is empty; fetch it again.")
    return kept


def numbered(path: Path) -> list[tuple[str, int]]:
    """Return (name, number) for every line `name number`. Raises DataError naming the first line that is not one."""
    found = []
    for number, line in enumerate(lines(path), start=1):
        name, _, label = line.rpartition(" ")
        if not name or not label.isdecimal():
            raise DataError(f"{path}, line {number}: found {line[:80]!r}, expected a name, a space and a number.")
        found.append((name.strip(), int(label)))
    return found


def class_entries(lists: Mapping[Path, str], *, suffix: str = "") -> tuple[tuple[str, ...], list[Entry]]:
    """Return classes, by name, and entries of lists whose lines are `class/image`; each list is of one split.

    suffix: what the lines leave out of the files' names. Raises DataError for a line of another form, a class that
    not every list has, and an image that is listed twice.
    """
    entries: list[Entry] = []
    found: list[set[str]] = []
    listed = [(path, split, lines(path)) for path, split in lists.items()]
    classes = sorted({line.partition("/")[0] for _, _, some in listed for line in some})
    label = {name: number for number, name in enumerate(classes)}
    for path, split, some in listed:
        for number, line in enumerate(some, start=1):
            name, slash, image = line.partition("/")
            if not (name and slash and image) or "/" in image or {name, image} & {".", ".."}:
                raise DataError(f"{path}, line {number}: found {line[:80]!r}, expected class/image.")
            entries.append(Entry(f"{line}{suffix}", label[name], split))
        found.append({line.partition("/")[0] for line in some})
    lacking = [(path, sorted(set(classes) - some)) for path, some in zip(lists, found, strict=True)]
    for path, absent in lacking:
        if absent:
            raise DataError(f"{path} has no image of {', '.join(absent[:5])}, another list has; fetch it again.")
    if len({entry.path for entry in entries}) != len(entries):
        raise DataError(f"{', '.join(map(str, lists))} list an image more than once; fetch them again.")
    return tuple(classes), entries
