"""How long a cell trains, by the finished runs of its grid. Rough: several times off between networks that differ.

An estimate rests on the first of these that there is, of runs on a device like the one asked about, else of runs whose
device is unknown: the same model on the same dataset; the same model elsewhere, in proportion to images, pixels and
epochs; other models, in proportion to multiply-adds, images and epochs.
"""

from __future__ import annotations

import glob
import math
import platform
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from mobilebench.config.pixels import shown, sides
from mobilebench.config.protocol import epochs_of, recipe_hash
from mobilebench.datasets.packing.prepare import find
from mobilebench.datasets.status import state_of
from mobilebench.errors import UserError
from mobilebench.models.cost.cost_file import COSTS, read_training_costs
from mobilebench.runs.events import Finish, Start
from mobilebench.runs.journal import Journal, JournalError
from mobilebench.runs.records import read_result, result_path
from mobilebench.system.gpu import card_name
from mobilebench.system.layout import PACKED, RAW, RESULTS, STATE
from mobilebench.system.provenance import processor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.suite import Cell, Suite
    from mobilebench.datasets.status import DatasetState

Basis = Literal["trained", "same cell", "other dataset", "other models", "unknown"]
BASES: dict[Basis, str] = {
    "trained": "trained, and waits to be delivered",
    "same cell": "finished runs of the same model on the same dataset",
    "other dataset": "finished runs of the same model on other datasets, by images x pixels x epochs",
    "other models": "finished runs of other models, by multiply-adds x images x epochs",
    "unknown": "no finished run to go by",
}


@dataclass(frozen=True)
class Estimate:
    """How long a whole cell trains."""

    seconds: float | None
    """None where nothing is known to go by."""
    basis: Basis
    """What it rests on."""
    device_known: bool = False
    """Whether that was trained on a device like the one asked about; False where it is unknown which that was."""


@dataclass(frozen=True)
class _Work:
    """What a whole cell of a model on a dataset is, by what cells are compared with each other; None where unknown."""

    epochs: float
    pixels: float | None
    """Images x pixels x epochs."""
    macs: float | None
    """Multiply-adds x images x epochs."""


@dataclass(frozen=True)
class _Run:
    """A finished run."""

    model: str
    dataset: str
    seconds: float | None
    macs: int | None
    """Multiply-adds of one image."""
    device: str
    """"" where it is unknown."""


class Estimator:
    """What is known of a suite's cells from its finished ones, cost.csv and the datasets' sizes."""

    def __init__(self, suite: Suite, device: str, count: Callable[[str, Recipe], int | None] | None = None) -> None:
        """device: that to estimate for, as `device_here` says.

        count: returns the multiply-adds of one image of a model under a recipe, None where they cannot be had. It is
        asked where neither a run nor cost.csv has them.
        """
        self._suite, self._device, self._count = suite, device, count
        self._recipes: dict[tuple[str, str], Recipe] = {}
        self._works: dict[tuple[str, str], _Work] = {}
        self._estimates: dict[tuple[str, str], Estimate] = {}
        self._data: dict[str, DatasetState] = {}
        self._costs = {(cost.model, cost.resolution): cost for cost in read_training_costs(RESULTS / COSTS)}
        self._runs = list(self._finished())

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """Other devices, which runs were finished on that nothing is estimated by."""
        return tuple(sorted({run.device for run in self._runs} - {self._device, ""}))

    def recipe(self, model: str, dataset: str) -> Recipe:
        """Return the recipe of a model on a dataset."""
        key = model, dataset
        if key not in self._recipes:
            self._recipes[key] = self._suite.protocol.recipe_for(model, dataset)
        return self._recipes[key]

    def data(self, dataset: str) -> DatasetState:
        """Return what of a dataset is here."""
        if dataset not in self._data:
            self._data[dataset] = state_of(find(dataset, self._suite.data_sources), RAW, PACKED)
        return self._data[dataset]

    def macs(self, model: str, dataset: str) -> float | None:
        """Return the multiply-adds (forward) of all train images in all epochs of a cell, None where not known."""
        return self._work(model, dataset).macs

    def memory_bytes(self, model: str, dataset: str) -> int | None:
        """Return the estimated memory of training, fp32 with Adam; None where it was not profiled at this size."""
        recipe = self.recipe(model, dataset)
        cost = self._costs.get((model, shown(recipe.resolution)))
        return None if cost is None else cost.bytes_at(recipe.batch_size)

    def estimate(self, model: str, dataset: str) -> Estimate:
        """Return how long a whole cell of a model on a dataset trains."""
        key = model, dataset
        if key not in self._estimates:
            self._estimates[key] = self._find_estimate(model, dataset)
        return self._estimates[key]

    def _find_estimate(self, model: str, dataset: str) -> Estimate:
        own = self._work(model, dataset)
        for device in (self._device, ""):
            there = [run for run in self._runs if run.device == device]
            of_model = [run for run in there if run.model == model]
            ways: tuple[tuple[Basis, list[_Run], Callable[[_Work], float | None]], ...] = (
                ("same cell", [run for run in of_model if run.dataset == dataset], lambda work: work.epochs),
                ("other dataset", of_model, lambda work: work.pixels),
                ("other models", there, lambda work: work.macs),
            )
            for basis, runs, of in ways:
                works = [(run.seconds, of(self._work(run.model, run.dataset))) for run in runs]
                done = [(seconds, work) for seconds, work in works if seconds is not None and work]
                if done and (todo := of(own)):
                    rate = sum(seconds for seconds, _ in done) / sum(work for _, work in done)
                    return Estimate(rate * todo, basis, device_known=bool(device))
        return Estimate(None, "unknown")

    def _work(self, model: str, dataset: str) -> _Work:
        key = model, dataset
        if key not in self._works:
            recipe, images = self.recipe(model, dataset), self.data(dataset).images.get("train")
            epochs, macs = float(epochs_of(recipe)), self._macs_of_image(model, dataset)
            self._works[key] = _Work(
                epochs,
                None if images is None else images * math.prod(sides(recipe.resolution)) * epochs,
                None if images is None or macs is None else macs * images * epochs,
            )
        return self._works[key]

    def _macs_of_image(self, model: str, dataset: str) -> float | None:
        """Return the multiply-adds of one image: as a run counted them, as profiled, or counted now where that may be.

        Those of a run at another input size are taken in proportion to the pixels.
        """
        recipe = self.recipe(model, dataset)
        counted = {
            run.dataset: run.macs / math.prod(sides(self.recipe(model, run.dataset).resolution))
            for run in self._runs
            if run.model == model and run.macs
        }
        if counted:
            per_pixel = counted.get(dataset, next(iter(counted.values())))
            return per_pixel * math.prod(sides(recipe.resolution))
        if (cost := self._costs.get((model, shown(recipe.resolution)))) is not None:
            return float(cost.macs)
        return None if self._count is None else self._count(model, recipe)

    def _finished(self) -> Iterator[_Run]:
        """Yield the finished runs of the suite under its recipes of now, those that wait to be delivered among them.

        What cannot be read is left out: `status` says so.
        """
        hashes: dict[tuple[str, str], str] = {}
        for cell in self._suite.cells():
            key = cell.model, cell.dataset
            wanted = hashes[key] = hashes.get(key) or recipe_hash(self.recipe(*key))
            with suppress(UserError):
                record = read_result(result_path(RESULTS, cell))
                if record is not None and record.recipe_hash == wanted:
                    device = device_of(Journal(STATE / record.identity.name))
                    yield _Run(cell.model, cell.dataset, record.train_seconds, record.macs, device)
                    continue
                for path in STATE.glob(f"{glob.escape(cell.name)}-*/journal.jsonl"):
                    run = _run_of(Journal(path.parent), cell, wanted)
                    if run is not None:
                        yield run


def _run_of(journal: Journal, cell: Cell, recipe: str) -> _Run | None:
    """Return the finished run of a journal, None where it is not finished or of another recipe."""
    start, finish = journal.start, journal.last(Finish)
    if start is None or finish is None or start.tags.get("recipe_hash") != recipe:
        return None
    macs = finish.metrics.get("macs")
    seconds = finish.metrics.get("train_seconds")
    return _Run(cell.model, cell.dataset, seconds, None if macs is None else int(macs), device_of(journal))


def device_here(name: str) -> str:
    """Return the device that runtime.device `name` means on this machine, as `device_of` would say it of a run here."""
    kind, _, number = name.partition(":")
    if kind in {"auto", "cuda"} and (card := card_name(int(number or 0))):
        return card
    is_apple = platform.system() == "Darwin" and platform.machine() == "arm64"
    return f"mps, {processor()}" if name == "mps" or (name == "auto" and is_apple) else processor()


def device_of(journal: Journal) -> str:
    """Return the device that a finished run was trained on: its card's name, else the processor's and its cores.

    "" where its journal is not here or does not say.
    """
    try:
        events = journal.events()
    except JournalError:
        return ""
    said: dict[str, str] = {}
    for event in events:
        said |= event.tags if isinstance(event, Start | Finish) else {}
    if "gpu" in said:
        return said["gpu"]
    cpu = said.get("cpu", "") if "device" in said else ""
    return f"mps, {cpu}" if cpu and said["device"].startswith("mps") else cpu
