"""Which part of an image the network sees under `released_code`, and how stretched, beside the released loaders.

The oracle is torchvision itself: each loader's geometric transforms, written from the description of the released code.
Both sides get one picture whose red rises from left to right and whose green from top to bottom, so that the region
seen can be read off what comes out. `pytest -s` prints the table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as tv

from mobilebench.config.suite import parse_suite, preset_text
from mobilebench.datasets.packing.decode import Form, decode
from mobilebench.training import Split, TrainData
from mobilebench.training.augment import Augmenter

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import Recipe

N = 200
DEFAULT = (3 / 4, 4 / 3)


def rrc(size: int, ratio: tuple[float, float] = (1.0, 1.0)) -> tv.RandomResizedCrop:
    return tv.RandomResizedCrop(size, scale=(0.9, 1.1), ratio=ratio)


CENTRE = [tv.Resize(224), tv.CenterCrop(224)]
LOADERS: dict[str, tuple[tuple[int, int], list[Any], list[Any]]] = {  # usual size; geometry of train and of test
    "cifar10": ((32, 32), [rrc(224)], CENTRE),
    "cifar100": ((32, 32), [rrc(224)], CENTRE),
    "imagenette": ((213, 160), [rrc(160, DEFAULT)], [tv.Resize(192), tv.CenterCrop(160)]),
    "ham10k_released": ((600, 450), [tv.Resize((224, 224))], [tv.Resize((224, 224))]),
    "dogs_released": (
        (500, 375),
        [tv.Resize((256, 256)), rrc(224, DEFAULT)],
        [tv.Resize((256, 256)), tv.CenterCrop(224)],
    ),
    "miniplaces": ((128, 128), [rrc(224)], CENTRE),
    "indoor67": ((640, 480), [rrc(224)], CENTRE),
}


@dataclass(frozen=True)
class Seen:
    """Shares of the image's area and how much wider than shown the regions are, one value per view."""

    area: np.ndarray
    stretch: np.ndarray

    def __str__(self) -> str:
        return f"{100 * self.area.mean():5.1f} % (sd {100 * self.area.std():.1f}), stretched {self.stretch.mean():.3f}"


def ramps(width: int, height: int) -> Image.Image:
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    return Image.fromarray(np.round(255 * np.stack([x, y, 0 * x], axis=2)).astype(np.uint8))


def regions(views: torch.Tensor, aspect: float) -> Seen:
    """From views [N, 3, R, R] in [0, 1] of `ramps` with this aspect ratio to the regions that they show."""
    side = views.shape[-1]
    inner = slice(side // 8, side - side // 8)  # where no edge is near
    place = torch.arange(side, dtype=torch.float32)[inner]
    place -= place.mean()
    width = (views[:, 0, inner, inner].mean(dim=1) @ place / (place @ place)).abs() * side
    height = (views[:, 1, inner, inner].mean(dim=2) @ place / (place @ place)).abs() * side
    return Seen((width * height).numpy(), (aspect * width / height).numpy())


def theirs(dataset: str, split: str) -> Seen:
    size, train, test = LOADERS[dataset]
    torch.manual_seed(0)
    chain = tv.Compose([*(train if split == "train" else test), tv.ToTensor()])
    image = ramps(*size)
    draws = split == "train" and any(isinstance(step, tv.RandomResizedCrop) for step in train)
    return regions(torch.stack([chain(image) for _ in range(N if draws else 1)]), size[0] / size[1])


def ours(dataset: str, split: str, tmp_path: Path) -> Seen:
    size = LOADERS[dataset][0]
    recipe = _geometry(parse_suite(preset_text("released_code"), "released_code").protocol.recipe_for("fbnet", dataset))
    ramps(*size).save(tmp_path / "a.png")
    side = min(recipe.data.short_side, *size)
    stored = torch.from_numpy(np.asarray(decode(tmp_path / "a.png", Form((side, side), recipe.data.fit))[0]).copy())[
        None
    ]
    rows = Split(stored.numpy(), np.zeros(1, np.int64), np.zeros(1, np.int64))
    augmenter = Augmenter(
        recipe, TrainData(rows, None, rows, (0.0,) * 3, (1.0,) * 3, 2, hflip=True), torch.device("cpu")
    )
    if split == "test":
        views = augmenter.view(stored)
    else:
        views = augmenter.images(stored.expand(N, -1, -1, -1), augmenter.draw(0, 1, [N]))
    return regions(views / 2 + 0.5, size[0] / size[1])


def _geometry(recipe: Recipe) -> Recipe:
    """The recipe without what changes colours or pastes."""
    augment = replace(recipe.augment, color_jitter=(0.0,) * 4, randaugment=None, random_erasing=0.0, cutmix_alpha=0.0)
    return replace(recipe, augment=augment, normalize="half")


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("dataset", LOADERS)
def test_released_code_shows_what_the_released_loaders_show(dataset: str, split: str, tmp_path: Path) -> None:
    expected, found = theirs(dataset, split), ours(dataset, split, tmp_path)
    print(f"\n{dataset:16} {split:5} theirs {expected}; ours {found}", end="")  # noqa: T201 - for `pytest -s`
    if (dataset, split) == ("imagenette", "test"):  # the suite's comment says so
        assert (expected.area.mean(), expected.stretch.mean()) == pytest.approx((0.52, 1.0), rel=0.02)
        assert (found.area.mean(), found.stretch.mean()) == pytest.approx((0.69, 4 / 3), rel=0.02)
        return
    assert found.area.mean() == pytest.approx(expected.area.mean(), rel=0.02)
    assert found.stretch.mean() == pytest.approx(expected.stretch.mean(), rel=0.02)
    assert found.area.std() == pytest.approx(expected.area.std(), abs=0.01)
    assert found.stretch.std() == pytest.approx(expected.stretch.std(), abs=0.01)
