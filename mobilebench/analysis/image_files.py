"""The image files that a person names: files, folders and patterns."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from mobilebench.datasets.acquire.listing import files_below
from mobilebench.datasets.custom_folder import IMAGE_SUFFIX
from mobilebench.datasets.spec import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class Unreadable(NamedTuple):
    """Something named that is no image, and why."""

    image: str
    """What was named, or the file."""
    reason: str


def image_files(names: Iterable[str]) -> tuple[list[Path], list[Unreadable]]:
    """Return the files that names stand for, each once in the order given, and the names that stand for none.

    A folder stands for every file below it that is called like an image, sorted by path. A name with `*`, `?` or `[`
    that no file has is a pattern, in which `**` goes into folders.
    """
    found: dict[Path, None] = {}
    missing = []
    for name in names:
        try:
            files = list(_files(name))
        except DataError as error:
            missing.append(Unreadable(name, str(error)))
            continue
        if not files:
            missing.append(Unreadable(name, _nothing(name)))
        found |= dict.fromkeys(files)
    return list(found), missing


def _files(name: str) -> Iterator[Path]:
    path = Path(name)
    if not path.exists() and glob.has_magic(name):
        for match in sorted(glob.glob(name, recursive=True)):  # noqa: PTH207 - takes an absolute pattern too
            yield from [Path(match)] if Path(match).is_file() else ()
    elif path.is_dir():
        yield from (file for file in files_below(path) if IMAGE_SUFFIX.fullmatch(file.suffix))
    elif path.exists():
        yield path


def _nothing(name: str) -> str:
    if Path(name).is_dir():
        return "no file below this folder is called like an image"
    return "no file matches this pattern" if glob.has_magic(name) else "there is no such file"
