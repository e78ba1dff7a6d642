"""Rectangles, other channels and other numbers: the batched augmentation against torchvision, image by image."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms import RandomErasing, RandomResizedCrop

from mobilebench.config.pixels import UNITS
from mobilebench.config.recipe import Augment, Recipe
from mobilebench.training import Split, TrainData
from mobilebench.training.augment import Augmenter
from mobilebench.training.augment.crop import draw_crops, resized_whole
from mobilebench.training.augment.cutmix import draw_cutmix
from mobilebench.training.augment.erase import draw_erasing
from mobilebench.training.errors import TrainingError
from mobilebench.training.plain import PlainAugmenter
from mobilebench.training.rgb_only import rgb_only

CPU = torch.device("cpu")
NO_COLOUR = Augment(crop_scale=(0.3, 1.0), crop_ratio=(0.75, 4 / 3), color_jitter=(0.0,) * 4, random_erasing=0.5)


def dataset(size: tuple[int, int], channels: int, dtype: str, n: int = 6) -> TrainData:
    """Smooth images with noise, so that no resampling is of plain colours."""
    rng = np.random.default_rng(sum(size) + channels)
    coarse = torch.from_numpy(rng.random((n, channels, 4, 4))).float()
    smooth = torch.nn.functional.interpolate(coarse, size=size, mode="bilinear").permute(0, 2, 3, 1).numpy()
    values = np.clip(smooth + rng.normal(0, 0.05, smooth.shape), 0, 1) * UNITS[dtype]
    images = values.astype(np.float32) * 7 - 3 if dtype == "float32" else np.rint(values).astype(dtype)
    split = Split(images, np.arange(n) % 2, np.arange(n))
    mean = tuple((images.mean((0, 1, 2)) / UNITS[dtype]).tolist())
    return TrainData(split, None, split, mean, (0.25,) * channels, 2)


@given(
    stored=st.tuples(st.integers(10, 48), st.integers(10, 48)),
    resolution=st.one_of(st.integers(8, 40), st.tuples(st.integers(8, 40), st.integers(8, 40))),
    channels=st.sampled_from([1, 3, 4, 13]),
    dtype=st.sampled_from(sorted(UNITS)),
    resize=st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_every_shape_and_number_goes_the_way_of_torchvision(
    stored: tuple[int, int], resolution: int | tuple[int, int], channels: int, dtype: str, resize: int
) -> None:
    data = dataset(stored, channels, dtype)
    short = resolution if isinstance(resolution, int) else min(resolution)
    recipe = Recipe(resolution=resolution, eval_resize=short + resize, augment=NO_COLOUR, normalize="dataset")
    fast, plain = Augmenter(recipe, data, CPU), PlainAugmenter(recipe, data, CPU)
    images = torch.from_numpy(data.train.images)
    draws = fast.draw(0, 1, [len(images)])
    tolerance = 1e-4 if dtype != "float32" else 1e-3
    torch.testing.assert_close(fast.images(images, draws), plain.images(images, draws), atol=tolerance, rtol=1e-4)
    torch.testing.assert_close(fast.view(images), plain.view(images), atol=tolerance, rtol=1e-4)


@pytest.mark.parametrize("policy", [{"randaugment": (2, 15)}, {"trivialaugment": True}])
def test_policies_of_rectangles_are_torchvisions(policy: dict[str, object]) -> None:
    data = dataset((30, 44), 3, "uint8", n=64)
    augment = replace(NO_COLOUR, crop_scale=None, random_erasing=0.0, cutmix_alpha=0.0, **policy)
    recipe = Recipe(resolution=(30, 44), augment=augment)
    fast, plain = Augmenter(recipe, data, CPU), PlainAugmenter(recipe, data, CPU)
    images = torch.from_numpy(data.train.images)
    draws = fast.draw(3, 1, [len(images)])
    assert draws.operations is not None
    assert len(np.unique(draws.operations.numpy())) == 14
    off = (fast.images(images, draws) - plain.images(images, draws)).abs().amax(dim=(1, 2, 3))
    # Nearest sampling may take the neighbour where a place lies exactly between two, and levels may round apart.
    assert (off > 0.1).float().mean() < 0.1
    assert off.median() < 0.02


def test_crops_of_rectangles_are_distributed_as_torchvisions() -> None:
    n, scale, ratio = 4000, (0.2, 1.3), (0.7, 1.5)
    mine = draw_crops(np.random.default_rng(1), n, (40, 64), scale, ratio)
    torch.manual_seed(0)
    image = torch.empty(3, 40, 64)
    theirs = np.array([RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(n)])
    for column in range(4):
        assert stats.ks_2samp(mine[:, column], theirs[:, column]).pvalue > 0.001
    assert (mine[:, 0] + mine[:, 2]).max() <= 40
    assert (mine[:, 1] + mine[:, 3]).max() <= 64


@pytest.mark.parametrize("ratio", [(0.2, 0.5), (2.0, 3.0), (0.5, 2.0)])
@pytest.mark.parametrize("size", [(40, 64), (64, 40)])
def test_a_crop_of_a_rectangle_that_never_fits_falls_back_as_torchvisions(
    size: tuple[int, int], ratio: tuple[float, float]
) -> None:
    theirs = RandomResizedCrop.get_params(torch.empty(3, *size), [50.0, 60.0], list(ratio))
    assert draw_crops(np.random.default_rng(0), 3, size, (50.0, 60.0), ratio).tolist() == [list(theirs)] * 3


def test_boxes_of_rectangles_are_distributed_as_torchvisions() -> None:
    n, size = 4000, (40, 64)
    mine = draw_erasing(np.random.default_rng(1), n, size, 1.0)
    torch.manual_seed(0)
    params = [RandomErasing.get_params(torch.empty(3, *size), (0.02, 0.33), (0.3, 3.3), [0.0]) for _ in range(n)]
    theirs = np.array([(top, left, top + height, left + width) for top, left, height, width, _ in params])
    for column in range(4):
        assert stats.ks_2samp(mine[:, column], theirs[:, column]).pvalue > 0.001


def test_cutmix_covers_the_share_of_a_rectangle_that_it_drew() -> None:
    size = (40, 80)
    boxes, kept, _ = draw_cutmix(np.random.default_rng(0), [4000], size, Augment())
    top, left, bottom, right = boxes.T
    assert (bottom.max(), right.max()) == size
    whole = (top > 0) & (left > 0) & (bottom < size[0]) & (right < size[1])  # nothing clipped
    high, wide = (bottom - top)[whole], (right - left)[whole]
    assert np.abs(wide - 2 * high).max() <= 4  # a box has the shape of the image
    np.testing.assert_allclose(kept, 1 - (bottom - top) * (right - left) / np.prod(size), atol=1e-6)


@pytest.mark.parametrize(
    ("stored", "resize", "size", "whole"),
    [
        (64, 48, 32, (48, 48)),
        ((40, 60), 20, (20, 30), (20, 30)),  # the same shape: the whole image
        ((40, 60), 20, 20, (20, 30)),  # a square out of a rectangle: its shorter side fits
        ((40, 60), 24, 20, (24, 36)),
        (40, 20, (20, 30), (30, 30)),  # a rectangle out of a square
    ],
)
def test_what_is_resized_covers_what_is_read(
    stored: int | tuple[int, int], resize: int, size: int | tuple[int, int], whole: tuple[int, int]
) -> None:
    assert resized_whole(stored, resize, size) == whole


def test_a_crop_ratio_of_one_keeps_the_shape_of_the_resolution() -> None:
    recipe = Recipe(resolution=(20, 40), augment=replace(NO_COLOUR, crop_ratio=(1.0, 1.0)), normalize="dataset")
    crops = Augmenter(recipe, dataset((40, 80), 3, "uint8", n=200), CPU).draw(0, 1, [200]).crops
    _, _, height, width = crops.float().unbind(1)
    assert (width - 2 * height).abs().max() <= 1.5  # rounded to pixels


ALL = {"normalize", "augment.color_jitter", "augment.randaugment"}


@pytest.mark.parametrize(
    ("channels", "dtype", "unfit"),
    [
        (3, "uint8", set()),
        (3, "uint16", {"augment.randaugment"}),
        (3, "float32", ALL),
        (1, "uint8", ALL),
        (13, "uint16", ALL),
    ],
)
def test_what_needs_colours_is_named_and_what_is_advised_fits(channels: int, dtype: str, unfit: set[str]) -> None:
    recipe = Recipe(augment=Augment(randaugment=(2, 9)), resolution=16)
    found = rgb_only(recipe, channels, dtype)
    assert set(found) == unfit
    data = dataset((16, 16), channels, dtype)
    if unfit:
        with pytest.raises(TrainingError, match=", ".join(found)):
            Augmenter(recipe, data, CPU)
    augment = {name.removeprefix("augment."): value for name, value in found.items() if name.startswith("augment.")}
    mended = replace(recipe, augment=replace(recipe.augment, **augment), normalize=found.get("normalize", "imagenet"))
    assert rgb_only(mended, channels, dtype) == {}
    assert Augmenter(mended, data, CPU).view(torch.from_numpy(data.test.images)).shape == (6, channels, 16, 16)  # type: ignore[union-attr]


@pytest.mark.parametrize(("dtype", "fits"), [("uint8", True), ("uint16", True), ("float32", False)])
def test_a_half_as_mean_needs_numbers_in_0_1(dtype: str, fits: bool) -> None:
    augment = Augment(color_jitter=(0.0,) * 4)
    assert (rgb_only(Recipe(normalize="half", augment=augment), 4, dtype) == {}) is fits
