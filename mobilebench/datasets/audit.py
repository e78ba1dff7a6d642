"""What is wrong with packed datasets: images that occur twice, leak between splits, or carry two labels.

Works on the packed arrays alone, so it needs no raw files and looks at exactly what training sees.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import asdict, dataclass, fields
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from mobilebench.datasets.labels import class_numbers, label_names, row_labels
from mobilebench.datasets.packing.pictures import pictures
from mobilebench.datasets.phash import hashes, near_pairs
from mobilebench.datasets.spec import DataError
from mobilebench.evaluation.target import ONE_CLASS
from mobilebench.system.files import write_csv as write_frame

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from mobilebench.datasets.packing.packed import Packed

NO_CLASS = "no class"
"""What people are shown as the label of an image that has none."""

_RANK = {"train": 0, "val": 1, "test": 2}


class Image(NamedTuple):
    """One image of one of the audited datasets, by number."""

    dataset: int
    row: int


@dataclass(frozen=True)
class Pair:
    """Two images that are the same or nearly so. The first is in the earlier split of train, val, test.

    label_a, label_b: the name of the image's class; of several, all their names as `a|b`, "" for none.
    """

    kind: str
    """`exact`: every pixel is the same; `near`: their perceptual hashes are alike."""

    bits: int
    """How many of their hashes' 256 bits differ; 0 for an exact pair."""

    dataset_a: str
    split_a: str
    path_a: str
    label_a: str
    row_a: int
    dataset_b: str
    split_b: str
    path_b: str
    label_b: str
    row_b: int

    @property
    def leak(self) -> bool:
        """Whether the two are in different splits of a dataset: a network would be tested on what it has learned."""
        return self.dataset_a == self.dataset_b and self.split_a != self.split_b

    @property
    def conflict(self) -> bool:
        """Whether the two carry different labels of one dataset."""
        return self.dataset_a == self.dataset_b and self.label_a != self.label_b


@dataclass(frozen=True)
class DatasetFinding:
    """One line of the audit: in `dataset` (or between two, "a + b"), `check` found `value`, as a share of `of`."""

    dataset: str
    check: str
    where: str
    value: float
    of: int
    example: str = ""


@dataclass(frozen=True)
class Audit:
    """Everything found: lines for the table, and every offending pair."""

    findings: tuple[DatasetFinding, ...]
    pairs: tuple[Pair, ...]


def audit(datasets: Sequence[Packed]) -> Audit:
    """Return what is wrong within each dataset and between them. Reads every pixel twice. Raises DataError for none."""
    if not datasets:
        raise DataError("there is no packed dataset to audit: prepare one first.")
    pairs = [*_exact(datasets), *_near(datasets)]
    findings = [finding for data in datasets for finding in _within(data, pairs)]
    findings += [
        finding for a, b in combinations(datasets, 2) if _source(a) != _source(b) for finding in _between(a, b, pairs)
    ]
    return Audit(tuple(findings), tuple(pairs))


def _exact(datasets: Sequence[Packed]) -> Iterator[Pair]:
    places: defaultdict[tuple[str, str, tuple[int, ...]], list[Image]] = defaultdict(list)
    for number, data in enumerate(datasets):
        for row, line in enumerate(data.index):
            places[line.sha1, data.meta.dtype, data.meta.shape[1:]].append(Image(number, row))
    for twins in places.values():
        for a, b in _ties(datasets, twins):
            yield _pair(datasets, "exact", 0, a, b)


def _ties(datasets: Sequence[Packed], twins: list[Image]) -> Iterator[tuple[Image, Image]]:
    """Tie each of several equal images to the first one of its dataset, and the datasets' first ones to each other.

    So n equal images (blank ones, say) give n - 1 pairs within a dataset, not n squared.
    """
    ordered = sorted(twins, key=lambda image: (_rank(datasets, image), image))
    first: dict[int, Image] = {}
    for image in ordered:
        if first.setdefault(image.dataset, image) is not image:
            yield first[image.dataset], image
    yield from ((a, b) for a, b in combinations(first.values(), 2) if _comparable(datasets, a, b))


def _near(datasets: Sequence[Packed]) -> Iterator[Pair]:
    images = [Image(number, row) for number, data in enumerate(datasets) for row in range(len(data.labels))]
    codes = np.concatenate([hashes(data.images, partial(pictures, meta=data.meta)) for data in datasets])
    for i, j, bits in near_pairs(codes).tolist():
        a, b = sorted((images[i], images[j]), key=lambda image: (_rank(datasets, image), image))
        if _comparable(datasets, a, b) and not _same(datasets, a, b):
            yield _pair(datasets, "near", bits, a, b)


def _comparable(datasets: Sequence[Packed], a: Image, b: Image) -> bool:
    """Return whether a pair is worth naming: two variants of one source share every image by design."""
    return a.dataset == b.dataset or _source(datasets[a.dataset]) != _source(datasets[b.dataset])


def _source(data: Packed) -> object:
    return data.meta.provenance.get("raw", data.meta.id)


def _same(datasets: Sequence[Packed], a: Image, b: Image) -> bool:
    one, two = datasets[a.dataset], datasets[b.dataset]
    return one.meta.shape[1:] == two.meta.shape[1:] and one.index[a.row].sha1 == two.index[b.row].sha1


def _rank(datasets: Sequence[Packed], image: Image) -> int:
    return _RANK[datasets[image.dataset].index[image.row].split]


def _pair(datasets: Sequence[Packed], kind: str, bits: int, a: Image, b: Image) -> Pair:
    return Pair(kind, bits, *_place(datasets, a), *_place(datasets, b))


def _place(datasets: Sequence[Packed], image: Image) -> tuple[str, str, str, str, int]:
    data = datasets[image.dataset]
    line = data.index[image.row]
    return data.meta.id, line.split, line.path, label_names(data.meta.classes, line.label), image.row


def _within(data: Packed, pairs: Sequence[Pair]) -> Iterator[DatasetFinding]:
    mine = [pair for pair in pairs if pair.dataset_a == pair.dataset_b == data.meta.id]
    counts = data.meta.counts
    for kind in ("exact", "near"):
        some = [pair for pair in mine if pair.kind == kind]
        for where, split in sorted({(_where(pair), pair.split_b) for pair in some}):
            found = [pair for pair in some if _where(pair) == where]
            yield DatasetFinding(
                data.meta.id, f"{kind}_duplicates", where, _images(found), counts[split], _example(found[0])
            )
        if not some:
            yield DatasetFinding(data.meta.id, f"{kind}_duplicates", "all", 0, len(data.labels))
        conflicts = [pair for pair in some if pair.conflict]
        example = _example(conflicts[0]) if conflicts else ""
        yield DatasetFinding(data.meta.id, f"label_conflicts_{kind}", "all", len(conflicts), len(some), example)
    yield from _groups(data)
    yield from _balance(data)
    if data.meta.parent is None:  # how many of some of its images were enlarged is not kept
        enlarged = int(data.meta.storage.get("enlarged", 0))
        yield DatasetFinding(data.meta.id, "smaller_than_stored", "all", enlarged, len(data.labels))
    yield _damaged(data)


def _where(pair: Pair) -> str:
    return pair.split_a if pair.split_a == pair.split_b else f"{pair.split_a} / {pair.split_b}"


def _images(pairs: Sequence[Pair]) -> int:
    """Return how many images of the later split have a twin: what could be answered from memory."""
    return len({pair.row_b for pair in pairs})


def _example(pair: Pair) -> str:
    return f"{pair.path_a} ({pair.label_a or NO_CLASS}) = {pair.path_b} ({pair.label_b or NO_CLASS})"


def _groups(data: Packed) -> Iterator[DatasetFinding]:
    splits: defaultdict[str, set[str]] = defaultdict(set)
    for line in data.index:
        if line.group:
            splits[line.group].add(line.split)
    if not splits:
        return
    crossing = sorted(group for group, where in splits.items() if len(where) > 1)
    yield DatasetFinding(data.meta.id, "groups_crossing", "all", len(crossing), len(splits), ", ".join(crossing[:1]))
    test = [line for line in data.index if line.split == "test"]
    shared = sum("train" in splits[line.group] for line in test if line.group)
    yield DatasetFinding(data.meta.id, "images_of_train_groups", "test", shared, len(test))


def _balance(data: Packed) -> Iterator[DatasetFinding]:
    classes = data.meta.classes
    for split in ("train", "test"):
        labels = [class_numbers(label) for label in row_labels(data.labels[data.rows(split)])]
        counts = Counter(number for numbers in labels for number in numbers)
        if counts:
            (most, n), (least, few) = counts.most_common()[0], counts.most_common()[-1]
            names = f"{classes[most]} {n}, {classes[least]} {few}"
            yield DatasetFinding(data.meta.id, "largest_class", split, n, len(labels), names)
        absent = [name for number, name in enumerate(classes) if not counts[number]]
        yield DatasetFinding(data.meta.id, "classes_absent", split, len(absent), len(classes), ", ".join(absent[:5]))
        if data.meta.target not in ONE_CLASS:
            without = sum(not numbers for numbers in labels)
            yield DatasetFinding(data.meta.id, "images_of_no_class", split, without, len(labels))


def _damaged(data: Packed) -> DatasetFinding:
    try:
        data.verify()
    except DataError as error:
        return DatasetFinding(data.meta.id, "pixels_changed", "all", 1, 1, str(error))
    return DatasetFinding(data.meta.id, "pixels_changed", "all", 0, len(data.labels))


def _between(a: Packed, b: Packed, pairs: Sequence[Pair]) -> Iterator[DatasetFinding]:
    names = {a.meta.id, b.meta.id}
    for kind in ("exact", "near"):
        found = [pair for pair in pairs if pair.kind == kind and {pair.dataset_a, pair.dataset_b} == names]
        example = _example(found[0]) if found else ""
        smaller = min(len(a.labels), len(b.labels))
        yield DatasetFinding(f"{a.meta.id} + {b.meta.id}", f"{kind}_duplicates", "all", len(found), smaller, example)


def write_csv(path: Path, kind: type[DatasetFinding | Pair], rows: Sequence[DatasetFinding] | Sequence[Pair]) -> None:
    """Write findings or pairs, one a line. Raises DataError."""
    import pandas as pd

    try:
        write_frame(path, pd.DataFrame(map(asdict, rows), columns=[field.name for field in fields(kind)]))
    except OSError as error:
        raise DataError(f"{path} cannot be written ({error}).") from error
