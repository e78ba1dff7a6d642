"""What of a dataset is on this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilebench.datasets.packing.packed import META, read_meta
from mobilebench.datasets.spec import SPLITS, DataError, DatasetSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mobilebench.evaluation.target import Target


@dataclass(frozen=True)
class DatasetState:
    """What of a dataset is on this machine, as far as a person wants to know it."""

    name: str
    """`packed`, `packed, incomplete`, `fetched`, `downloading`, `no download`, `not here` or `damaged`."""

    classes: int
    """How many classes it has, 0 where that is not known yet."""

    sizes: tuple[str, str, str]
    """Images in train, val and test, as text."""

    stored: str = ""
    """How its packed images became squares, in words; "" where it is not packed."""

    target: Target = "single_label"
    """What is predicted of its images."""


def state_of(spec: DatasetSpec, raw_dir: Path, out_dir: Path) -> DatasetState:
    """Return a dataset's state and sizes: as packed where it is, else as its official distribution says."""
    folder = out_dir / spec.id
    if (folder / META).exists():
        try:
            meta = read_meta(folder)
        except DataError:
            return DatasetState("damaged", spec.classes, _sizes(spec.counts), target=spec.target)
        complete = "" if meta.official or not spec.counts else ", incomplete"
        stored = f"{meta.shape[1]}x{meta.shape[2]} pixels: {meta.storage['how']}"
        return DatasetState(f"packed{complete}", len(meta.classes), _sizes(meta.counts), stored, meta.target)
    state = _raw_state(spec, raw_dir / spec.raw_name)
    return DatasetState(state, spec.classes, _sizes(spec.counts), target=spec.target)


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
