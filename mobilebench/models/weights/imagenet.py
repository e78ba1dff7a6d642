"""ImageNet top-1 of pretrained weights, with where it is published. Nothing is fetched, and nothing guessed.

torchvision says it of its own weights, and so of those of timm's that are the same files under another name. timm's
package holds no results: `timm_imagenet.csv` has those of common small networks and of the suites here, from timm's
repository (results/results-imagenet.csv at commit 0173a139, each at the test size and crop of its row there). A file of
the user's may say it of any model; timm's own table is such a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilebench.errors import UserError
from mobilebench.models.names import FILE, PACKAGE, RUN, TIMM, TORCHVISION, split
from mobilebench.models.spec import ModelError
from mobilebench.models.weights.files import timm_config, torchvision_weights
from mobilebench.system.files import read_csv

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mobilebench.config.suite import Suite

COLUMNS = ("model", "top1")
IMAGENET = "imagenet.csv"  # in a results folder, what a user knows of models


@dataclass(frozen=True)
class ImageNetTop1:
    """What weights reach on the validation set of ImageNet-1k, as published with them."""

    percent: float
    """Top-1 in percent, at the size and crop of the publication."""
    source: str
    """Where it is published, for a person."""


def imagenet_top1(model_id: str) -> ImageNetTop1 | None:
    """Return the published ImageNet top-1 of the weights that an id names; None where no installed package says it.

    Raises `ModelError` for an id of no form there is, and for an unknown name or tag.
    """
    network, tag = split(model_id)
    if not tag or tag.startswith((FILE, PACKAGE, RUN)):
        return None
    name = network.partition(":")[2]
    if network.startswith(TORCHVISION):
        return _of_torchvision(name, tag)
    return _of_timm(name, tag) if network.startswith(TIMM) else None


def _of_timm(name: str, tag: str) -> ImageNetTop1 | None:
    if twin := _by_address().get(timm_config(name, tag).url or ""):
        return _of_torchvision(*twin)
    known = _of_timms_table().get(f"{name}.{tag}")
    return ImageNetTop1(known.percent, f"timm, results-imagenet.csv, {name}.{tag}") if known else None


@cache
def _of_timms_table() -> Mapping[str, ImageNetTop1]:
    return read_imagenet(Path(__file__).parent / "timm_imagenet.csv")


def _of_torchvision(name: str, tag: str) -> ImageNetTop1 | None:
    percent = _percent(torchvision_weights(name, tag))
    return None if percent is None else ImageNetTop1(percent, f"torchvision, {name} {tag}")


def _percent(weights: Any) -> float | None:
    found = weights.meta.get("_metrics", {}).get("ImageNet-1K", {}).get("acc@1")
    return None if found is None else float(found)


@cache
def _by_address() -> dict[str, tuple[str, str]]:
    """Return {address of a file of weights: torchvision's (name, tag)} of all classifiers that torchvision has."""
    from torchvision import models

    return {
        weights.url: (name, weights.name)
        for name in models.list_models()
        for weights in models.get_model_weights(name)
        if _percent(weights) is not None
    }


def read_imagenet(path: Path) -> dict[str, ImageNetTop1]:
    """Return {model: its ImageNet top-1} of a CSV with the columns model and top1, in percent.

    Raises UserError for an absent file or column, a model given twice, a value that is no number in (0, 100], and a
    file of fractions.
    """
    found: dict[str, ImageNetTop1] = {}
    for line, row in enumerate(read_csv(path, COLUMNS).to_dict("records"), start=2):
        model = str(row["model"])
        if model in found:
            raise UserError(f"{path}, line {line}: {model} is there twice; keep one of them")
        found[model] = ImageNetTop1(_number(row["top1"], f"{path}, line {line}: {model}"), path.name)
    if found and max(each.percent for each in found.values()) <= 1:
        raise UserError(f"{path}: every top1 is at most 1; expected percent, as 76.13, not 0.7613")
    return found


def _number(value: object, place: str) -> float:
    try:
        percent = float(str(value))
    except ValueError:
        percent = 0.0
    if not 0 < percent <= 100:
        raise UserError(f"{place} has the top1 {value!r}; expected percent, as 76.13")
    return percent


def networks_of(suite: Suite) -> dict[str, str]:
    """Return {model: id with weights} of a suite's models that start from the same weights on each of its datasets."""
    found = {}
    for model in suite.models:
        recipes = [suite.protocol.recipe_for(model, dataset) for dataset in suite.datasets]
        ids = {recipe.network_of(model) if recipe.pretrained else "" for recipe in recipes}
        if len(ids) == 1 and (model_id := ids.pop()):
            found[model] = model_id
    return found


def imagenet_of(networks: Mapping[str, str], folder: Path | None = None) -> dict[str, ImageNetTop1]:
    """Return {model: its ImageNet top-1} of {model: id with weights}; models of which it is unknown are not in it.

    folder: a results folder, whose `imagenet.csv` wins and may name further models. It calls models as the suite does,
    by the id with weights, or as timm's own table does, without `timm:`. Raises UserError for a wrong file.
    """
    own = read_imagenet(folder / IMAGENET) if folder and (folder / IMAGENET).is_file() else {}
    found = {}
    for model, model_id in networks.items():
        names = (model, model_id, model_id.removeprefix(TIMM))
        try:
            known = next((own[name] for name in names if name in own), None) or imagenet_top1(model_id)
        except (ModelError, ImportError):  # a name the installed version lacks; a machine that only shows results
            known = None
        if known:
            found[model] = known
    return own | found
