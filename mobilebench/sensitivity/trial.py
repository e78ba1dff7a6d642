"""One trial: train a cell's network under changed settings and read it on the validation images.

Kept as a cell is: an epoch goes to the journal, then into the checkpoint. A trial whose process was killed goes on
where it was, and one whose journal is finished is not trained again.
"""

from __future__ import annotations

import os
import signal
import threading
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mobilebench.datasets.packing.packed import open_packed
from mobilebench.runs.journal import Journal
from mobilebench.training import Split, TrainData, Trainer, checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection
    from multiprocessing.queues import Queue
    from pathlib import Path

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.runtime import Runtime
    from mobilebench.config.suite import Cell
    from mobilebench.datasets.packing.packed import Packed
    from mobilebench.datasets.val_cut import ValCut
    from mobilebench.search.studies import Pruning
    from mobilebench.training import EpochResult


@dataclass(frozen=True)
class Job:
    """All a process needs to run one trial; `start` is the first event of its journal."""

    label: str
    cell: Cell
    recipe: Recipe
    runtime: Runtime
    packed: Path
    cut: ValCut
    folder: Path
    start: dict[str, Any]
    pruning: Pruning | None = None


@dataclass(frozen=True)
class Progress:
    """One finished epoch of a trial, for whoever watches."""

    label: str
    folder: Path
    epoch: int
    epochs: int
    train_loss: float
    val_top1: float | None
    images_per_second: float


@dataclass(frozen=True)
class Outcome:
    """The last epoch of a trial: top-1 and loss on the validation images; pruned if it was given up before that."""

    val_top1: float
    val_loss: float
    seconds: float
    pruned: bool = False


def probe_data(packed: Packed, cut: ValCut) -> TrainData:
    """Return the data of a trial: the place of the test split is taken by the validation images; test is not in it."""
    meta = packed.meta
    train, val = (Split(packed.images, packed.labels, rows) for rows in (cut.train, cut.val))
    return TrainData(train, val, meta.mean, meta.std, len(meta.classes), meta.hflip)


def run_trial(job: Job, watch: Callable[[Progress], None] | None = None) -> Outcome:
    """Train one trial to its end and return its last epoch.

    Raises CellBusyError when another process has it, and whatever the network raises; the journal then ends with the
    reason.
    """
    journal = Journal(job.folder)
    with journal.locked():
        finish = journal.last("finish")
        if finish is None:
            return _train(job, journal, watch or _tell)
        return Outcome(**finish["outcome"])


def _train(job: Job, journal: Journal, watch: Callable[[Progress], None]) -> Outcome:
    again = journal.last("start") is not None
    journal.append({"type": "resume", "time": _now()} if again else _start(job))
    try:
        return _epochs(job, journal, watch)
    except KeyboardInterrupt:
        journal.append({"type": "interrupt", "time": _now(), "tags": {"reason": "stopped by Ctrl-C"}})
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        journal.append({"type": "fail", "time": _now(), "tags": {"reason": reason[:5000]}})
        checkpoint.remove(_checkpoint(journal))
        raise


def _start(job: Job) -> dict[str, Any]:
    return job.start | {"time": _now(), "tags": job.start["tags"] | {"journal": uuid.uuid4().hex}}


def _epochs(job: Job, journal: Journal, watch: Callable[[Progress], None]) -> Outcome:
    from mobilebench.execution.cell_run import build

    packed = open_packed(job.packed)
    model = build(job.cell, len(packed.meta.classes), job.recipe)
    trainer = Trainer(model, probe_data(packed, job.cut), job.recipe, job.cell.seed, job.runtime)
    saved = checkpoint.load(_checkpoint(journal))
    if saved is not None:
        trainer.load_state_dict(saved)
    give_up = job.pruning.judge(job.recipe.epochs) if job.pruning else None
    for result in trainer.epochs():
        _keep(journal, trainer, result)
        watch(_progress(job, result))
        if give_up is not None and result.test_top1 is not None and give_up(result.epoch, result.test_top1):
            return _finish(journal, result.epoch, pruned=True)
    return _finish(journal, job.recipe.epochs)


def _keep(journal: Journal, trainer: Trainer, result: EpochResult) -> None:
    """Write an epoch down; the loop's `test` readings are of the validation images here, and are named so."""
    values = {
        "train_loss": result.train_loss,
        "lr": result.lr,
        "epoch_seconds": result.epoch_seconds,
        "val_loss": result.test_loss,
        "val_top1": result.test_top1,
    }
    metrics = {key: value for key, value in values.items() if value is not None}
    last = journal.last("epoch")
    if last is None or last["step"] < result.epoch:
        journal.append({"type": "epoch", "time": _now(), "step": result.epoch, "metrics": metrics})
    checkpoint.save(_checkpoint(journal), trainer.state_dict())


def _finish(journal: Journal, epoch: int, *, pruned: bool = False) -> Outcome:
    epochs = {event["step"]: event["metrics"] for event in journal.events() if event["type"] == "epoch"}
    last = epochs[epoch]
    seconds = sum(values["epoch_seconds"] for values in epochs.values())
    outcome = Outcome(last["val_top1"], last["val_loss"], seconds, pruned)
    metrics = {"final_val_top1": outcome.val_top1, "final_val_loss": outcome.val_loss, "train_seconds": seconds}
    tags = {"pruned": f"after epoch {epoch}"} if pruned else {}
    journal.append(
        {"type": "finish", "time": _now(), "step": epoch, "metrics": metrics, "tags": tags, "outcome": outcome.__dict__}
    )
    checkpoint.remove(_checkpoint(journal))
    return outcome


def _progress(job: Job, result: EpochResult) -> Progress:
    return Progress(
        job.label, job.folder, result.epoch, job.recipe.epochs, result.train_loss, result.test_top1,
        result.images_per_second,
    )  # fmt: skip


def _checkpoint(journal: Journal) -> Path:
    return journal.folder / "checkpoint.pt"


def _now() -> int:
    """The time as MLflow counts it."""
    return int(time.time() * 1000)


_queue: Queue[Progress] | None = None


def join(queue: Queue[Progress], alive: Connection) -> None:
    """Make this process a worker: it tells `queue` of its epochs and ends at once when `alive` is closed.

    The system closes it when the parent ends, however that happens, so that no orphan goes on training.
    """
    global _queue  # noqa: PLW0603 - one per worker process, set before its first trial
    _queue = queue
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to hear
    threading.Thread(target=_end_with, args=(alive,), daemon=True).start()


def _end_with(alive: Connection) -> None:
    alive.poll(None)
    os._exit(1)


def _tell(progress: Progress) -> None:
    if _queue is not None:
        _queue.put(progress)
