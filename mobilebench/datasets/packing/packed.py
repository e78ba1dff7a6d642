"""The packed dataset: one folder of arrays that training maps into memory, and the only way to write one.

`images.npy` [N, H, W, C], as a rule uint8 and 3 channels, `labels.npy` int64 [N] (of a multi_label dataset uint8 [N,
C], 0 and 1), `index.csv` (path, label, split, group, sha1 of the stored pixels; one line per row) and `meta.json`. The
digest covers labels, index and shape, and through the index's sha1 column every pixel: opening checks all but the
pixels, `verify()` checks those too.

A derived dataset has, in place of images.npy, `rows.npy`: int64 [N], which rows of its parent's images.npy, ascending,
its own rows are. The parent's folder is beside its own. All else is as if its images had been packed by themselves, the
digest too.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from mobilebench.config.parsing import parse
from mobilebench.config.recipe import DataPolicy
from mobilebench.datasets.labels import Labels, label_text, read_label
from mobilebench.datasets.spec import SPLITS, ClassLabel, DataError, Pixels
from mobilebench.evaluation.target import ONE_CLASS, TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mobilebench.config.pixels import PixelType
    from mobilebench.evaluation.target import Target

FORMAT = 1
IMAGES, LABELS, INDEX, META = "images.npy", "labels.npy", "index.csv", "meta.json"
ROWS = "rows.npy"

Int64s = npt.NDArray[np.int64]
Mapped = np.memmap[Any, np.dtype[Any]]


class ParentError(DataError):
    """A derived dataset cannot be read, for its parent is not here or was packed anew since."""


class IndexRow(NamedTuple):
    """One line of index.csv; its number is the row in the arrays."""

    path: str
    label: ClassLabel
    split: str
    group: str
    sha1: str


@dataclass(frozen=True)
class Parent:
    """Whose images a derived dataset has."""

    id: str
    """Id of the parent, which is the name of its folder."""

    digest: str
    """The parent's digest when the rows were drawn: they are rows of that state of it."""

    train: int
    """Images in the parent's train split."""


@dataclass(frozen=True)
class Meta:
    """The content of meta.json."""

    id: str
    """The dataset's id."""

    classes: tuple[str, ...]
    """Class names in the order of their labels."""

    counts: Mapping[str, int]
    """Images per split."""

    mean: tuple[float, ...]
    """Mean per channel over the train split, of whole numbers in [0, 1] (`config.pixels.UNITS`)."""

    std: tuple[float, ...]
    """Standard deviation per channel over the train split, likewise."""

    hflip: bool
    """Whether a mirrored image is still an image of its class."""

    policy: DataPolicy
    """How it was split and stored."""

    digest: str
    """Hex identity of the content: shape, classes, labels, splits and pixels."""

    split_digest: str
    """Hex identity of which image is in which split."""

    identity: str
    """Hex digest of what it was made from (dataset, policy, code version); equal means that it need not be packed."""

    official: bool
    """Whether the counts are those of the official distribution."""

    shape: tuple[int, int, int, int]
    """Shape of the images: [N, H, W, C]."""

    storage: Mapping[str, Any]
    """How the images were resized, in words, and how many were enlarged."""

    provenance: Mapping[str, Any]
    """Licence, citation, where it came from."""

    format: int = FORMAT
    """Version of the packed form."""

    target: Target = "single_label"
    """What is predicted of an image; it says what form the labels have."""

    metric: str = ""
    """Id of the metric it is read by where nothing else is asked for; "" for the target's default."""

    parent: Parent | None = None
    """Of a derived dataset: whose images it has."""

    dtype: PixelType = "uint8"
    """The kind of number of the stored pixels."""

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.shape[3]

    @property
    def data_digest(self) -> str:
        """Hex identity of all that a training gets of this data: content, statistics, `hflip`, and what is predicted.

        The metric is only how a result is read, and no part of it.
        """
        given = [self.digest, list(self.mean), list(self.std), self.hflip]
        if self.target != "single_label":  # the identity of what was packed before there were others stays as it was
            given.append(self.target)
        return hashlib.sha256(json.dumps(given).encode()).hexdigest()

    def to_json(self) -> str:
        """Return the text of meta.json. What was added to it later is left out where it says nothing new.

        So a dataset packed again has the files that it had, and a copy of them pulled from elsewhere stays valid.
        """
        content = asdict(self)
        for key in ("target", "metric", "parent", "dtype"):
            if content[key] == getattr(Meta, key):
                del content[key]
        if self.policy.aspect == DataPolicy.aspect:
            del content["policy"]["aspect"]
        return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def read_meta(folder: Path) -> Meta:
    """Return meta.json of a packed folder. Raises DataError when it is absent, damaged or of another format."""
    path = folder / META
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        if raw["format"] != FORMAT:
            raise DataError(f"{path} has format {raw['format']!r}, this version reads {FORMAT}: prepare it again.")
        raw["policy"] = parse(DataPolicy, raw["policy"])
        for key in ("classes", "mean", "std", "shape"):
            raw[key] = tuple(raw[key])
        if "parent" in raw:
            raw["parent"] = Parent(**raw["parent"])
        meta = Meta(**raw)
    except FileNotFoundError:
        raise DataError(
            f"{folder} holds no packed dataset ({META} is missing): run `mobilebench data prepare {folder.name}`,"
            " or `dvc pull`."
        ) from None
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DataError(f"{path} is damaged ({error}): delete the folder and prepare it again.") from error
    if meta.target not in TARGETS:
        raise DataError(
            f"{path} has target {meta.target!r}, known are {', '.join(TARGETS)}: delete the folder and prepare it"
            " again."
        )
    return meta


def index_text(rows: list[IndexRow]) -> str:
    """Return the text of index.csv."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(IndexRow._fields)
    writer.writerows((path, label_text(label), split, group, sha1) for path, label, split, group, sha1 in rows)
    return buffer.getvalue()


def content_digest(
    shape: tuple[int, ...], classes: tuple[str, ...], labels: Labels, index: bytes, dtype: str = "uint8"
) -> str:
    """Return the sha256 (hex) that names a packed dataset's content: shape, classes, labels, index with pixel sha1s.

    Labels of every form are taken as int64, in row order.
    """
    kind = [] if dtype == "uint8" else [dtype]  # what was packed before there were others keeps its digest
    header = json.dumps([FORMAT, list(shape), list(classes), *kind], ensure_ascii=False)
    content = hashlib.sha256(header.encode())
    content.update(np.ascontiguousarray(labels, dtype="<i8").tobytes())
    content.update(index)
    return content.hexdigest()


class Selected:
    """Some rows of an array of images on disk: [N, H, W, C]. What is indexed is read, nothing else."""

    def __init__(self, array: Mapped, rows: Int64s) -> None:
        self.array = array
        self.rows = rows

    @property
    def dtype(self) -> np.dtype[Any]:
        """The kind of number of the pixels."""
        return self.array.dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """[N, H, W, C]."""
        return (len(self.rows), *self.array.shape[1:])

    @property
    def nbytes(self) -> int:
        """Bytes of these images."""
        return int(np.prod(self.shape)) * self.dtype.itemsize

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Pixels]:
        return (self.array[row] for row in self.rows)

    def __getitem__(self, key: int | slice | Int64s | list[int]) -> Pixels:
        return self.array[self.rows[key]]

    def __array__(self, dtype: npt.DTypeLike | None = None, *, copy: bool | None = None) -> Pixels:
        if copy is False:
            raise ValueError("the images of a derived dataset are rows of its parent's: an array of them is a copy")
        return np.asarray(self[:], dtype)


class Packed:
    """A packed dataset, opened. Arrays stay on disk until they are touched."""

    def __init__(self, path: Path, meta: Meta, images: Mapped | Selected, labels: Labels) -> None:
        self.path = path
        self.meta = meta
        self.images = images
        self.labels = labels

    @cached_property
    def index(self) -> list[IndexRow]:
        """The lines of index.csv, in row order."""
        with (self.path / INDEX).open(encoding="utf-8", newline="") as file:
            lines = csv.reader(file)
            next(lines)
            target = self.meta.target
            return [
                IndexRow(path, read_label(label, target), split, group, sha1)
                for path, label, split, group, sha1 in lines
            ]

    @cached_property
    def _splits(self) -> npt.NDArray[np.str_]:
        return np.array([row.split for row in self.index])

    def rows(self, split: str) -> Int64s:
        """Return the row numbers (int64, ascending) of "train", "val" or "test"; empty when the split has none."""
        if split not in SPLITS:
            raise ValueError(f"split is {split!r}; allowed: {', '.join(SPLITS)}")
        return np.flatnonzero(self._splits == split).astype(np.int64)

    def arrays(self, rows: Int64s) -> tuple[Mapped, Labels, Int64s]:
        """Return rows of this dataset as a trainer takes them, without a copy of an image.

        They are an array of images on disk, the label of each image in it, and which of its images are meant, in the
        order of `rows`. Of a derived dataset the array is its parent's, and labels are 0 where an image is not its own.
        """
        if not isinstance(self.images, Selected):
            return self.images, self.labels, rows
        array, own = self.images.array, self.images.rows
        labels = np.zeros((len(array), *self.labels.shape[1:]), self.labels.dtype)
        labels[own] = self.labels
        return array, labels, own[rows]

    def verify(self) -> None:
        """Read every pixel and compare with the index. Raises DataError naming the rows that changed."""
        starts = range(0, len(self.images), 256)
        with ThreadPoolExecutor() as pool:  # hashing releases the interpreter's lock
            bad = [row for rows in pool.map(self._changed, starts) for row in rows]
        if bad:
            shown = ", ".join(f"{row} ({self.index[row].path})" for row in bad[:5])
            place = self.path if self.meta.parent is None else self.path.with_name(self.meta.parent.id)
            raise DataError(
                f"{place / IMAGES} is damaged: {len(bad)} of {len(self.images)} images do not match their sha1,"
                f" rows {shown}{', ...' if len(bad) > 5 else ''}. Delete {place} and prepare or pull it again."
            )

    def _changed(self, start: int) -> list[int]:
        block = np.ascontiguousarray(self.images[start : start + 256])
        return [start + i for i, image in enumerate(block) if pixel_sha1(image) != self.index[start + i].sha1]


def pixel_sha1(image: Pixels) -> str:
    """Return the sha1 (hex) of one image's stored pixels. It names content; nothing secret rests on it."""
    return hashlib.sha1(image.tobytes(), usedforsecurity=False).hexdigest()


def open_packed(path: Path | str) -> Packed:
    """Open a packed dataset. Checks sizes, headers, labels and index (milliseconds), not the pixels (`verify`).

    Raises DataError when the folder is absent, incomplete or damaged.
    """
    folder = Path(path)
    meta = read_meta(folder)
    parent = None if meta.parent is None else _open_parent(folder, meta.parent)
    try:
        labels = np.load(folder / LABELS, allow_pickle=False)
        index = (folder / INDEX).read_bytes()
        if parent is None:
            images: Mapped | Selected = np.load(folder / IMAGES, mmap_mode="r", allow_pickle=False)
        else:
            images = _selected(parent, np.load(folder / ROWS, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{folder} is damaged ({error}): delete it and prepare or pull it again.") from error
    for problem in _problems(meta, images, labels, index):
        raise DataError(f"{folder} is damaged: {problem}. Delete it and prepare or pull it again.")
    return Packed(folder, meta, images, labels)


def _open_parent(folder: Path, parent: Parent) -> Mapped:
    """Return the images of a derived dataset's parent. Raises ParentError where they are not those of its rows."""
    place = folder.with_name(parent.id)
    advice = f"run `mobilebench data prepare {folder.name}`, which packs both"
    if not (place / META).exists():
        raise ParentError(
            f"{folder} has no pixels of its own, it is rows of {place}, which is not here: {advice}, or, where"
            f" {parent.id} is in the suite too, `dvc pull prepare@{parent.id}`."
        )
    whole = open_packed(place)
    if whole.meta.digest != parent.digest:
        raise ParentError(
            f"{folder} is rows of {place} as it was with digest {parent.digest[:12]}, here it has"
            f" {whole.meta.digest[:12]}: {advice} as params.yaml says now."
        )
    if isinstance(whole.images, Selected):
        raise ParentError(f"{folder} is rows of {place}, which is itself derived: {advice}.")
    return whole.images


def _selected(parent: Mapped, rows: npt.NDArray[Any]) -> Selected:
    """Return rows of a parent's images. Raises ValueError for what cannot be those of a derived dataset."""
    sound = rows.dtype == np.int64 and rows.ndim == 1 and len(rows) > 0
    if not sound or rows[0] < 0 or rows[-1] >= len(parent) or not (np.diff(rows) > 0).all():
        raise ValueError(f"{ROWS} holds {rows.dtype} {rows.shape}, expected int64, ascending, below {len(parent)}")
    return Selected(parent, rows)


def _problems(meta: Meta, images: Mapped | Selected, labels: npt.NDArray[Any], index: bytes) -> Iterator[str]:
    if not isinstance(images, np.memmap | Selected) or images.dtype != meta.dtype or images.shape != meta.shape:
        yield f"{IMAGES} holds {images.dtype} {images.shape}, {META} says {meta.dtype} {meta.shape}"
        return
    one = meta.target in ONE_CLASS
    dtype, shape = (np.int64, meta.shape[:1]) if one else (np.uint8, (meta.shape[0], len(meta.classes)))
    if labels.dtype != dtype or labels.shape != shape:
        yield (
            f"{LABELS} holds {labels.dtype} {labels.shape}, expected {np.dtype(dtype)} {shape} for target"
            f" {meta.target} and {len(meta.classes)} classes"
        )
    elif content_digest(meta.shape, meta.classes, labels, index, meta.dtype) != meta.digest:
        yield f"{LABELS} or {INDEX} do not match the digest {meta.digest[:12]} in {META}"
