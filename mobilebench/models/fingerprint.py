"""The fingerprint of a network: what it is, in so far as it can change a result. Equal networks train alike.

It covers the order, names, shapes and types of parameters and buffers, the tree of modules with their settings, the
code (`models.source`), and for networks from outside the package and its version. Initial values are not in it: they
follow from code and seed, and differ between processors in their last bits.

A fingerprint needs the network, and so torch. It is kept in a file per network, with the state of the code that it was
taken of, so that whoever only asks whether a cell is finished builds no network.

A metric from outside that chooses the epoch has one too: its code decides which weights are kept.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import sys
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench import models
from mobilebench.config.parsing import digest
from mobilebench.evaluation.metrics import get_metric, origin_of
from mobilebench.models.source import Place, source_digest
from mobilebench.system.files import write_cache
from mobilebench.system.layout import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from torch import nn

    from mobilebench.models.spec import ModelSpec

_log = logging.getLogger(__name__)
# Their code is named by their versions, which every run records; a score of several versions says so.
LIBRARIES = ("torch", "torchvision", "timm")
OWN = "mobilebench.models"
UNBUILT = "unbuilt"


def fingerprint(model_id: str, network: nn.Module) -> str:
    """Return the hex digest of a network that was just built by `models.create(model_id, ...)`."""
    return _fingerprint(models.get(model_id), network)[0]


@cache
def metric_fingerprint(name: str) -> str:
    """Return the hex digest of a metric from outside: its package, its code, and what files its code may read.

    "" for a packaged metric, whose code a version of mobilebench fixes. Within a process the answer stays the same.
    Raises MetricError for an unknown one.
    """
    origin = origin_of(name)
    if origin is None:
        return ""
    module, _, attribute = origin[0].partition(":")
    root = Place(module, attribute.partition(".")[0])
    source, packages = source_digest([root], [module.partition(".")[0]])
    metric = get_metric(name)
    return digest(
        {
            "package": origin[1],
            "attribute": origin[0],
            "bounds": [repr(bound) for bound in metric.bounds],
            "higher_is_better": metric.higher_is_better,
            "source": source,
            "files": [_data_files(package) for package in packages],
        }
    )


def known_fingerprint(model_id: str, num_classes: int, options: Mapping[str, object], folder: Path) -> str:
    """Return the fingerprint of a model as it would be built now, from `folder` where that has it.

    Where it has not, the network is built and the answer kept there. One that cannot be built has the fingerprint
    UNBUILT: its cell fails with the reason when it is trained, and no other cell does. Within a process the answer
    stays the same.
    """
    return _known(model_id, num_classes, json.dumps(options, sort_keys=True), folder.absolute())


@cache
def _known(model_id: str, num_classes: int, options: str, folder: Path) -> str:
    path = folder / f"{digest([model_id, num_classes, options])}.json"
    kept = _read(path)
    try:
        if kept is not None and kept.state == _state(models.get(model_id), kept.packages):
            return kept.fingerprint
        return _take(model_id, num_classes, options, path)
    except Exception as error:  # noqa: BLE001 - whatever a network raises; its package may be gone
        _log.info("%s cannot be built: %s", model_id, error)
        return UNBUILT


@dataclass(frozen=True)
class _Kept:
    """A line of the folder: the fingerprint, and of which state of which packages it was taken."""

    model: str
    fingerprint: str
    packages: tuple[str, ...]
    state: str


def _read(path: Path) -> _Kept | None:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return _Kept(data["model"], data["fingerprint"], tuple(data["packages"]), data["state"])
    except (OSError, ValueError, KeyError, TypeError):  # absent, or cut short: it is taken again
        return None


def _take(model_id: str, num_classes: int, options: str, path: Path) -> str:
    import torch

    spec = models.get(model_id)
    with torch.random.fork_rng(devices=[]):
        network = models.create(model_id, num_classes, **json.loads(options))
    found, packages = _fingerprint(spec, network)
    state = _state(spec, packages)
    kept = {"model": model_id, "fingerprint": found, "packages": packages, "state": state}
    write_cache(path, json.dumps(kept, indent=1) + "\n")
    return found


def _fingerprint(spec: ModelSpec, network: nn.Module) -> tuple[str, tuple[str, ...]]:
    """Return the fingerprint, and the packages whose files it was taken of."""
    classes = {type(module) for module in network.modules()}
    roots = [Place(kind.__module__, kind.__qualname__.partition(".")[0]) for kind in classes]
    roots += [Place(*spec.source)] if spec.source else []
    source, packages = source_digest(roots, _packages(spec, network))
    found = digest(
        {
            "package": spec.package,
            "modules": [
                [name, type(module).__qualname__, module.extra_repr()] for name, module in network.named_modules()
            ],
            "parameters": [
                [name, list(p.shape), str(p.dtype), p.requires_grad] for name, p in network.named_parameters()
            ],
            "buffers": [[name, list(b.shape), str(b.dtype)] for name, b in network.named_buffers()],
            "source": source,
            "files": [_data_files(name) for name in packages if name != OWN],
        }
    )
    return found, packages


def _packages(spec: ModelSpec, network: nn.Module) -> tuple[str, ...]:
    """Return the packages whose code makes the network what it is, the libraries left out."""
    if spec.is_packaged and spec.source and spec.source[0].startswith(OWN):
        return (OWN,)
    modules = [type(module).__module__ for module in network.modules()] + ([spec.source[0]] if spec.source else [])
    tops = {OWN if name.startswith(f"{OWN}.") else name.partition(".")[0] for name in modules}
    return tuple(sorted(tops - {*LIBRARIES, "mobilebench"}))


def _state(spec: ModelSpec, packages: Iterable[str]) -> str:
    """Return a digest of what a fingerprint is taken of: files by name, size and time, versions, the entry point."""
    versions = {name: metadata.version(name) for name in LIBRARIES}
    files = {name: _files(name) for name in packages}
    return digest([versions, sys.version_info[:2], spec.package, spec.source, files])


def _data_files(package: str) -> list[tuple[str, str]]:
    """Return the other files of a package by name and content: settings, tables or weights that its code may read."""
    paths = [Path(name) for name, _, _ in _files(package)]
    kept = [path for path in paths if path.suffix not in {".py", ".pyc", ".md", ".rst", ".log", ".ipynb"}]
    return sorted((path.name, hashlib.sha256(path.read_bytes()).hexdigest()) for path in kept)


def _files(package: str) -> list[tuple[str, int, int]]:
    try:
        found = importlib.util.find_spec(package)
    except (ImportError, ValueError):
        return []
    if found is None:
        return []
    folders = [Path(folder) for folder in found.submodule_search_locations or ()]
    files = [path for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts]
    files += [Path(found.origin)] if not folders and found.origin else []
    stats = [(path, path.stat()) for path in files if path.is_file()]
    return sorted((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in stats)


def code_digest(model_id: str, folder: Path = NETWORKS) -> str:
    """Return a hex digest of the code of a model from outside, by content, without building it; "" for a packaged one.

    Coarser than the fingerprint, whose network needs to be built with the classes of its data: a pipeline asks by it
    whether there may be something to train. It covers every file of the model's package, and of the other packages
    that `folder` knows its network to be made of.
    """
    spec = models.get(model_id)
    if spec.is_packaged:
        return ""
    kept = [known for path in folder.glob("*.json") if (known := _read(path)) is not None and known.model == model_id]
    packages = {name for known in kept for name in known.packages if name != OWN}
    packages |= {spec.source[0].partition(".")[0]} if spec.source else set()
    files = [Path(name) for package in sorted(packages) for name, _, _ in _files(package)]
    return digest([spec.package, spec.source, [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]])
