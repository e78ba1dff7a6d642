"""Which settings of a recipe mean something for red, green and blue only, and what to write for other images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mobilebench.config.recipe import Recipe


def rgb_only(recipe: Recipe, channels: int, dtype: str) -> dict[str, Any]:
    """Return the settings that images of these channels and numbers cannot have, each with one that they can.

    Colour jitter, ImageNet's statistics and those of weights need three channels in [0, 1]; RandAugment and
    TrivialAugment three channels of bytes, for some of their operations are defined on 256 levels; 0.5 as mean and
    deviation needs numbers in [0, 1].
    """
    is_rgb = channels == 3 and dtype != "float32"
    augment, found = recipe.augment, dict[str, Any]()
    if recipe.normalize != "dataset" and not is_rgb and (recipe.normalize != "half" or dtype == "float32"):
        found["normalize"] = "dataset"
    if any(augment.color_jitter) and not is_rgb:
        found["augment.color_jitter"] = [0, 0, 0, 0]
    if not is_rgb or dtype != "uint8":
        found |= {"augment.randaugment": None} if augment.randaugment is not None else {}
        found |= {"augment.trivialaugment": False} if augment.trivialaugment else {}
    return found
