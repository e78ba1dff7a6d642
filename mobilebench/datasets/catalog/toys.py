"""What the generated datasets share: integer drawing, so that every machine makes the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from mobilebench.datasets.spec import ClassLabel, Entry, Pixels, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

SIDE = 32
TRAIN, TEST = 512, 320

Ints = npt.NDArray[np.int64]
Label = TypeVar("Label", bound=ClassLabel)

# Whole-number rotations: (a, b, c) with a*a + b*b = c*c turns a point exactly, without sine and cosine.
TURNS = ((1, 0, 1), (12, 5, 13), (4, 3, 5), (20, 21, 29), (3, 4, 5), (5, 12, 13), (0, 1, 1), (-5, 12, 13), (-4, 3, 5))
SCALE = 16


HINTS = ((230, 70, 60), (70, 220, 80), (80, 110, 240), (240, 220, 60))
"""The colour of each class in sets where colour is a hint of the class."""


def grid(rng: np.random.Generator, *, centre: tuple[int, int], side: int = SIDE) -> tuple[Ints, Ints]:
    """Return x, y (int64 [side, side]) in sixteenths of a pixel about a centre, turned by a random rotation."""
    a, b, c = TURNS[int(rng.integers(len(TURNS)))]
    y, x = np.mgrid[:side, :side].astype(np.int64) * SCALE
    x, y = x - centre[0] * SCALE, y - centre[1] * SCALE
    return (a * x + b * y) // c, (a * y - b * x) // c


def colour(rng: np.random.Generator, low: int, high: int) -> Ints:
    """Return a random RGB colour, int64 [3], each channel low <= value < high."""
    return rng.integers(low, high, 3)


def hinted(rng: np.random.Generator, label: int) -> Ints:
    """Return a bright colour, int64 [3]: near that of the class in two images of three, else any."""
    if rng.integers(3):
        return np.asarray(np.clip(HINTS[label] + rng.integers(-30, 31, 3), 0, 255), np.int64)
    return colour(rng, 120, 236)


def noisy(rng: np.random.Generator, canvas: Ints, strength: int) -> Pixels:
    """Return the canvas with triangular noise of up to `strength` grey levels, clipped to uint8."""
    noise = rng.integers(-strength, strength + 1, canvas.shape) + rng.integers(-strength, strength + 1, canvas.shape)
    return np.clip(canvas + noise // 2, 0, 255).astype(np.uint8)


def reader(
    classes: Sequence[str],
    draw: Callable[[np.random.Generator, Label], Ints],
    labels: Sequence[Label],
    *,
    seed: int,
    strength: int,
    train: int = TRAIN,
    test: int = TEST,
) -> Callable[[Path, DataPolicy], Reading]:
    """Return a dataset's `read`: train + test images, `labels` in turn, each drawn from its own (seed, row) stream."""

    def read(_raw: Path, _policy: DataPolicy) -> Reading:
        given = [labels[row % len(labels)] for row in range(train + test)]
        images = np.stack([_image(draw, seed, row, label, strength) for row, label in enumerate(given)])
        entries = [Entry(f"{i:04d}", label, "train" if i < train else "test") for i, label in enumerate(given)]
        return Reading(tuple(classes), entries, pixels=images)

    return read


def _image(
    draw: Callable[[np.random.Generator, Label], Ints], seed: int, row: int, label: Label, strength: int
) -> Pixels:
    rng = np.random.Generator(np.random.PCG64([seed, row]))
    return noisy(rng, draw(rng, label), strength)
