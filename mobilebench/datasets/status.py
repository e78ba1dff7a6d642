"""What of a dataset is on this machine."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mobilebench.datasets.packing.packed import META, read_meta
from mobilebench.datasets.spec import SPLITS, DataError, DatasetSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mobilebench.datasets.packing.packed import Parent
    from mobilebench.evaluation.target import Target


@dataclass(frozen=True)
class DatasetState:
    """What of a dataset is on this machine, as far as a person wants to know it."""

    name: str
    """`packed`, `packed, incomplete`, `fetched`, `downloading`, `no download`, `not here` or `damaged`. Of a derived
    dataset also `packed, no PARENT` where its parent is not packed here, and `packed, other PARENT` where that was
    packed anew since."""

    classes: int
    """How many classes it has, 0 where that is not known yet."""

    sizes: tuple[str, str, str]
    """Images in train, val and test, as text."""

    stored: str = ""
    """How its packed images became squares, in words; "" where it is not packed."""

    target: Target = "single_label"
    """What is predicted of its images."""

    drawn: str = ""
    """Of a derived dataset that is packed: what was drawn of which parent, in words."""

    packed_bytes: int = 0
    """What its packed form takes on this machine's disk; 0 where it is not packed."""

    images: Mapping[str, int] = field(default_factory=dict)
    """The same as `sizes` as numbers, {split: images} or {"all": images}; empty where nothing is known."""


def state_of(spec: DatasetSpec, raw_dir: Path, out_dir: Path) -> DatasetState:
    """Return a dataset's state and sizes: as packed where it is, else as its official distribution says."""
    folder = out_dir / spec.id
    if (folder / META).exists():
        try:
            meta = read_meta(folder)
        except DataError:
            return DatasetState("damaged", spec.classes, _sizes(spec.counts), target=spec.target, images=spec.counts)
        complete = "" if meta.official or not spec.counts else ", incomplete"
        if meta.parent is not None:
            complete = _without_parent(out_dir, meta.parent)
        kind = "" if (meta.channels, meta.dtype) == (3, "uint8") else f" of {meta.channels} channels, {meta.dtype}"
        stored = f"{meta.shape[1]}x{meta.shape[2]} pixels{kind}: {meta.storage['how']}"
        taken = sum(path.stat().st_size for path in folder.iterdir() if path.is_file())
        return DatasetState(
            f"packed{complete}",
            len(meta.classes),
            _sizes(meta.counts),
            stored,
            meta.target,
            str(meta.provenance.get("drawn", "")),
            taken,
            meta.counts,
        )
    state = _raw_state(spec, raw_dir / spec.raw_name)
    return DatasetState(state, spec.classes, _sizes(spec.counts), target=spec.target, images=spec.counts)


def _without_parent(out_dir: Path, parent: Parent) -> str:
    try:
        same = read_meta(out_dir / parent.id).digest == parent.digest
    except DataError:
        return f", no {parent.id}"
    return "" if same else f", other {parent.id}"


def download_bytes(spec: DatasetSpec) -> int | None:
    """Return how many bytes fetching a dataset downloads; None where its owners do not publish that of every file."""
    if spec.generated:
        return 0
    sizes = [source.size for source in spec.sources]
    known = [size for size in sizes if size is not None]
    return sum(known) if known and len(known) == len(sizes) else None


def _raw_state(spec: DatasetSpec, home: Path) -> str:
    if spec.generated:
        return "no download"
    if (home / "files").is_dir() or (home / "local").is_dir():
        return "fetched"
    return "downloading" if any((home / "archives").glob("*.part")) else "not here"


def _sizes(counts: Mapping[str, int]) -> tuple[str, str, str]:
    if "all" in counts:
        return "", "", f"of {counts['all']:,}"
    train, val, test = (f"{counts.get(split, 0):,}" if counts else "?" for split in SPLITS)
    return train, val, test
