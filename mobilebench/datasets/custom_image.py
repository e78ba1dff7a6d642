"""One image of your own, as a folder or a CSV names it, before anything is drawn or numbered."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from mobilebench.datasets.spec import SPLITS, DataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

# train2017, Train_Set, 01-training, images_val, "Test images"
_ROLE = re.compile(
    r"(\d+[\W_]+)?((images?|imgs?|data|dataset)[\W_]+)?"
    r"((?P<train>train(ing)?)|(?P<val>val(id(ation)?)?)|(?P<test>test(ing)?))"
    r"([\W_]*(sets?|data|images?|imgs?|splits?|parts?|folder|files))?([\W_]*\d+)?"
)


class OwnImage(NamedTuple):
    """One image, as its source names it."""

    place: Path
    """Its file."""

    name: str
    """Its path below the source's folder, as text that can be written anywhere."""

    labels: tuple[str, ...]
    """Its class's name; of a multi_label target the names of all its classes, sorted."""

    split: str = ""
    """train, val, test, or "" where the source has no splits."""

    group: str = ""
    """What it shares with others; "" for none."""


def role(name: str) -> str:
    """Return which split a folder or a value of a split column names, in any usual spelling; "" for none."""
    found = _ROLE.fullmatch(name.strip().casefold())
    return next((split for split in SPLITS if found[split]), "") if found else ""


def check_listed_once(where: str, root: Path, images: Sequence[OwnImage]) -> None:
    """Raise DataError when one file is listed under two names: `a.png` and `./a.png`, a link and its target.

    Several links to one file outside the folder, in one class and split, pass: a store that keeps equal files once
    makes such links, and equal images are the audit's to name.
    """
    same: defaultdict[tuple[int, int], list[OwnImage]] = defaultdict(list)
    for image in images:
        try:
            stat = image.place.stat()
        except (OSError, ValueError):  # named elsewhere
            continue
        same[stat.st_dev, stat.st_ino].append(image)
    home = os.path.realpath(root)
    twice = [group for twins in same.values() if len(twins) > 1 for group in _one_place(twins)]
    twice = [group for group in twice if not _kept_once_outside(home, group)]
    if twice:
        listed = "; ".join(" = ".join(image.name for image in group[:3]) for group in twice[:5])
        raise DataError(f"{where} lists {len(twice)} files more than once: {listed}. Name each image once.")


def _one_place(twins: Sequence[OwnImage]) -> Iterator[list[OwnImage]]:
    """Yield those that lead to one name; hard links have names of their own and are like copies."""
    places: defaultdict[str, list[OwnImage]] = defaultdict(list)
    for image in twins:  # of one inode: names that differ in case only are one on a file system that ignores it
        real = unicodedata.normalize("NFC", os.path.realpath(image.place))
        places[real.casefold()].append(image)
    return (group for group in places.values() if len(group) > 1)


def _kept_once_outside(home: str, group: Sequence[OwnImage]) -> bool:
    target = os.path.realpath(group[0].place)
    outside = os.path.commonpath([home, target]) != home
    links = all(image.place.is_symlink() for image in group)
    names = len({(os.path.realpath(image.place.parent), image.place.name) for image in group}) == len(group)
    return outside and links and names and len({(image.labels, image.split) for image in group}) == 1
