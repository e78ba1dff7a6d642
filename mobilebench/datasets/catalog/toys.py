"""What the generated datasets share: integer drawing, so that every machine makes the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mobilebench.datasets.spec import Entry, Pixels, Reading

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

SIDE = 32
TRAIN, TEST = 512, 320

Ints = npt.NDArray[np.int64]
Draw = Callable[[np.random.Generator, int], Ints]

# Whole-number rotations: (a, b, c) with a*a + b*b = c*c turns a point exactly, without sine and cosine.
TURNS = ((1, 0, 1), (12, 5, 13), (4, 3, 5), (20, 21, 29), (3, 4, 5), (5, 12, 13), (0, 1, 1), (-5, 12, 13), (-4, 3, 5))
SCALE = 16


def grid(rng: np.random.Generator, *, centre: tuple[int, int]) -> tuple[Ints, Ints]:
    """Return x, y (int64 [32, 32]) in sixteenths of a pixel about a centre, turned by a random rotation."""
    a, b, c = TURNS[int(rng.integers(len(TURNS)))]
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.int64) * SCALE
    x, y = x - centre[0] * SCALE, y - centre[1] * SCALE
    return (a * x + b * y) // c, (a * y - b * x) // c


def colour(rng: np.random.Generator, low: int, high: int) -> Ints:
    """Return a random RGB colour, int64 [3], each channel low <= value < high."""
    return rng.integers(low, high, 3)


def noisy(rng: np.random.Generator, canvas: Ints, strength: int) -> Pixels:
    """Return the canvas with triangular noise of up to `strength` grey levels, clipped to uint8."""
    noise = rng.integers(-strength, strength + 1, canvas.shape) + rng.integers(-strength, strength + 1, canvas.shape)
    return np.clip(canvas + noise // 2, 0, 255).astype(np.uint8)


def reader(classes: Sequence[str], draw: Draw, seed: int, strength: int) -> Callable[[Path, DataPolicy], Reading]:
    """Return a dataset's `read`: TRAIN + TEST images, classes in turn, each drawn from its own (seed, row) stream."""

    def read(_raw: Path, _policy: DataPolicy) -> Reading:
        labels = [i % len(classes) for i in range(TRAIN + TEST)]
        images = np.stack([_image(draw, seed, row, label, strength) for row, label in enumerate(labels)])
        entries = [Entry(f"{i:04d}", y, "train" if i < TRAIN else "test") for i, y in enumerate(labels)]
        return Reading(tuple(classes), entries, pixels=images)

    return read


def _image(draw: Draw, seed: int, row: int, label: int, strength: int) -> Pixels:
    rng = np.random.Generator(np.random.PCG64([seed, row]))
    return noisy(rng, draw(rng, label), strength)
