"""What a dataset is: the words a dataset module fills in, and nothing about how they are carried out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from mobilebench.errors import UserError

if TYPE_CHECKING:
    from mobilebench.config.recipe import DataPolicy

Pixels = npt.NDArray[np.uint8]

SPLITS = ("train", "val", "test")


class DataError(UserError):
    """Something is wrong with a dataset: its source, its archive, its images, its packed form or its name."""


class Entry(NamedTuple):
    """One image of a dataset: its path below the dataset's root, class number, split, and group ("" for none).

    Images of one group show the same thing (one lesion, one patient) and should not be shared out between splits.
    """

    path: str
    label: int
    split: str
    group: str = ""


@dataclass(frozen=True)
class Reading:
    """What a dataset module found: class names in label order and one entry per image, in a fixed order.

    The images are the files `root`/path or, where a path is only a name, `files` (one per entry); sets that come as
    arrays have `pixels` instead (uint8 [N, H, W, 3], row i is entry i).
    """

    classes: tuple[str, ...]
    entries: Sequence[Entry]
    root: Path | None = None
    pixels: Pixels | None = None
    files: Sequence[Path] | None = None

    def places(self) -> list[str]:
        """Return where each entry's file is."""
        if self.files is not None:
            return [str(path) for path in self.files]
        root = str(self.root)
        return [f"{root}/{entry.path}" for entry in self.entries]


@dataclass(frozen=True)
class Source:
    """One file of the official distribution: where it is, the name it is kept under, what it must be.

    md5 only where its owners or torchvision publish it; size in bytes. `archive` says that it is to be unpacked.
    """

    url: str
    name: str
    md5: str | None = None
    size: int | None = None
    archive: bool = True


Reader = Callable[[Path, "DataPolicy"], Reading]


@dataclass(frozen=True)
class DatasetSpec:
    """What is particular to one dataset.

    read: lists the dataset found in a folder (its argument), raising DataError that says what is missing.
    counts: images per split of the official distribution, val not yet cut out (or "all" of them, where the draw
    decides how many fall where; or none known); a difference is refused as an incomplete copy. hflip: whether a
    mirrored image is still an image of its class. sources: the official files, or none for a generated set; by_hand:
    how to get them when that fails. raw: the raw folder's name, shared by variants of one dataset. version: raised
    when `read` changes what it returns. split_digest: of the complete official set's split manifest (see
    `splits.manifest_digest`) for split_seed 42 and no val part, where the split is drawn here. fingerprint: for data
    that may change under its name, what it is now ("" when it is not on this machine).
    """

    id: str
    title: str
    domain: str
    classes: int
    counts: Mapping[str, int]
    licence: str
    citation: str
    homepage: str
    hflip: bool
    read: Reader = field(repr=False)
    sources: tuple[Source, ...] = ()
    by_hand: str = ""
    raw: str = ""
    version: int = 1
    note: str = ""
    split_digest: str = ""
    fingerprint: Callable[[], str] | None = field(default=None, repr=False)

    @property
    def generated(self) -> bool:
        """True when the images are made by this program or shipped with a dependency: nothing is fetched."""
        return not self.sources and not self.by_hand

    @property
    def raw_name(self) -> str:
        """Name of the folder, below the raw folder, that holds the official files."""
        return self.raw or self.id
