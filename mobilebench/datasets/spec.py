"""What a dataset is: the fields a dataset module fills in. How they are used is not said here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy.typing as npt

from mobilebench.errors import UserError

if TYPE_CHECKING:
    from mobilebench.config.data import DerivedData, Domain
    from mobilebench.config.pixels import PixelType
    from mobilebench.config.recipe import DataPolicy
    from mobilebench.evaluation.target import Target

Pixels = npt.NDArray[Any]
"""One image [H, W, C] or several [N, H, W, C], of one of the kinds of number in `config.pixels.PixelType`."""

ClassLabel = int | tuple[int, ...]
"""What is true of one image: the number of its class, from 0, or, of a multi_label dataset, the numbers of all its
classes, ascending, none of them twice; () for an image of no class."""

SPLITS = ("train", "val", "test")


class DataError(UserError):
    """Something is wrong with a dataset: its source, its archive, its images, its packed form or its name."""


class Entry(NamedTuple):
    """One image of a dataset."""

    path: str
    """Its file below the dataset's root, or only a name where the files are given otherwise."""

    label: ClassLabel
    """Number of its class, or of its classes."""

    split: str
    """One of SPLITS."""

    group: str = ""
    """What it shares with others that show the same thing (one lesion, one patient); "" for none.

    A group should not be shared out between splits.
    """


@dataclass(frozen=True)
class Reading:
    """What a dataset module found. The images come from exactly one of `root`, `pixels` and `files`."""

    classes: tuple[str, ...]
    """Class names in the order of their labels."""

    entries: Sequence[Entry]
    """One entry per image, in a fixed order."""

    root: Path | None = None
    """The folder that the entries' paths start from."""

    pixels: Pixels | None = None
    """The images of a set that comes as an array: [N, H, W, C] of the spec's channels and kind of number, row i is
    entry i."""

    files: Sequence[Path] | None = None
    """The images' files, one per entry, where an entry's path is only a name."""

    def places(self) -> list[str]:
        """Return where each entry's file is."""
        if self.files is not None:
            return [str(path) for path in self.files]
        root = str(self.root)
        return [f"{root}/{entry.path}" for entry in self.entries]


class PixelReader(Protocol):
    """How the images of a dataset are read that are not 8-bit RGB; an instance is sent to the decoding processes."""

    def size(self, path: Path) -> tuple[int, int]:
        """Return height and width of an image, without its pixels where the format allows that."""
        ...

    def read(self, path: Path) -> Pixels:
        """Return the pixels of an image, [H, W, C]."""
        ...


@dataclass(frozen=True)
class Source:
    """One file of the official distribution."""

    url: str
    """Where it is."""

    name: str
    """The name it is kept under."""

    md5: str | None = None
    """Its checksum (hex), where its owners or torchvision publish one."""

    sha256: str | None = None
    """The same where a SHA-256 is published; `sources.lock` holds the files of a source without one."""

    size: int | None = None
    """Its size in bytes, where that is published."""

    archive: bool = True
    """Whether it is to be unpacked."""

    unverified: bool = False
    """Whether what is said of it here, its address or checksum, was neither read from its owners' own publication nor
    from a library that downloads it (torchvision, TensorFlow Datasets), nor compared with the file itself."""


def same_source(then: str, now: str) -> bool:
    """Return whether data packed from the source `then` are those of the source `now`, as far as is known here.

    Both are fingerprints of a `DatasetSpec`.
    """
    if not now or then == now:
        return True
    settings, dash, content = now.rpartition("-")
    return bool(dash) and not content and then.rpartition("-")[0] == settings


@dataclass(frozen=True)
class Derivation:
    """Which of another dataset's images a derived one has."""

    parent: DatasetSpec
    """The dataset whose images these are."""

    settings: DerivedData
    """How many of its train images, and the seed that they are drawn with."""


Reader = Callable[[Path, "DataPolicy"], Reading]


@dataclass(frozen=True)
class DatasetSpec:
    """What is particular to one dataset."""

    id: str
    """Its name in params.yaml: lower-case letters, digits and _."""

    title: str
    """Its name for a person: what it is, and which variant."""

    domain: Domain | Literal[""]
    """The domain that its images belong to; "" for own data that names none."""

    classes: int
    """How many classes it has; 0 where only its images show that."""

    counts: Mapping[str, int]
    """Images per split of the official distribution, val not yet cut out. Another number is refused as incomplete.

    {"all": n} where the draw decides how many fall into which split; empty where nothing is known.
    """

    licence: str
    """Under which terms its owners give it out."""

    citation: str
    """Which publication to cite."""

    homepage: str
    """Where its owners describe it."""

    hflip: bool
    """Whether a mirrored image is still an image of its class."""

    read: Reader = field(repr=False)
    """Lists the dataset found in the folder that is its argument. Raises DataError naming what is missing."""

    sources: tuple[Source, ...] = ()
    """The official files; none for a generated set, nor for one that is got by hand only."""

    by_hand: str = ""
    """How a person gets them where fetching fails, or where there is nothing to fetch."""

    raw: str = ""
    """Name of the raw folder, where variants of one dataset share it; "" for the id."""

    version: int = 1
    """Raised when `read` changes what it returns."""

    note: str = ""
    """What a person should know before using it."""

    split_digest: str = ""
    """Digest of the complete official set's split manifest, where the split is drawn here.

    It is `splits.manifest_digest` for split_seed 42 and no val part.
    """

    fingerprint: Callable[[], str] | None = field(default=None, repr=False)
    """For data that may change under its name: what it is now. It ends with "-" where only the settings before the
    dash are known, and is "" where nothing is: the images are not on this machine. See `same_source`."""

    needs: str = ""
    """The package of an extra that `read` imports; "" for none. Where it is not there, nothing is fetched."""

    megapixels: int = 90
    """Images of more million pixels are refused."""

    target: Target = "single_label"
    """What is predicted of an image. It says which labels its entries have (`labels.label_array`)."""

    metric: str = ""
    """Id of the metric it is read by where nothing else is asked for; "" for the target's default,
    `evaluation.target.DEFAULT_METRIC`."""

    images_from: str = ""
    """The collection that its images come from, where that is one of those that networks are pretrained on: "ImageNet".
    Weights that were pretrained on it know some of these images; see `models.weights.pretraining.overlap`."""

    channels: int = 3
    """Channels of its images; of 3 channels of bytes they are red, green and blue."""

    dtype: PixelType = "uint8"
    """The kind of number that its pixels are stored as."""

    reader: PixelReader | None = field(default=None, repr=False)
    """How its files are read; None for any image file, as 8-bit RGB."""

    rgb: tuple[int, int, int] | None = None
    """Which channels people are shown as red, green and blue, where it has others; None for the first ones."""

    derived: Derivation | None = None
    """Of a dataset that has no images of its own: whose images it has; None for all others. Its `read` is not used."""

    @property
    def generated(self) -> bool:
        """True when the images are made by this program or shipped with a dependency: nothing is fetched."""
        return not self.sources and not self.by_hand

    @property
    def by_hand_only(self) -> bool:
        """True when there is no address to fetch the official files from: a person gets them."""
        return not self.sources and bool(self.by_hand)

    @property
    def raw_name(self) -> str:
        """Name of the folder, below the raw folder, that holds the official files."""
        return self.raw or self.id
