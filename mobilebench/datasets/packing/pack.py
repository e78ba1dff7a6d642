"""From a reading to the files of a packed dataset, inside a folder that nobody reads until it is complete."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilebench.datasets.acquire.listing import shown
from mobilebench.datasets.labels import label_array
from mobilebench.datasets.packing.decode import (
    Chunk,
    Decoded,
    Form,
    Rows,
    decode_chunk,
    probe_chunk,
    storage,
    storage_of_arrays,
)
from mobilebench.datasets.packing.geometry import native_side
from mobilebench.datasets.packing.moments import Sums, moments, of_rows, together
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
from mobilebench.datasets.spec import SPLITS, DataError, Entry, PixelReader, Pixels, Reading
from mobilebench.datasets.splits import manifest_digest
from mobilebench.system.progress import progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from mobilebench.config.pixels import PixelType
    from mobilebench.config.recipe import DataPolicy
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
    channels: int
    dtype: PixelType
    reader: PixelReader | None
    rgb: tuple[int, int, int] | None


@dataclass(frozen=True)
class _Stored:
    """What was written to images.npy: its shape, a sha1 per row, the sums of train and how images were resized."""

    shape: tuple[int, int, int, int]
    sha1s: Sequence[str]
    sums: Sums
    storage: dict[str, Any]


def pack(reading: Reading, label: Label, folder: Path, *, workers: int) -> Meta:
    """Write the four files of a packed dataset into `folder`, meta.json last.

    Raises DataError naming bad images, and for labels that are not of the target.
    """
    entries = reading.entries
    labels = label_array([entry.label for entry in entries], label.target, len(reading.classes))
    if reading.pixels is not None:
        stored = _store_arrays(reading.pixels, label, entries, folder)
    else:
        few = len(entries) <= FEW
        with processes(1 if few else workers) as parallel_map:
            stored = _store_files(reading, label, folder, parallel_map)
    index = index_text([IndexRow(*entry, sha1) for entry, sha1 in zip(entries, stored.sha1s, strict=True)]).encode()
    meta = _meta(reading, label, stored, content_digest(stored.shape, reading.classes, labels, index, label.dtype))
    np.save(folder / LABELS, labels)
    (folder / INDEX).write_bytes(index)
    (folder / META).write_text(meta.to_json(), encoding="utf-8")
    return meta


def _meta(reading: Reading, label: Label, stored: _Stored, digest: str) -> Meta:
    mean, std = moments(stored.sums, label.dtype)
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
        storage=stored.storage | ({"rgb": list(label.rgb)} if label.rgb else {}),
        provenance=label.provenance,
        target=label.target,
        metric=label.metric,
        dtype=label.dtype,
    )


def _store_arrays(pixels: Pixels, label: Label, entries: Sequence[Entry], folder: Path) -> _Stored:
    shape = pixels.shape
    if len(shape) != 4 or shape[3] != label.channels or pixels.dtype != label.dtype:
        raise DataError(
            f"{label.id}: its array is {pixels.dtype} {list(shape)}; expected {label.dtype} [N, H, W,"
            f" {label.channels}]."
        )
    np.save(folder / IMAGES, np.ascontiguousarray(pixels))
    train = np.array([row for row, entry in enumerate(entries) if entry.split == "train"], np.int64)
    how = {"how": "pixels as distributed, not resized", "native_side": min(shape[1:3]), "enlarged": 0}
    return _Stored(shape, [pixel_sha1(image) for image in pixels], of_rows(pixels, train), how)


def _store_files(reading: Reading, label: Label, folder: Path, parallel_map: ParallelMap) -> _Stored:
    paths, entries, policy = reading.places(), reading.entries, label.policy
    native = _native_side(paths, label, parallel_map)
    size = policy.stored(min(policy.short_side, native))
    form = Form(size, policy.fit, label.megapixels, label.channels, label.dtype, label.reader)
    shape = (len(entries), *size, label.channels)
    rows = Rows(folder / IMAGES, _allocate(folder / IMAGES, shape, label.dtype), form)
    done = _decode(rows, paths, [entry.split == "train" for entry in entries], parallel_map)
    _raise_if_unreadable([failure for part in done for failure in part.failures], len(entries))
    how = {
        "how": (storage if label.reader is None else storage_of_arrays)(policy.fit, policy.aspect),
        "side": min(size),
        "native_side": native,
        "enlarged": sum(part.enlarged for part in done),
    }
    sha1s = [sha1 for part in done for sha1 in part.sha1s]
    return _Stored(shape, sha1s, together(part.sums for part in done if part.sums), how)


def _native_side(paths: Sequence[str], label: Label, parallel_map: ParallelMap) -> int:
    """Return the median of the images' native sides; one small image among thousands must not shrink them all.

    Unreadable images are left to the decoding, which names them all together.
    """
    sides: list[int] = []
    fit, aspect = label.policy.fit, label.policy.aspect
    probe = partial(probe_chunk, label.reader, label.megapixels, aspect[0] != aspect[1])
    with progress("reading sizes", len(paths)) as advance:
        for sizes in parallel_map(probe, _blocks(paths, 4 * CHUNK)):
            sides += [native_side(size, fit, aspect) for size in sizes if size]
            advance(len(sizes))
    return max(1, sorted(sides)[(len(sides) - 1) // 2]) if sides else 1


def _decode(rows: Rows, paths: Sequence[str], counted: Sequence[bool], parallel_map: ParallelMap) -> list[Decoded]:
    """Return what came of every chunk, in row order."""
    done: list[Decoded] = []
    with progress("decoding", len(paths)) as advance:
        for part in parallel_map(partial(decode_chunk, rows), _chunks(paths, counted)):
            done.append(part)
            advance(len(part.sha1s))
    return sorted(done, key=lambda part: part.start)


def _chunks(paths: Sequence[str], counted: Sequence[bool]) -> Iterator[Chunk]:
    for start in range(0, len(paths), CHUNK):
        yield Chunk(start, paths[start : start + CHUNK], counted[start : start + CHUNK])


def _blocks(paths: Sequence[str], size: int) -> Iterable[Sequence[str]]:
    return (paths[start : start + size] for start in range(0, len(paths), size))


def _allocate(path: Path, shape: tuple[int, int, int, int], dtype: PixelType) -> int:
    """Create the array file at its full size and return where its pixels begin, in bytes."""
    need, free = int(np.prod(shape)) * np.dtype(dtype).itemsize, shutil.disk_usage(path.parent).free
    if need > free:
        raise DataError(
            f"{path.parent.parent} has {free / 1e9:.1f} GB free, the packed images need {need / 1e9:.1f} GB: free some"
            " space or set a smaller data.short_side."
        )
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)
    return int(array.offset)


def _raise_if_unreadable(failures: list[tuple[str, str]], total: int) -> None:
    if failures:
        lines = [f"  {shown(path)}: {reason}" for path, reason in sorted(failures)[:20]]
        more = [f"  ... and {len(failures) - 20} more"] if len(failures) > 20 else []
        raise DataError(
            "\n".join([f"{len(failures)} of {total} images cannot be read:", *lines, *more])
            + "\nNothing was packed, because leaving images out would change the dataset. Replace these files (fetch"
            " or unpack them again), or, in your own data, take them out. Own images that are no 8-bit RGB (TIFF of"
            " other channels, 16 bits, .npy) need `channels` and `dtype` in their entry of data_sources."
        )
