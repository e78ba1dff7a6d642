"""run_cell: the one place that joins data, model, training and tracking; what DVC, a cluster and a person all call.

Every step is safe to be killed after: an epoch goes into the checkpoint with its numbers, then into the journal, then
to the server. A cell that is called again goes on where it was, in the same MLflow run, and one that is finished is
left alone.
"""

from __future__ import annotations

import traceback
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from mobilebench import models
from mobilebench.errors import TrackingError, UserError
from mobilebench.execution.context import NullListener, ProgressListener, RunContext, open_context
from mobilebench.execution.delivery import deliver_finished
from mobilebench.execution.describe import start_event
from mobilebench.models.checks import check
from mobilebench.models.cost.counts import deployed_cost, static_cost, weight_bytes
from mobilebench.runs.journal import Delivery
from mobilebench.runs.records import result_path, write_result
from mobilebench.system.disk import StorageError, disk_errors
from mobilebench.system.energy import Meter
from mobilebench.system.provenance import device_tags, write_files
from mobilebench.system.signals import deferred_signals
from mobilebench.training import Split, TrainData, Trainer, checkpoint
from mobilebench.training.rng import derived_seed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.suite import Cell
    from mobilebench.datasets.packing.packed import Packed
    from mobilebench.runs.journal import Journal
    from mobilebench.runs.records import Record
    from mobilebench.training import EpochResult


Values = dict[str, float]


__all__ = [
    "CellFailedError",
    "NullListener",
    "ProgressListener",
    "RunContext",
    "build",
    "deliver",
    "deliver_and_record",
    "open_context",
    "redo",
    "run_cell",
    "run_cells",
    "settle",
    "train_data",
    "train_only",
]  # fmt: skip


class CellFailedError(UserError):
    """A cell could not be trained; its run ended FAILED with the reason, other cells are not touched."""


def run_cells(context: RunContext, cells: Iterable[Cell]) -> list[tuple[Cell, UserError]]:
    """Bring every cell to its end, `runtime.cells_per_device` at a time, and return those that failed and why.

    Those that only the tracking server has not heard of are tried once more after the others.
    """
    cells = list(cells)
    workers = context.suite.runtime.workers(len(cells))
    if workers > 1:
        from mobilebench.execution.workers import run_side_by_side  # it imports this module

        failed = run_side_by_side(context, cells, workers)
    else:
        failed = _run_each(context, cells)
    undelivered = [cell for cell, error in failed if isinstance(error, TrackingError)]
    if undelivered:
        failed = [pair for pair in failed if pair[0] not in undelivered] + _run_each(context, undelivered)
    if context.tracker is not None and not context.tracker.is_backing_off():
        with suppress(TrackingError):  # only speed is lost; what matters was said cell by cell
            context.tracker.analyze()
    return failed


def _run_each(context: RunContext, cells: Iterable[Cell]) -> list[tuple[Cell, UserError]]:
    failed = []
    for cell in cells:
        try:
            run_cell(context, cell)
        except UserError as error:
            context.listener.note(cell, str(error))
            failed.append((cell, error))
    return failed


def run_cell(context: RunContext, cell: Cell) -> None:
    """Finish one cell, whatever was done of it before; nothing when its result is there.

    Raises CellFailedError when it cannot be trained, CellBusyError when another process has it, TrackingError when
    it is trained but the tracking server has not heard all of it, StorageError when the disk takes nothing.
    """
    journal = context.journal(cell)
    if context.is_finished(cell):
        checkpoint.remove(journal.folder / "checkpoint.pt")  # killed after the result was written
        return
    with journal.locked():
        if _settle(context, cell, journal):
            return
        _train_if_needed(context, cell, journal)
        deliver_and_record(context, cell, journal)


def train_only(context: RunContext, cell: Cell) -> None:
    """Train a cell to its end and leave the telling to another process; raises what run_cell raises."""
    journal = context.journal(cell)
    with journal.locked():
        _train_if_needed(context, cell, journal)


def settle(context: RunContext, cell: Cell) -> bool:
    """Take over the cell's finished run if the tracking server has one, else make its journal this experiment's.

    Tell whether the server had it.
    """
    journal = context.journal(cell)
    with journal.locked():
        return _settle(context, cell, journal)


def _settle(context: RunContext, cell: Cell, journal: Journal) -> bool:
    adopted = _adopt(context, cell, journal)
    if journal.is_of_other(context.suite.experiment):
        journal.move(context.suite.experiment)
        if adopted is None:
            context.listener.note(
                cell, f"of another experiment until now; goes to {context.suite.experiment!r} as it is"
            )
        elif context.tracker is not None:
            journal.delivery = Delivery(adopted.run_id, len(journal.events()), context.tracker.store)
    return adopted is not None


def redo(context: RunContext, cell: Cell) -> None:
    """Forget a cell's result, so that the next run_cell trains it anew; its old run stays, marked as superseded.

    The wish is the first line of the new journal: killed before it is written, nothing was asked, and the old run is
    found again; killed after it, the old run is marked when that line is delivered, now or by `mobilebench sync`.
    """
    journal = context.journal(cell)
    with journal.locked():
        with disk_errors(context.results):
            result_path(context.results, cell).unlink(missing_ok=True)
        journal.clear()
        journal.append(start_event(context, cell) | {"redo": True})


def _adopt(context: RunContext, cell: Cell, journal: Journal) -> Record | None:
    """Take over a finished run that the server has and this folder lacks: trained elsewhere, or its file was lost."""
    start = journal.last("start")
    if context.tracker is None or (start is not None and start.get("redo")):
        return None
    try:
        record = context.tracker.finished(context.suite.experiment, context.identity(cell))
    except TrackingError as error:  # it was there when this process began: train, and tell it later
        context.listener.note(cell, f"{error}")
        return None
    if record is None:
        return None
    write_result(context.results, record)
    checkpoint.remove(journal.folder / "checkpoint.pt")
    context.listener.note(cell, f"already finished on the tracking server (run {record.run_id})")
    return record


def _train_if_needed(context: RunContext, cell: Cell, journal: Journal) -> None:
    journal.sweep()
    if journal.last("finish") is None:
        _train(context, cell, journal)


def _train(context: RunContext, cell: Cell, journal: Journal) -> None:
    recipe = context.suite.protocol.recipe_for(cell.model, cell.dataset)
    if not journal.events():
        journal.append(start_event(context, cell))
    elif journal.events()[-1]["type"] != "start":
        journal.append({"type": "resume"})
    deliver(context, cell, journal)
    with disk_errors(journal.artifacts):
        write_files(journal.artifacts, asdict(context.suite))
    try:
        _train_epochs(context, cell, journal, recipe)
    except KeyboardInterrupt:
        _end(context, cell, journal, "interrupt", "stopped by Ctrl-C; the next call goes on after its last epoch")
        raise
    except StorageError as error:
        _end(context, cell, journal, "fail", str(error))
        raise
    except Exception as error:  # whatever a network raises, its run ends FAILED and other cells go on
        reason = f"{type(error).__name__}: {error}"
        _end(context, cell, journal, "fail", reason, traceback.format_exc())
        raise CellFailedError(f"{cell.name} failed: {reason}") from error


def _train_epochs(context: RunContext, cell: Cell, journal: Journal, recipe: Recipe) -> None:
    model = build(cell, len(context.packed.meta.classes), recipe)
    if cell.model not in models.MODELS:  # the registry's own are held to this by the tests
        for warning in check(model, len(context.packed.meta.classes), recipe.resolution):
            context.listener.note(cell, warning)
    trainer = Trainer(model, train_data(context.packed), recipe, cell.seed, context.suite.runtime)
    cost = count(model, recipe.resolution)  # now with the threads that the runtime allows
    saved = checkpoint.load(journal.folder / "checkpoint.pt")
    if saved is not None:
        trainer.load_state_dict(saved)
        context.listener.note(cell, f"goes on after epoch {trainer.epoch}")
    for decision in trainer.decisions:
        context.listener.note(cell, decision)
    last = _told(saved, journal)
    meter = Meter()
    for result in trainer.epochs():
        last = _keep_epoch(context, cell, journal, trainer, result, meter.lap())
    _finish(context, journal, trainer, cost, last)


def _end(context: RunContext, cell: Cell, journal: Journal, kind: str, reason: str, trace: str = "") -> None:
    """End the run without a result: its reason as a tag, its traceback as an artifact.

    On a full disk not even that may be written; then the reason is the message, and the next call goes on all the same.
    """
    try:
        with disk_errors(journal.artifacts):
            if trace:
                journal.artifacts.mkdir(parents=True, exist_ok=True)
                (journal.artifacts / "traceback.txt").write_text(trace)
        journal.append({"type": kind, "tags": {"reason": reason[:5000]}})
    except StorageError as error:
        context.listener.note(cell, f"its end ({reason}) could not be kept: {error}")
        return
    deliver(context, cell, journal)


def build(cell: Cell, num_classes: int, recipe: Recipe) -> torch.nn.Module:
    """Return the cell's network, freshly initialised from its seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(cell.seed, 0, "init"))
        return models.create(cell.model, num_classes, **recipe.model_options)


def count(model: torch.nn.Module, resolution: int) -> Values:
    """Return the network's cost at the cell's class count and resolution, as trained and, if it folds, as deployed."""
    counted = asdict(static_cost(model, resolution)) | {"weight_bytes": weight_bytes(model)}
    folded = deployed_cost(model, resolution)
    if folded is not None:
        counted |= {"deployed_params": folded.params, "deployed_macs": folded.macs}
    return {key: float(value) for key, value in counted.items()}


def train_data(packed: Packed) -> TrainData:
    """Return the packed dataset as the training loop wants it: rows to learn from, rows to read at the end."""

    def split(name: str) -> Split:
        return Split(packed.images, packed.labels, packed.rows(name))

    meta = packed.meta
    return TrainData(split("train"), split("test"), meta.mean, meta.std, len(meta.classes), meta.hflip)


def _keep_epoch(
    context: RunContext, cell: Cell, journal: Journal, trainer: Trainer, result: EpochResult, joules: float | None
) -> Values:
    """Keep one epoch and return its values. They are in the checkpoint too: weights and numbers cannot come apart."""
    known = asdict(result) | {"energy_joules": joules}
    values = {key: float(value) for key, value in known.items() if value is not None}
    with disk_errors(journal.folder), deferred_signals():
        checkpoint.save(journal.folder / "checkpoint.pt", trainer.state_dict() | {"result": values})
        _tell_epoch(journal, values)
    context.listener.epoch(cell, result, trainer.recipe.epochs)
    deliver(context, cell, journal)
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


def deliver(context: RunContext, cell: Cell, journal: Journal) -> None:
    """Tell the server what it has not heard; when it is away, training goes on and the journal keeps everything."""
    if context.tracker is None or context.tracker.is_backing_off():
        return
    try:
        context.tracker.deliver(journal)
    except TrackingError as error:
        context.listener.note(cell, f"kept for later: {error}")


def _finish(context: RunContext, journal: Journal, trainer: Trainer, cost: dict[str, float], last: Values) -> None:
    with disk_errors(journal.artifacts):
        journal.artifacts.mkdir(exist_ok=True)
        checkpoint.save(journal.artifacts / "model.pt", trainer.model.state_dict())
    epochs = {event["step"]: event["metrics"] for event in journal.events() if event["type"] == "epoch"}
    metrics = cost | {
        "final_test_top1": last["test_top1"],
        "final_test_loss": last["test_loss"],
        "n_test": len(context.packed.rows("test")),
        "train_seconds": sum(values["epoch_seconds"] for values in epochs.values()),
    }
    if all("energy_joules" in values for values in epochs.values()):
        metrics["train_energy_joules"] = sum(values["energy_joules"] for values in epochs.values())
    tags = device_tags(trainer.device) | {"decisions": "; ".join(trainer.decisions), "energy_source": Meter().source}
    journal.append({"type": "finish", "step": trainer.recipe.epochs, "metrics": metrics, "tags": tags})


def deliver_and_record(context: RunContext, cell: Cell, journal: Journal) -> None:
    """Tell the server the rest of a finished journal and write the cell's result file; raises TrackingError."""
    if context.tracker is None:
        context.listener.note(cell, "trained; waits for `mobilebench sync`")
        return
    record = deliver_finished(context.tracker, journal)
    write_result(context.results, record)
    checkpoint.remove(journal.folder / "checkpoint.pt")  # the weights are an artifact of the run now
