"""The batched augmentation against torchvision, image by image with the same parameters."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torchvision.transforms import ColorJitter, RandAugment, RandomErasing, RandomResizedCrop, TrivialAugmentWide
from torchvision.transforms import functional as tv

from mobilebench.config.recipe import Augment
from mobilebench.training.augment.color import draw_jitter, jitter, shift_hue
from mobilebench.training.augment.crop import crop_flip_resize, draw_crops, resize_centre
from mobilebench.training.augment.cutmix import draw_cutmix, paste
from mobilebench.training.augment.erase import draw_erasing
from mobilebench.training.augment.policy import (
    OPERATIONS,
    apply_policy,
    draw_randaugment,
    draw_trivialaugment,
    magnitudes,
)

TOLERANCE = 2 / 255
CLOSE = 1e-4


def pictures(n: int, side: int, seed: int = 0) -> torch.Tensor:
    """Smooth colours with noise and flat patches: uint8 [n, side, side, 3]."""
    rng = np.random.default_rng(seed)
    coarse = torch.from_numpy(rng.integers(0, 256, size=(n, 3, 4, 4))).float()
    smooth = torch.nn.functional.interpolate(coarse, size=side, mode="bicubic")
    noisy = smooth + torch.from_numpy(rng.normal(0, 20, size=smooth.shape)).float()
    noisy[0, :, : side // 2] = 128  # grey: no hue
    return noisy.clamp(0, 255).byte().permute(0, 2, 3, 1).contiguous()


def floats(images: torch.Tensor) -> torch.Tensor:
    return images.permute(0, 3, 1, 2).float() / 255


def rng() -> np.random.Generator:
    return np.random.default_rng(11)


@given(
    side=st.integers(8, 80),
    size=st.integers(8, 80),
    low=st.floats(0.05, 1.0),
    skew=st.floats(1.0, 2.0),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=60, deadline=None)
def test_crop_flip_resize_is_torchvisions_antialiased_resized_crop(
    side: int, size: int, low: float, skew: float, seed: int
) -> None:
    n = 5
    draw = np.random.default_rng(seed)
    crops = torch.from_numpy(draw_crops(draw, n, side, (low, 1.0), (1 / skew, skew)))
    flips = torch.from_numpy(draw.random(n) < 0.5)
    images = pictures(n, side, seed)
    mine = crop_flip_resize(images, crops, flips, size)
    for i, box in enumerate(crops.tolist()):
        want = tv.resized_crop(floats(images)[i], *box, size=[size, size], antialias=True)
        torch.testing.assert_close(mine[i], tv.hflip(want) if flips[i] else want, atol=CLOSE, rtol=0)


@pytest.mark.parametrize(("side", "resize", "size"), [(8, 32, 32), (64, 48, 32), (50, 37, 32), (40, 40, 40)])
def test_evaluation_view_is_torchvisions_resize_and_centre_crop(side: int, resize: int, size: int) -> None:
    images = pictures(3, side)
    want = tv.center_crop(tv.resize(floats(images), [resize, resize], antialias=True), [size, size])
    torch.testing.assert_close(resize_centre(images, resize, size), want, atol=CLOSE, rtol=0)


def test_crops_are_distributed_as_torchvisions() -> None:
    n, side, scale, ratio = 4000, 64, (0.2, 1.3), (0.7, 1.5)
    mine = draw_crops(rng(), n, side, scale, ratio)
    torch.manual_seed(0)
    image = torch.empty(3, side, side)
    theirs = np.array([RandomResizedCrop.get_params(image, list(scale), list(ratio)) for _ in range(n)])
    for column in range(4):
        assert stats.ks_2samp(mine[:, column], theirs[:, column]).pvalue > 0.001
    assert (mine[:, 0] + mine[:, 2]).max() <= side
    assert (mine[:, 1] + mine[:, 3]).max() <= side


@pytest.mark.parametrize("ratio", [(0.2, 0.5), (2.0, 3.0), (0.5, 2.0)])
def test_a_crop_that_never_fits_falls_back_as_torchvisions(ratio: tuple[float, float]) -> None:
    theirs = RandomResizedCrop.get_params(torch.empty(3, 40, 40), [50.0, 60.0], list(ratio))
    assert draw_crops(rng(), 3, 40, (50.0, 60.0), ratio).tolist() == [list(theirs)] * 3


def jittered_by_torchvision(image: torch.Tensor, factors: list[float], order: list[int]) -> torch.Tensor:
    operations = (tv.adjust_brightness, tv.adjust_contrast, tv.adjust_saturation, tv.adjust_hue)
    for number in order:
        image = operations[number](image, factors[number])
    return image


@pytest.mark.parametrize("compiled", [False, True])
def test_jitter_is_torchvisions_in_every_order(compiled: bool) -> None:
    n = 24
    images = floats(pictures(n, 20))
    factors, orders = draw_jitter(rng(), n, (0.4, 0.5, 0.6, 0.5))
    assert len(np.unique(orders, axis=0)) > 10
    mine = (torch.compile(jitter, backend="aot_eager") if compiled else jitter)(
        images, torch.from_numpy(factors), torch.from_numpy(orders)
    )
    for i in range(n):
        want = jittered_by_torchvision(images[i], factors[i].tolist(), orders[i].tolist())
        torch.testing.assert_close(mine[i], want, atol=CLOSE, rtol=0)


def test_hue_turns_as_torchvision() -> None:
    images = floats(pictures(11, 32))
    shifts = torch.linspace(-0.5, 0.5, 11)
    mine = shift_hue(images, shifts)
    for i, shift in enumerate(shifts.tolist()):
        assert (mine[i] - tv.adjust_hue(images[i], shift)).abs().max() <= TOLERANCE


def test_jitter_factors_are_distributed_as_torchvisions() -> None:
    n, strength = 4000, (0.2, 1.3, 0.3, 0.2)
    factors, orders = draw_jitter(rng(), n, strength)
    params = ColorJitter(*strength)
    torch.manual_seed(0)
    drawn = [
        ColorJitter.get_params(params.brightness, params.contrast, params.saturation, params.hue) for _ in range(n)
    ]
    for column in range(4):
        theirs = np.array([draw[column + 1] for draw in drawn])
        assert stats.ks_2samp(factors[:, column], theirs).pvalue > 0.001
    _, counts = np.unique(orders, axis=0, return_counts=True)
    assert len(counts) == math.factorial(4)
    assert stats.chisquare(counts).pvalue > 0.001


def test_jitter_before_enlarging_is_another_function() -> None:
    """Why low-resolution images are jittered after they are enlarged: contrast and the clamps do not commute."""
    images = pictures(16, 32)
    factors, orders = (torch.from_numpy(a) for a in draw_jitter(rng(), 16, (0.2, 0.3, 0.3, 0.2)))
    whole = torch.tensor([0, 0, 32, 32]).expand(16, 4)
    no_flip = torch.zeros(16, dtype=torch.bool)
    after = jitter(crop_flip_resize(images, whole, no_flip, 96), factors, orders)
    before = tv.resize(jitter(floats(images), factors, orders), [96, 96], antialias=True)
    assert (after - before).abs().max() > 5 * TOLERANCE


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("name", OPERATIONS)
def test_policy_operations_are_torchvisions(name: str, *, wide: bool) -> None:
    size = 32
    images = pictures(6, size)
    table = magnitudes(size, wide=wide)[OPERATIONS.index(name)]
    amounts = np.array([table[3], table[10], table[17], table[24], table[30], table[10]], dtype=np.float32)
    if name in OPERATIONS[1:10]:
        amounts[1::2] *= -1
    operations = torch.full((6, 1), OPERATIONS.index(name))
    mine = apply_policy(floats(images), operations, torch.from_numpy(amounts)[:, None])
    for i, amount in enumerate(amounts.tolist()):
        want = torchvisions(name)(images[i].permute(2, 0, 1), amount).float() / 255
        assert (mine[i] - want).abs().max() <= TOLERANCE, (name, amount)


def torchvisions(name: str):  # noqa: ANN201 - a function of torchvision's own private dispatcher
    from torchvision.transforms.autoaugment import _apply_op

    camel = {"shear_x": "ShearX", "shear_y": "ShearY", "translate_x": "TranslateX", "translate_y": "TranslateY"}
    camel["autocontrast"] = "AutoContrast"
    theirs = camel.get(name, name.capitalize())
    return lambda image, amount: _apply_op(image, theirs, amount, tv.InterpolationMode.NEAREST, None)


def test_policy_spaces_are_torchvisions() -> None:
    names = [name.replace("_", "") for name in OPERATIONS]
    for mine, theirs in (
        (magnitudes(48, wide=False), RandAugment()._augmentation_space(31, (48, 48))),
        (magnitudes(48, wide=True), TrivialAugmentWide()._augmentation_space(31)),
    ):
        assert names == [name.lower() for name in theirs]
        for row, (values, _) in zip(mine, theirs.values(), strict=True):
            np.testing.assert_allclose(row, values.double().expand(31), atol=1e-4)


def test_policies_choose_evenly() -> None:
    table = magnitudes(32, wide=False)
    operations, amounts = draw_randaugment(rng(), 7000, 32, 2, 10)
    assert operations.shape == amounts.shape == (7000, 2)
    assert stats.chisquare(np.bincount(operations.ravel(), minlength=14)).pvalue > 0.001
    np.testing.assert_allclose(np.abs(amounts), table[operations, 10], rtol=1e-6)
    signed = np.isin(operations, range(1, 10))
    assert abs((amounts[signed] > 0).mean() - 0.5) < 0.03
    assert (amounts[~signed] >= 0).all()
    operations, amounts = draw_trivialaugment(rng(), 7000, 32)
    solarize = np.abs(amounts[operations == OPERATIONS.index("solarize")])
    assert len(np.unique(solarize)) == 31


def test_a_policy_applies_each_images_own_operations_in_turn() -> None:
    images = floats(pictures(40, 24))
    operations, amounts = (torch.from_numpy(a) for a in draw_randaugment(rng(), 40, 24, 2, 10))
    together = apply_policy(images.clone(), operations, amounts)
    for i in range(40):
        alone = apply_policy(images[i : i + 1].clone(), operations[i : i + 1], amounts[i : i + 1])
        torch.testing.assert_close(together[i], alone[0], atol=CLOSE, rtol=0)


def test_erasing_is_distributed_as_torchvisions() -> None:
    n, size = 4000, 48
    mine = draw_erasing(rng(), n, size, 1.0)
    torch.manual_seed(0)
    theirs = [RandomErasing.get_params(torch.zeros(3, size, size), (0.02, 0.33), (0.3, 3.3), [0.0]) for _ in range(n)]
    columns = np.array([[top, left, top + height, left + width] for top, left, height, width, _ in theirs])
    for column in range(4):
        assert stats.ks_2samp(mine[:, column], columns[:, column]).pvalue > 0.001
    some = draw_erasing(rng(), n, size, 0.25)
    assert abs((some[:, 2] > some[:, 0]).mean() - 0.25) < 0.03


@pytest.mark.parametrize("box", ["image", "batch"])
def test_cutmix_weighs_labels_by_the_pixels_really_kept(box: str) -> None:
    sizes, side = [8, 8, 5], 20
    boxes, kept, partners = (
        torch.from_numpy(a) for a in draw_cutmix(rng(), sizes, side, Augment(cutmix_alpha=1.0, cutmix_box=box))
    )
    ids = torch.arange(21.0).view(21, 1, 1, 1).expand(21, 3, side, side).contiguous()
    mixed = paste(ids, boxes, partners)
    for i in range(21):
        from_partner = (mixed[i, 0] != i).float().mean()
        if partners[i] != i:
            assert math.isclose(1 - from_partner, float(kept[i]), abs_tol=1e-6)
            assert set(mixed[i].unique().tolist()) <= {float(i), float(partners[i])}
    starts = np.repeat(np.cumsum([0, 8, 8]), sizes)
    assert ((partners.numpy() >= starts) & (partners.numpy() < starts + np.repeat(sizes, sizes))).all()
    distinct = [len(torch.unique(part, dim=0)) for part in boxes.split(sizes)]
    assert distinct == [1, 1, 1] if box == "batch" else min(distinct) > 1


def test_cutmix_drawn_weight_is_the_papers_codes_mistake() -> None:
    """The released code weighs by lambda as drawn: mean .5, where the boxes leave .682 of the area (its audit)."""
    many = [32] * 400
    _, drawn, _ = draw_cutmix(rng(), many, 224, Augment(cutmix_weight="drawn"))
    _, area, _ = draw_cutmix(rng(), many, 224, Augment())
    assert abs(drawn.mean() - 0.5) < 0.01
    assert abs(area.mean() - 0.682) < 0.01


def test_cutmix_probability_is_a_share_of_batches() -> None:
    boxes, kept, _ = draw_cutmix(rng(), [4] * 1000, 32, Augment(cutmix_prob=0.3))
    mixed = (boxes[:, 2] > 0).reshape(1000, 4)
    assert abs(mixed.any(axis=1).mean() - 0.3) < 0.05
    assert (kept.reshape(1000, 4)[~mixed.any(axis=1)] == 1).all()
