"""run_cell: the one place that joins data, model, training and tracking; what DVC, a cluster and a person all call.

Every step is safe to be killed after: an epoch goes into the checkpoint with its numbers, then into the journal, then
to the server. A cell that is called again goes on where it was, in the same MLflow run, and one that is finished is
left alone.
"""

from __future__ import annotations

import traceback
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from mobilebench import models, training
from mobilebench.datasets.packed import open_packed
from mobilebench.errors import UserError
from mobilebench.identity import identity, record_identity
from mobilebench.journal import Journal
from mobilebench.models.cost import static_cost
from mobilebench.paths import PACKED, RESULTS, STATE
from mobilebench.protocol import flatten
from mobilebench.provenance import environment
from mobilebench.records import read_result, result_path, write_result
from mobilebench.signals import undisturbed
from mobilebench.storage import StorageError, storing
from mobilebench.sync import deliver_whole
from mobilebench.tracking import Tracker, TrackingError
from mobilebench.training import Split, TrainData, Trainer, checkpoint
from mobilebench.training.rng import derived_seed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mobilebench.datasets.packed import Packed
    from mobilebench.suites import Cell, Suite
    from mobilebench.training import EpochResult
    from mobilebench.training.recipe import Recipe


Values = dict[str, float]


class CellFailedError(UserError):
    """A cell could not be trained; its run ended FAILED with the reason, other cells are not touched."""


class Listener(Protocol):
    """What wants to hear of progress: the command line's bars, a test, nobody."""

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
        """Hear that an epoch of a cell is done."""

    def note(self, cell: Cell, message: str) -> None:
        """Hear something a person should know about a cell."""


@dataclass(frozen=True)
class Bench:
    """What all cells of one dataset share, made once per process: the suite, the opened data and the tracker.

    tracker is None when working offline: everything then waits in the journals for `mobilebench sync`.
    """

    suite: Suite
    dataset: str
    packed: Packed
    tracker: Tracker | None
    listener: Listener
    results: Path = RESULTS
    state: Path = STATE

    def journal(self, cell: Cell) -> Journal:
        """Return the journal of a cell under this suite's protocol, this data and this code."""
        return Journal(self.state / f"{cell.name}-{self.identity(cell)}")

    def identity(self, cell: Cell) -> str:
        """Return the hex digest of all that gives the cell's accuracy its meaning: equal identity, equal result."""
        return identity(cell, self.suite.protocol.hash, self.packed.meta.digest)

    def is_finished(self, cell: Cell) -> bool:
        """Tell whether the cell's result file is there, readable and of this identity."""
        try:
            record = read_result(result_path(self.results, cell))
        except UserError as error:  # the run has all that the file had: it is written again, other cells go on
            self.listener.note(cell, f"{error}")
            return False
        return record is not None and self.identity(cell) == record_identity(record)


class Silent:
    """A listener that shows nothing."""

    def epoch(self, cell: Cell, result: EpochResult, epochs: int) -> None:
        """Show nothing."""

    def note(self, cell: Cell, message: str) -> None:
        """Show nothing."""


def open_bench(suite: Suite, dataset: str, tracker: Tracker | None, root: Path = Path()) -> Bench:
    """Return the bench of one dataset of the suite, its every pixel checked: seconds, before hours are spent on it.

    Raises UserError when its packed data is absent or damaged.
    """
    packed = open_packed(root / PACKED / dataset)
    packed.verify()
    return Bench(suite, dataset, packed, tracker, Silent(), root / RESULTS, root / STATE)


def run_cells(bench: Bench, cells: Iterable[Cell]) -> list[tuple[Cell, UserError]]:
    """Bring every cell to its end, one after the other, and return those that failed and why.

    Those that only the tracking server has not heard of are tried once more after the others.
    """
    failed = _run_each(bench, cells)
    undelivered = [cell for cell, error in failed if isinstance(error, TrackingError)]
    if undelivered:
        failed = [pair for pair in failed if pair[0] not in undelivered] + _run_each(bench, undelivered)
    if bench.tracker is not None and not bench.tracker.is_resting():
        bench.tracker.analyze()
    return failed


def _run_each(bench: Bench, cells: Iterable[Cell]) -> list[tuple[Cell, UserError]]:
    failed = []
    for cell in cells:
        try:
            run_cell(bench, cell)
        except UserError as error:
            bench.listener.note(cell, str(error))
            failed.append((cell, error))
    return failed


def run_cell(bench: Bench, cell: Cell) -> None:
    """Finish one cell, whatever was done of it before; nothing when its result is there.

    Raises CellFailedError when it cannot be trained, CellBusyError when another process has it, TrackingError when
    it is trained but the tracking server has not heard all of it, StorageError when the disk takes nothing.
    """
    journal = bench.journal(cell)
    if bench.is_finished(cell):
        checkpoint.remove(journal.folder / "checkpoint.pt")  # killed after the result was written
        return
    with journal.locked():
        journal.sweep()
        if _adopt(bench, cell, journal):
            return
        if journal.last("finish") is None:
            _train(bench, cell, journal)
        _deliver_and_record(bench, cell, journal)


def redo(bench: Bench, cell: Cell) -> None:
    """Forget a cell's result, so that the next run_cell trains it anew; its old run stays, marked as superseded.

    The wish is the first line of the new journal: killed before it is written, nothing was asked, and the old run is
    found again; killed after it, the old run is marked when that line is delivered, now or by `mobilebench sync`.
    """
    journal = bench.journal(cell)
    with journal.locked():
        with storing(bench.results):
            result_path(bench.results, cell).unlink(missing_ok=True)
        journal.clear()
        journal.append(_start_event(bench, cell) | {"redo": True})


def _adopt(bench: Bench, cell: Cell, journal: Journal) -> bool:
    """Take over a finished run that the server has and this folder lacks: trained elsewhere, or its file was lost."""
    start = journal.last("start")
    if bench.tracker is None or (start is not None and start.get("redo")):
        return False
    try:
        record = bench.tracker.finished(bench.suite.experiment, bench.identity(cell))
    except TrackingError as error:  # it was there when this process began: train, and tell it later
        bench.listener.note(cell, f"{error}")
        return False
    if record is None:
        return False
    write_result(bench.results, record)
    checkpoint.remove(journal.folder / "checkpoint.pt")
    bench.listener.note(cell, f"already finished on the tracking server (run {record.run_id})")
    return True


def _train(bench: Bench, cell: Cell, journal: Journal) -> None:
    recipe = bench.suite.protocol.recipe_for(cell.model, cell.dataset)
    if not journal.events():
        journal.append(_start_event(bench, cell))
    elif journal.events()[-1]["type"] != "start":
        journal.append({"type": "resume"})
    _deliver(bench, cell, journal)
    try:
        _train_epochs(bench, cell, journal, recipe)
    except KeyboardInterrupt:
        _end(bench, cell, journal, "interrupt", "stopped by Ctrl-C; the next call goes on after its last epoch")
        raise
    except StorageError as error:
        _end(bench, cell, journal, "fail", str(error))
        raise
    except Exception as error:  # whatever a network raises, its run ends FAILED and other cells go on
        reason = f"{type(error).__name__}: {error}"
        _end(bench, cell, journal, "fail", reason, traceback.format_exc())
        raise CellFailedError(f"{cell.name} failed: {reason}") from error


def _train_epochs(bench: Bench, cell: Cell, journal: Journal, recipe: Recipe) -> None:
    model = build(cell, len(bench.packed.meta.classes), recipe)
    cost = {key: float(value) for key, value in asdict(static_cost(model, recipe.resolution)).items()}
    trainer = Trainer(model, train_data(bench.packed), recipe, cell.seed, bench.suite.runtime)
    saved = checkpoint.load(journal.folder / "checkpoint.pt")
    if saved is not None:
        trainer.load_state_dict(saved)
        bench.listener.note(cell, f"goes on after epoch {trainer.epoch}")
    for decision in trainer.decisions:
        bench.listener.note(cell, decision)
    last = _told(saved, journal)
    for result in trainer.epochs():
        last = _keep_epoch(bench, cell, journal, trainer, result)
    _finish(bench, journal, trainer, cost, last)


def _end(bench: Bench, cell: Cell, journal: Journal, kind: str, reason: str, trace: str = "") -> None:
    """End the run without a result: its reason as a tag, its traceback as an artifact.

    On a full disk not even that may be written; then the reason is the message, and the next call goes on all the same.
    """
    try:
        with storing(journal.artifacts):
            if trace:
                journal.artifacts.mkdir(parents=True, exist_ok=True)
                (journal.artifacts / "traceback.txt").write_text(trace)
        journal.append({"type": kind, "tags": {"reason": reason[:5000]}})
    except StorageError as error:
        bench.listener.note(cell, f"its end ({reason}) could not be kept: {error}")
        return
    _deliver(bench, cell, journal)


def build(cell: Cell, num_classes: int, recipe: Recipe) -> torch.nn.Module:
    """Return the cell's network, freshly initialised from its seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(cell.seed, 0, "init"))
        return models.create(cell.model, num_classes, **recipe.model_options)


def train_data(packed: Packed) -> TrainData:
    """Return the packed dataset as the training loop wants it: rows to learn from, rows to read at the end."""

    def split(name: str) -> Split:
        return Split(packed.images, packed.labels, packed.rows(name))

    meta = packed.meta
    return TrainData(split("train"), split("test"), meta.mean, meta.std, len(meta.classes), meta.hflip)


def _start_event(bench: Bench, cell: Cell) -> dict[str, object]:
    suite, meta = bench.suite, bench.packed.meta
    recipe = suite.protocol.recipe_for(cell.model, cell.dataset)
    settings = {
        "model": cell.model,
        "dataset": cell.dataset,
        "seed": str(cell.seed),
        "suite": suite.suite,
        "protocol_hash": suite.protocol.hash,
        "data_digest": meta.digest,
        "code_version": str(training.VERSION),
    }
    return {
        "type": "start",
        "experiment": suite.experiment,
        "run_name": cell.name,
        "tags": settings
        | environment()
        | {
            "kind": "cell",
            "cell": cell.name,
            "identity": bench.identity(cell),
            "journal": uuid.uuid4().hex,
        },
        "params": {k: v for k, v in settings.items() if k in {"model", "dataset", "seed"}}
        | flatten(asdict(recipe))
        | {"num_classes": len(meta.classes)},
        "dataset": {
            "name": cell.dataset,
            "digest": meta.digest[:36],  # MLflow's limit; the whole digest is a tag
            "source": str(PACKED / cell.dataset),
            "profile": f'{{"train": {len(bench.packed.rows("train"))}, "test": {len(bench.packed.rows("test"))}}}',
        },
    }


def _keep_epoch(bench: Bench, cell: Cell, journal: Journal, trainer: Trainer, result: EpochResult) -> Values:
    """Keep one epoch and return its values. They are in the checkpoint too: weights and numbers cannot come apart."""
    values = {key: float(value) for key, value in asdict(result).items() if value is not None}
    with storing(journal.folder), undisturbed():
        checkpoint.save(journal.folder / "checkpoint.pt", trainer.state_dict() | {"result": values})
        _tell_epoch(journal, values)
    bench.listener.epoch(cell, result, trainer.recipe.epochs)
    _deliver(bench, cell, journal)
    return values


def _told(saved: dict[str, Any] | None, journal: Journal) -> Values:
    """Return the values of the checkpoint's epoch; the journal lacks them if the process was killed between the two."""
    if saved is None:
        return {}
    _tell_epoch(journal, saved["result"])
    return dict(saved["result"])


def _tell_epoch(journal: Journal, values: Values) -> None:
    step = int(values["epoch"])
    last = journal.last("epoch")
    if last is None or last["step"] < step:  # else: told before the checkpoint was damaged and the one before it used
        metrics = {key: value for key, value in values.items() if key != "epoch"}
        journal.append({"type": "epoch", "step": step, "metrics": metrics})


def _deliver(bench: Bench, cell: Cell, journal: Journal) -> None:
    """Tell the server what it has not heard; when it is away, training goes on and the journal keeps everything."""
    if bench.tracker is None or bench.tracker.is_resting():
        return
    try:
        bench.tracker.deliver(journal)
    except TrackingError as error:
        bench.listener.note(cell, f"kept for later: {error}")


def _finish(bench: Bench, journal: Journal, trainer: Trainer, cost: dict[str, float], last: Values) -> None:
    with storing(journal.artifacts):
        journal.artifacts.mkdir(exist_ok=True)
        checkpoint.save(journal.artifacts / "model.pt", trainer.model.state_dict())
    seconds = {e["step"]: e["metrics"]["epoch_seconds"] for e in journal.events() if e["type"] == "epoch"}
    metrics = cost | {
        "final_test_top1": last["test_top1"],
        "final_test_loss": last["test_loss"],
        "n_test": len(bench.packed.rows("test")),
        "train_seconds": sum(seconds.values()),
    }
    tags = {"device": str(trainer.device), "decisions": "; ".join(trainer.decisions)}
    journal.append({"type": "finish", "step": trainer.recipe.epochs, "metrics": metrics, "tags": tags})


def _deliver_and_record(bench: Bench, cell: Cell, journal: Journal) -> None:
    if bench.tracker is None:
        bench.listener.note(cell, "trained; waits for `mobilebench sync`")
        return
    record = deliver_whole(bench.tracker, journal)
    write_result(bench.results, record)
    checkpoint.remove(journal.folder / "checkpoint.pt")  # the weights are an artifact of the run now
