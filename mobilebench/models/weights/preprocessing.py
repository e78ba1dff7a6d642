"""How images were prepared for pretrained weights, as the weights' source says it."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from mobilebench.config.parsing import parse
from mobilebench.config.pixels import Resolution, shown, sides
from mobilebench.models.names import FILE, PACKAGE, RUN, TIMM, TORCHVISION, split
from mobilebench.models.weights.files import WeightsError, fetched_path, timm_config, torchvision_weights
from mobilebench.system.files import read_text

if TYPE_CHECKING:
    from pathlib import Path

Values = tuple[float, ...]  # one a channel
OURS = "bilinear"  # how this program resizes


@dataclass(frozen=True)
class Preprocessing:
    """What weights were evaluated on at their source."""

    mean: Values
    """Per channel, of images in [0, 1]; likewise `std`."""
    std: Values
    resolution: Resolution
    """Side in pixels of the images that the network got."""
    crop: float | Fraction
    """What of the resized image's side that is, at most 1."""
    interpolation: str
    """How images were resized: bilinear, bicubic ..."""

    def eval_resize(self, resolution: Resolution) -> int:
        """Return to how many pixels an image is resized whose centre of `resolution` pixels is read, as timm rounds.

        Of rectangles it is the shorter side.
        """
        return math.floor(min(sides(resolution)) / self.crop)

    def __str__(self) -> str:
        whole = self.eval_resize(self.resolution)
        return (
            f"{shown(self.resolution)} px, the centre of {whole} px, resized {self.interpolation}; mean "
            f"{_shown(self.mean)}, std {_shown(self.std)}"
        )


def preprocessing(model_id: str) -> Preprocessing:
    """Return how images were prepared for the weights of an id. Raises WeightsError where their source does not say."""
    network, weights = split(model_id)
    own = weights.startswith((FILE, PACKAGE, RUN))
    if weights.startswith(RUN):
        return _of_run(fetched_path(model_id).with_suffix(".json"))
    if network.startswith(TIMM):
        import timm

        name = network.removeprefix(TIMM)
        config = timm.models.get_pretrained_cfg(name) if own else timm_config(name, weights)
        if config is not None:
            mean, std = _triple(config.mean), _triple(config.std)
            return Preprocessing(mean, std, int(config.input_size[-1]), float(config.crop_pct), config.interpolation)
    if network.startswith(TORCHVISION) and not own:
        made = torchvision_weights(network.removeprefix(TORCHVISION), weights).transforms()
        size, whole = int(made.crop_size[0]), int(made.resize_size[0])
        mean, std = _triple(made.mean), _triple(made.std)
        return Preprocessing(mean, std, size, Fraction(size, whole), made.interpolation.value)
    raise WeightsError(
        f"normalize or eval_resize is weights, and nothing says how images of {model_id} were prepared; set normalize "
        "to what they were trained with (imagenet, half or dataset) and eval_resize to null or a number of pixels"
    )


def _triple(values: Any) -> Values:
    red, green, blue = (float(value) for value in values)
    return red, green, blue


def _shown(values: Values) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else "/".join(f"{value:g}" for value in values)


@dataclass(frozen=True)
class _Made:
    """What is read here of the model.json beside a run's weights."""

    mean: Values
    std: Values
    resolution: Resolution
    eval_resize: int


def _of_run(path: Path) -> Preprocessing:
    try:
        said = json.loads(read_text(path, "the JSON of a trained network"))
        made = parse(_Made, {key: said[key] for key in _Made.__dataclass_fields__}, f"{path}: ")
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(
            f"{path} does not say how images were prepared ({error}); fetch the run again with `mobilebench models "
            "fetch`, or set normalize and eval_resize to what it was trained with"
        ) from None
    crop = Fraction(min(sides(made.resolution)), made.eval_resize)
    return Preprocessing(made.mean, made.std, made.resolution, crop, OURS)
