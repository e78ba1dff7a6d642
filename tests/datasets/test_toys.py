"""The generated sets show what their labels say, however it is counted."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from mobilebench.config.recipe import DataPolicy
from mobilebench.datasets import get
from mobilebench.datasets.catalog import toy_grades, toy_scenes
from mobilebench.datasets.labels import class_numbers, label_array


@pytest.mark.parametrize("dataset_id", ["toy_scenes", "toy_grades"])
def test_every_label_comes_equally_often_to_within_one(dataset_id: str) -> None:
    reading = get(dataset_id).read(Path(), DataPolicy())
    for split in ("train", "test"):
        labels = [entry.label for entry in reading.entries if entry.split == split]
        counts = [labels.count(label) for label in set(labels)]
        assert max(counts) - min(counts) <= 1
    assert len({image.tobytes() for image in reading.pixels}) == len(reading.entries)


def test_scenes_have_none_to_three_of_four_kinds() -> None:
    labels = label_array(toy_scenes.SCENES, "multi_label", 4)
    assert sorted(set(map(tuple, labels.tolist()))) == sorted(map(tuple, labels.tolist()))
    assert np.bincount(labels.sum(axis=1)).tolist() == [1, 4, 6, 4]
    assert labels.sum(axis=0).tolist() == [7, 7, 7, 7]


def figures(canvas: np.ndarray) -> int:
    """Count the connected regions in which every channel is as bright as only a figure's can be."""
    bright = (canvas >= 150).all(axis=2)  # ground is below 110, clutter below 150
    return int(ndimage.label(bright)[1])


def test_a_scene_shows_as_many_figures_as_it_has_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy_scenes.toys, "colour", lambda rng, low, high: rng.integers(low, high, 3) * 0 + high - 1)
    for row in range(60):
        rng = np.random.default_rng(row)
        kinds = toy_scenes.SCENES[row % 15]
        assert figures(toy_scenes.draw(rng, class_numbers(kinds))) == len(kinds)


def test_a_higher_grade_shows_more_spots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy_grades.toys, "colour", lambda rng, low, high: rng.integers(low, high, 3) * 0 + high - 1)
    area = []
    for grade in range(5):
        canvases = [toy_grades.draw(np.random.default_rng(row), grade) for row in range(40)]
        area.append(np.mean([(canvas >= 150).all(axis=2).mean() for canvas in canvases]))
    assert area[0] == 0
    assert all(more > 1.2 * less for less, more in pairwise(area))
