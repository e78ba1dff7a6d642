"""From a reading to the files of a packed dataset, inside a folder that nobody reads until it is complete."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilebench.datasets.acquire.listing import shown
from mobilebench.datasets.labels import label_array
from mobilebench.datasets.packing.decode import Chunk, Decoded, Histogram, Square, decode_chunk, probe_chunk, storage
from mobilebench.datasets.packing.packed import (
    IMAGES,
    INDEX,
    LABELS,
    META,
    IndexRow,
    Meta,
    content_digest,
    index_text,
    pixel_sha1,
)
from mobilebench.datasets.packing.pool import ParallelMap, processes
from mobilebench.datasets.spec import SPLITS, DataError, Entry, Pixels, Reading
from mobilebench.datasets.splits import manifest_digest
from mobilebench.system.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from mobilebench.config.recipe import DataPolicy, Fit
    from mobilebench.evaluation.target import Target

CHUNK = 64
FEW = 512  # starting processes takes longer than decoding this many


@dataclass(frozen=True)
class Label:
    """What goes into meta.json beside what packing finds out."""

    id: str
    hflip: bool
    policy: DataPolicy
    identity: str
    official: bool
    provenance: dict[str, Any]
    megapixels: int
    target: Target
    metric: str


@dataclass(frozen=True)
class _Stored:
    """What was written to images.npy: its shape, a sha1 per row, train's histogram and how images were resized."""

    shape: tuple[int, int, int, int]
    sha1s: Sequence[str]
    histogram: Histogram
    storage: dict[str, Any]


def pack(reading: Reading, label: Label, folder: Path, *, workers: int) -> Meta:
    """Write the four files of a packed dataset into `folder`, meta.json last.

    Raises DataError naming bad images, and for labels that are not of the target.
    """
    entries = reading.entries
    labels = label_array([entry.label for entry in entries], label.target, len(reading.classes))
    if reading.pixels is not None:
        stored = _store_arrays(reading.pixels, entries, folder)
    else:
        few = len(entries) <= FEW
        with processes(1 if few else workers) as parallel_map:
            stored = _store_files(reading, label, folder, parallel_map)
    index = index_text([IndexRow(*entry, sha1) for entry, sha1 in zip(entries, stored.sha1s, strict=True)]).encode()
    meta = _meta(reading, label, stored, content_digest(stored.shape, reading.classes, labels, index))
    np.save(folder / LABELS, labels)
    (folder / INDEX).write_bytes(index)
    (folder / META).write_text(meta.to_json(), encoding="utf-8")
    return meta


def _meta(reading: Reading, label: Label, stored: _Stored, digest: str) -> Meta:
    mean, std = moments(stored.histogram)
    splits = [entry.split for entry in reading.entries]
    return Meta(
        id=label.id,
        classes=reading.classes,
        counts={split: splits.count(split) for split in SPLITS},
        mean=mean,
        std=std,
        hflip=label.hflip,
        policy=label.policy,
        digest=digest,
        split_digest=manifest_digest(reading.entries),
        identity=label.identity,
        official=label.official,
        shape=stored.shape,
        storage=stored.storage,
        provenance=label.provenance,
        target=label.target,
        metric=label.metric,
    )


def moments(histogram: Histogram) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return mean and (population) standard deviation per channel, in [0, 1], of a colour histogram [3, 256].

    Sums are whole numbers, so the order in which images were counted cannot change the result.
    """
    counts = [[int(n) for n in channel] for channel in histogram]
    means, stds = [], []
    for channel in counts:
        n = sum(channel)
        total = sum(value * k for value, k in enumerate(channel))
        squares = sum(value * value * k for value, k in enumerate(channel))
        means.append(total / n / 255)
        stds.append(float(np.sqrt((n * squares - total * total) / (n * n))) / 255)
    return (means[0], means[1], means[2]), (stds[0], stds[1], stds[2])


def colours(images: Pixels, rows: npt.NDArray[np.int64]) -> Histogram:
    """Return how often each channel of some images [N, H, W, 3] has each value: int64 [3, 256]."""
    histogram = np.zeros((3, 256), np.int64)
    for start in range(0, len(rows), CHUNK):  # of a memory map, so that memory stays flat
        part = images[rows[start : start + CHUNK]]
        for channel in range(3):
            histogram[channel] += np.bincount(part[..., channel].ravel(), minlength=256)
    return histogram


def _store_arrays(pixels: Pixels, entries: Sequence[Entry], folder: Path) -> _Stored:
    np.save(folder / IMAGES, np.ascontiguousarray(pixels, dtype=np.uint8))
    train = np.array([row for row, entry in enumerate(entries) if entry.split == "train"], np.int64)
    histogram = colours(pixels, train)
    n, height, width, _ = pixels.shape
    how = {"how": "pixels as distributed, not resized", "native_side": min(height, width), "enlarged": 0}
    return _Stored((n, height, width, 3), [pixel_sha1(image) for image in pixels], histogram, how)


def _store_files(reading: Reading, label: Label, folder: Path, parallel_map: ParallelMap) -> _Stored:
    paths, entries, policy = reading.places(), reading.entries, label.policy
    native = _native_side(paths, policy.fit, label.megapixels, parallel_map)
    side = min(policy.short_side, native)
    shape = (len(entries), side, side, 3)
    square = Square(folder / IMAGES, _allocate(folder / IMAGES, shape), side, policy.fit, label.megapixels)
    done = _decode(square, paths, [entry.split == "train" for entry in entries], parallel_map)
    _raise_if_unreadable([failure for part in done for failure in part.failures], len(entries))
    how = {
        "how": storage(policy.fit),
        "side": side,
        "native_side": native,
        "enlarged": sum(part.enlarged for part in done),
    }
    sha1s = [sha1 for part in done for sha1 in part.sha1s]
    return _Stored(shape, sha1s, np.sum([part.histogram for part in done], axis=0), how)


def _native_side(paths: Sequence[str], fit: Fit, megapixels: int, parallel_map: ParallelMap) -> int:
    """Return the median of the images' native sides; one small image among thousands must not shrink them all.

    Unreadable images are left to the decoding, which names them all together.
    """
    sides: list[int] = []
    with progress("reading sizes", len(paths)) as advance:
        for block, found in parallel_map(partial(probe_chunk, fit, megapixels), _blocks(paths, 4 * CHUNK)):
            sides += found
            advance(block)
    return sorted(sides)[(len(sides) - 1) // 2] if sides else 1


def _decode(square: Square, paths: Sequence[str], counted: Sequence[bool], parallel_map: ParallelMap) -> list[Decoded]:
    """Return what came of every chunk, in row order."""
    done: list[Decoded] = []
    with progress("decoding", len(paths)) as advance:
        for part in parallel_map(partial(decode_chunk, square), _chunks(paths, counted)):
            done.append(part)
            advance(len(part.sha1s))
    return sorted(done, key=lambda part: part.start)


def _chunks(paths: Sequence[str], counted: Sequence[bool]) -> Iterator[Chunk]:
    for start in range(0, len(paths), CHUNK):
        yield Chunk(start, paths[start : start + CHUNK], counted[start : start + CHUNK])


def _blocks(paths: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (paths[start : start + size] for start in range(0, len(paths), size))


def _allocate(path: Path, shape: tuple[int, int, int, int]) -> int:
    """Create the array file at its full size and return where its pixels begin, in bytes."""
    need, free = int(np.prod(shape)), shutil.disk_usage(path.parent).free
    if need > free:
        raise DataError(
            f"{path.parent.parent} has {free / 1e9:.1f} GB free, the packed images need {need / 1e9:.1f} GB: free some"
            " space or set a smaller data.short_side."
        )
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.uint8, shape=shape)
    return int(array.offset)


def _raise_if_unreadable(failures: list[tuple[str, str]], total: int) -> None:
    if failures:
        lines = [f"  {shown(path)}: {reason}" for path, reason in sorted(failures)[:20]]
        more = [f"  ... and {len(failures) - 20} more"] if len(failures) > 20 else []
        raise DataError(
            "\n".join([f"{len(failures)} of {total} images cannot be read:", *lines, *more])
            + "\nNothing was packed, because leaving images out would change the dataset. Replace these files (fetch"
            " or unpack them again), or, in your own data, take them out."
        )
