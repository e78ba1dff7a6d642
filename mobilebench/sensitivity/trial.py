"""One trial: train a cell's network under changed settings and read it on the validation images.

The loop is that of a cell (`execution.training_run`): a trial whose process was killed goes on where it was, and one
whose journal is finished is not trained again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.datasets.packing.packed import open_packed
from mobilebench.execution.grid import Deliver
from mobilebench.execution.model_file import with_wanted
from mobilebench.execution.network import build
from mobilebench.execution.training_run import TrainingRun
from mobilebench.runs.events import Finish
from mobilebench.runs.journal import Journal
from mobilebench.training import Split, TrainData, Trainer, checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.runtime import Runtime
    from mobilebench.config.suite import Cell
    from mobilebench.datasets.packing.packed import Packed
    from mobilebench.datasets.val_cut import ValCut
    from mobilebench.execution.training_run import Readings
    from mobilebench.runs.events import Start
    from mobilebench.search.studies import Pruning
    from mobilebench.training import EpochResult


@dataclass(frozen=True)
class TrialProgress:
    """A trial's message: an epoch is done."""

    label: str
    epoch: int
    epochs: int
    train_loss: float
    val_top1: float | None
    images_per_second: float


@dataclass(frozen=True)
class TrialOutcome:
    """The last epoch of a trial."""

    val_top1: float
    """Top-1 on the validation images, a fraction."""
    val_loss: float
    seconds: float
    pruned: bool = False
    """Whether the trial was given up before its last epoch."""


@dataclass(frozen=True)
class TrialJob:
    """One trial as data."""

    name: str
    cell: Cell
    recipe: Recipe
    runtime: Runtime
    packed: Path
    cut: ValCut
    folder: Path
    """Where its journal and checkpoint lie."""
    start: Start
    """The first event of its journal."""
    pruning: Pruning | None = None
    root: Path = Path()
    """The project folder."""

    def run(self, send: Callable[[object], None]) -> TrialOutcome:
        """Train the trial to its end and return its last epoch.

        Raises CellBusyError when another process has it, and whatever the network raises; the journal then ends with
        the reason.
        """
        trial = TrialRun(self, send)
        with trial.journal.locked():
            trial.train()
            finish = trial.journal.last(Finish)
            assert finish is not None
            assert finish.outcome is not None
            checkpoint.remove(trial.checkpoint)
            return TrialOutcome(**finish.outcome)


class TrialRun(TrainingRun):
    """The training of one trial."""

    def __init__(self, job: TrialJob, send: Callable[[object], None]) -> None:
        super().__init__(Journal(job.folder))
        self._job = job
        self._send = send
        self._judge = job.pruning.judge(job.recipe.total_epochs) if job.pruning else None

    def start_event(self) -> Start:
        """Return the job's first event."""
        return self._job.start

    def make_trainer(self) -> Trainer:
        """Return the trainer of the cell's network under the trial's recipe, without the test images."""
        job, packed = self._job, open_packed(self._job.packed)
        built = build(job.cell, len(packed.meta.classes), job.recipe, packed.meta.channels, job.root)
        data = with_wanted(probe_data(packed, job.cut), job.recipe.network_of(job.cell.model), job.recipe)
        return Trainer(built.network, data, job.recipe, job.cell.seed, job.runtime, head=built.head)

    def changed(self) -> None:
        """Have the journal delivered by the process that runs the trials."""
        self._send(Deliver())

    def epoch_done(self, result: EpochResult) -> None:
        """Show the epoch."""
        job = self._job
        self._send(
            TrialProgress(
                job.name,
                result.epoch,
                job.recipe.total_epochs,
                result.train_loss,
                result.val.get("top1"),
                result.images_per_second,
            )
        )

    def gives_up(self, result: EpochResult) -> bool:
        """Return whether the pruner sees no hope for the trial."""
        value = result.val.get("top1")
        return self._judge is not None and value is not None and self._judge(result.epoch, value)

    def finish_event(self, trainer: Trainer, epochs: dict[int, Readings]) -> Finish:
        """Return the readings of the epoch that counts as the trial's outcome."""
        counts = epochs[self.chosen_epoch(trainer)]
        seconds = sum(values["epoch_seconds"] for values in epochs.values())
        pruned = trainer.epoch < self._job.recipe.total_epochs
        outcome = TrialOutcome(counts["val_top1"], counts["val_loss"], seconds, pruned)
        return Finish(
            step=trainer.epoch,
            metrics={
                "final_val_top1": outcome.val_top1, "final_val_loss": outcome.val_loss, "train_seconds": seconds,
            },
            tags={"pruned": f"after epoch {trainer.epoch}"} if pruned else {},
            outcome=asdict(outcome),
        )  # fmt: skip

    def note(self, message: str) -> None:
        """Leave it: what is said of a trial is in its journal."""


def probe_data(packed: Packed, cut: ValCut) -> TrainData:
    """Return the data of a trial: what is learnt from and what is chosen on; test is not in it."""
    meta = packed.meta
    train, val = (Split(*packed.arrays(rows)) for rows in (cut.train, cut.val))
    return TrainData(train, val, None, meta.mean, meta.std, len(meta.classes), meta.hflip)
