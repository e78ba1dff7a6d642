"""Mean and standard deviation per channel, summed so that the order in which images come changes no digit of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.config.pixels import UNITS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import numpy.typing as npt

    from mobilebench.datasets.spec import Pixels


@dataclass(frozen=True)
class Sums:
    """Of some images: values per channel, and each channel's sum and sum of squares; whole numbers where pixels are."""

    count: int
    totals: tuple[float, ...]
    squares: tuple[float, ...]


def of_histogram(histogram: Sequence[Sequence[int]] | npt.NDArray[np.int64]) -> Sums:
    """Return the sums of images of whole numbers, given how often each channel has each value [C, levels]."""
    counts = np.asarray(histogram, np.uint64)  # 2^32 values of 16 bits have squares that sum to less than 2^64
    values = np.arange(counts.shape[1], dtype=np.uint64)
    return Sums(int(counts[0].sum()), _whole(counts @ values), _whole(counts @ values**2))


def of_image(image: Pixels) -> Sums:
    """Return the sums of one image [H, W, C]."""
    if image.dtype == np.float32:
        values = image.reshape(-1, image.shape[2]).astype(np.float64)
        return Sums(len(values), tuple(values.sum(0).tolist()), tuple((values**2).sum(0).tolist()))
    levels = int(np.iinfo(image.dtype).max) + 1
    channels = range(image.shape[2])
    return of_histogram(np.stack([np.bincount(image[..., c].ravel(), minlength=levels) for c in channels]))


def of_rows(images: Pixels, rows: npt.NDArray[np.int64]) -> Sums:
    """Return the sums of some images [N, H, W, C], one or more, which may be on disk."""
    return together(of_image(images[row]) for row in rows)


def together(parts: Iterable[Sums]) -> Sums:
    """Return the sums of all parts, one or more, exact to the last digit whatever their order."""
    some = list(parts)
    return Sums(sum(part.count for part in some), _added(p.totals for p in some), _added(p.squares for p in some))


def moments(sums: Sums, dtype: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and (population) standard deviation per channel, in units of `UNITS[dtype]`."""
    n, unit = sums.count, UNITS[dtype]
    means = tuple(total / n / unit for total in sums.totals)
    spreads = (
        max(n * square - total * total, 0) / (n * n) for total, square in zip(sums.totals, sums.squares, strict=True)
    )
    return means, tuple(math.sqrt(spread) / unit for spread in spreads)


def _whole(values: npt.NDArray[np.uint64]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _added(parts: Iterable[tuple[float, ...]]) -> tuple[float, ...]:
    """Add up by channel: whole numbers as such, others by `fsum`, which rounds once."""
    columns = zip(*parts, strict=True)
    return tuple(sum(c) if all(isinstance(v, int) for v in c) else math.fsum(c) for c in columns)
