"""One training that survives anything: the per-epoch loop of cells and of trials.

Every step is safe to be killed after. An epoch goes into the checkpoint together with its readings, then into the
journal, then to whoever listens. A training that is called again goes on after its last epoch, in the same journal.

Where an epoch is chosen on validation images, the choice is a function of the journal's readings alone. The chosen
weights lie in a file of their own, written before the epoch is kept and removed after a better one is.
"""

from __future__ import annotations

import math
import traceback
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from mobilebench.evaluation.selection import Choice, judge
from mobilebench.runs.events import Epoch, Fail, Finish, Interrupt, Resume, Start, reason_tags
from mobilebench.system.disk import StorageError, disk_errors
from mobilebench.system.energy import meter_of
from mobilebench.system.signals import deferred_signals
from mobilebench.training import checkpoint
from mobilebench.training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mobilebench.runs.journal import Journal
    from mobilebench.training import EpochResult, Trainer

Readings = dict[str, float]


class TrainingRun(ABC):
    """A training with its journal and checkpoint. Subclasses say what is trained and what is kept of it."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal

    @property
    def checkpoint(self) -> Path:
        """Where the newest checkpoint lies."""
        return self.journal.folder / "checkpoint.pt"

    def begin(self) -> None:
        """Write that the run begins, or goes on."""
        events = self.journal.events()
        if not events:
            self.journal.append(self.start_event())
        elif not isinstance(events[-1], Start | Resume):
            self.journal.append(Resume())
        self.changed()

    def train(self) -> None:
        """Bring the training to the end of its journal; nothing when it is there. The caller holds the journal's lock.

        Whatever stops it, the journal says so: KeyboardInterrupt, StorageError and what the network raises are passed
        on after the run is ended as interrupted or failed.
        """
        self.journal.sweep()
        if self.journal.last(Finish) is not None:
            return
        self.begin()
        try:
            self._train_epochs()
        except KeyboardInterrupt:
            self._end(Interrupt(tags=reason_tags("stopped by Ctrl-C; the next call goes on after its last epoch")))
            raise
        except StorageError as error:
            self._end(Fail(tags=reason_tags(str(error))))
            raise
        except Exception as error:  # whatever a network raises, its run ends as failed and others go on
            self._end(Fail(tags=reason_tags(f"{type(error).__name__}: {error}")), traceback.format_exc())
            raise

    def _train_epochs(self) -> None:
        trainer = self.make_trainer()
        self._restore(trainer)
        meter = meter_of(trainer.device)
        epochs = trainer.epochs()
        while not self._choice(trainer).stop and (result := next(epochs, None)) is not None:
            self._keep(trainer, result, meter.lap())
            self.epoch_done(result)
            self.changed()
            if self.gives_up(result):
                break
        self.journal.append(self.finish_event(trainer, self._epochs()))
        self._forget_weights(keep=None)

    def _choice(self, trainer: Trainer, newest: Mapping[int, Readings] | None = None) -> Choice:
        """Return which epoch of the journal, and of `newest` where it lacks that, is to be kept, if one is chosen."""
        rule = trainer.recipe.best_val
        if rule is None:
            return Choice(None, stop=False)
        epochs = {**(newest or {}), **self._epochs()}
        # A metric that is undefined for an epoch's predictions has no reading there, and the epoch is not chosen.
        return judge([epochs[epoch].get(f"val_{rule.metric}", math.nan) for epoch in sorted(epochs)], rule)

    def chosen_epoch(self, trainer: Trainer) -> int:
        """Return the epoch that counts: the best on val so far, or the last where none is chosen.

        Raises TrainingError where none can be chosen.
        """
        rule = trainer.recipe.best_val
        if rule is None:
            return trainer.epoch
        keep = self._choice(trainer).keep
        if keep is None:
            raise TrainingError(
                f"no epoch can be chosen: {rule.metric} is undefined for the validation images in each that may be. "
                "Choose by another metric (selection.best_val.metric) or hold out more images (data.val_fraction)"
            )
        return keep

    def load_chosen(self, trainer: Trainer) -> int:
        """Give the network the weights of the epoch that counts and return the epoch.

        Raises TrainingError where they are gone or damaged, or no epoch could be chosen.
        """
        keep = self.chosen_epoch(trainer)
        if trainer.recipe.best_val is None:
            return keep
        weights = checkpoint.load(self._weights(keep))
        if weights is None:
            raise TrainingError(
                f"the weights of epoch {keep}, the best on val, are gone from {self.journal.folder}; train the cell "
                "anew with --redo"
            )
        trainer.load_weights(weights)
        return keep

    def _weights(self, epoch: int) -> Path:
        return self.journal.folder / f"chosen-{epoch}.pt"

    def _forget_weights(self, keep: int | None) -> None:
        for path in self.journal.folder.glob("chosen-*"):
            if keep is None or not path.name.startswith(self._weights(keep).name):
                path.unlink(missing_ok=True)

    def _restore(self, trainer: Trainer) -> None:
        """Load the checkpoint, if there is one.

        A process that was killed between checkpoint and journal left an epoch that the journal lacks: it is added.
        """
        saved = checkpoint.load(self.checkpoint)
        if saved is None:
            return
        trainer.load_state_dict(saved)
        self.note(f"goes on after epoch {trainer.epoch}")
        readings = dict(saved.get("result") or self._epochs()[trainer.epoch])
        self._append(trainer.epoch, readings)

    def _keep(self, trainer: Trainer, result: EpochResult, joules: float | None) -> None:
        """Keep one epoch. Its readings are in the checkpoint too: the two cannot come apart."""
        readings = result.readings() | ({} if joules is None else {"energy_joules": joules})
        with disk_errors(self.journal.folder), deferred_signals():
            keep = self._choice(trainer, {result.epoch: readings}).keep
            # An epoch that the journal has is trained again after the newest checkpoint was damaged: where that is not
            # bit for bit the same, the first time counts.
            if keep == result.epoch and not self._has(result.epoch):
                checkpoint.save(self._weights(keep), trainer.model.state_dict())
            checkpoint.save(self.checkpoint, trainer.state_dict() | {"result": readings})
            self._append(result.epoch, readings)
            if keep is not None:
                self._forget_weights(keep)

    def _append(self, epoch: int, readings: Readings) -> None:
        if not self._has(epoch):  # else written before the newest checkpoint was damaged
            self.journal.append(Epoch(step=epoch, metrics={k: v for k, v in readings.items() if k != "epoch"}))

    def _has(self, epoch: int) -> bool:
        last = self.journal.last(Epoch)
        return last is not None and last.step >= epoch

    def _epochs(self) -> dict[int, Readings]:
        return {event.step: event.metrics for event in self.journal.events() if isinstance(event, Epoch)}

    def _end(self, event: Fail | Interrupt, trace: str = "") -> None:
        """End the run without a result: its reason as a tag, its traceback as an artifact.

        On a full disk not even that may be written. Then the reason is the message, and the next call goes on anyway.
        """
        artifacts = self.journal.artifacts
        try:
            with disk_errors(artifacts):
                if trace:
                    artifacts.mkdir(parents=True, exist_ok=True)
                    (artifacts / "traceback.txt").write_text(trace, encoding="utf-8", errors="backslashreplace")
            self.journal.append(event)
        except StorageError as error:
            self.note(f"its end ({event.tags['reason']}) could not be kept: {error}")
            return
        self.changed()

    @abstractmethod
    def start_event(self) -> Start:
        """Return what the run says of itself before it trains."""

    @abstractmethod
    def make_trainer(self) -> Trainer:
        """Return the trainer at its first epoch."""

    @abstractmethod
    def finish_event(self, trainer: Trainer, epochs: dict[int, Readings]) -> Finish:
        """Return the run's end. epochs: the readings of every epoch."""

    @abstractmethod
    def changed(self) -> None:
        """Act on what is new in the journal: its beginning, an epoch, or an end without a result."""

    @abstractmethod
    def epoch_done(self, result: EpochResult) -> None:
        """Show an epoch that is kept."""

    @abstractmethod
    def note(self, message: str) -> None:
        """Pass on something a person should know."""

    def gives_up(self, result: EpochResult) -> bool:  # noqa: ARG002 - for those that may
        """Return whether the training ends before its last epoch."""
        return False
