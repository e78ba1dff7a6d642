"""One training that survives anything: the per-epoch loop of cells and of trials.

Every step is safe to be killed after. An epoch goes into the checkpoint together with its readings, then into the
journal, then to whoever listens. A training that is called again goes on after its last epoch, in the same journal; on
a GPU after the last that has a checkpoint, and the journal keeps what it has of those trained again.

Where an epoch is chosen on validation images, the choice is a function of the journal's readings alone. The chosen
weights lie in a file of their own, written before the epoch is kept and removed after a better one is.
"""

from __future__ import annotations

import math
import time
import traceback
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any

from mobilebench.evaluation.selection import Choice, Span, judge
from mobilebench.runs.attempts import SupersededError, supersede
from mobilebench.runs.events import Epoch, Fail, Finish, Interrupt, Resume, Start, reason_tags
from mobilebench.runs.journal import CellBusyError, epochs_done
from mobilebench.system.disk import StorageError, disk_errors
from mobilebench.system.energy import meter_of
from mobilebench.system.signals import deferred_signals
from mobilebench.training import checkpoint
from mobilebench.training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mobilebench.errors import UserError
    from mobilebench.runs.journal import Journal
    from mobilebench.training import EpochResult, Trainer

Readings = dict[str, float]

# Seconds between two checkpoints, 0 where none is said. On a GPU an epoch may take less than a second, and a tenth of
# it would go into writing; what is lost with a process is trained again in as many seconds.
_CHECKPOINTS_EVERY = {"cuda": 10.0}


class TrainingRun(ABC):
    """A training with its journal and checkpoint. Subclasses say what is trained and what is kept of it."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._saved: tuple[int, float] | None = None  # phase and time (monotonic) of the newest checkpoint

    @property
    def checkpoint(self) -> Path:
        """Where the newest checkpoint lies."""
        return self.journal.folder / "checkpoint.pt"

    def begin(self) -> None:
        """Write that the run begins, or goes on."""
        events = self.journal.events()
        if not events:
            self.journal.append(self.start_event())
        elif self.journal.attempt is not None:
            self.journal.append(Resume(tags=self.journal.attempt.tags(epochs_done(self.journal))))
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
        if self.journal.attempt is None:
            supersede(self.journal.folder)
        self.begin()
        try:
            self._train_epochs()
        except SupersededError:
            raise
        except KeyboardInterrupt:
            self._end(Interrupt(tags=reason_tags("stopped by Ctrl-C; the next call goes on after its last epoch")))
            raise
        except StorageError as error:
            self._end(Fail(tags=reason_tags(str(error))))
            raise
        except Exception as error:  # whatever a network raises, its run ends as failed and others go on
            self._end(Fail(tags=reason_tags(f"{type(error).__name__}: {error}")), traceback.format_exc())
            raise

    def train_or_fail(self, failed: Callable[[str], UserError]) -> None:
        """Do as `train`; whatever the network raises becomes an error that `failed` makes of its words.

        That one is raised anew. The first has the frames of the training with it: kept as the outcome of a cell, it
        would keep the trainer, its images and the failed step in memory, on a GPU too, while other cells are trained.
        """
        try:
            self.train()
        except (CellBusyError, StorageError, SupersededError):
            raise
        except Exception as error:  # noqa: BLE001 - whatever a network raises; its text and frames are in the journal
            said = failed(f"{type(error).__name__}: {error}")
        else:
            return
        raise said

    def _train_epochs(self) -> None:
        trainer = self.make_trainer()
        self._restore(trainer)
        meter = meter_of(trainer.device)
        epochs = trainer.epochs()
        while not self._choice(trainer).stop:
            self._enter_phase(trainer)
            result = next(epochs, None)
            if result is None:
                break
            self._keep(trainer, result, meter.lap())
            self.epoch_done(result)
            self.changed()
            if self.gives_up(result):
                break
        if trainer.epoch < trainer.recipe.total_epochs and self._choice(trainer).stop:
            self.note(f"ends after epoch {trainer.epoch}: val gets no better")
        self.journal.raise_if_superseded()
        self.journal.append(self.finish_event(trainer, self._epochs()))
        self._forget_weights(keep=None)

    def _choice(self, trainer: Trainer, newest: Mapping[int, Readings] | None = None) -> Choice:
        """Return which epoch of the journal, and of `newest` where it lacks that, is to be kept, if one is chosen.

        Where none is, training ends with the last epoch of this trainer, which may be behind the journal.
        """
        epochs = {**(newest or {}), **self._epochs()}
        return self._standing(trainer, epochs if trainer.recipe.best_val else self._trained(trainer))

    def _trained(self, trainer: Trainer) -> dict[int, Readings]:
        return {epoch: readings for epoch, readings in self._epochs().items() if epoch <= trainer.epoch}

    def _standing(self, trainer: Trainer, epochs: Mapping[int, Readings]) -> Choice:
        rule, spans = trainer.recipe.best_val, [Span(p.epochs, p.patience) for p in trainer.recipe.plan]
        # A metric that is undefined for an epoch's predictions has no reading there, and the epoch is not chosen.
        name = f"val_{rule.metric}" if rule else ""
        return judge([epochs[epoch].get(name, math.nan) for epoch in sorted(epochs)], rule, spans)

    def _enter_phase(self, trainer: Trainer) -> None:
        """Bring the trainer into the phase that its next epoch belongs to, which what it has trained so far says."""
        choice = self._standing(trainer, self._trained(trainer))
        if choice.phase == trainer.phase:
            return
        best = trainer.recipe.plan[choice.phase].start == "best"
        weights = self._chosen_weights(trainer, choice.keep) if best else None
        trainer.begin_phase(choice.phase, choice.before, weights)
        start = f" from the weights of epoch {choice.keep}, the best on val" if best else ""
        self.note(f"phase {choice.phase + 1} of {len(trainer.recipe.plan)} begins after epoch {trainer.epoch}{start}")

    def chosen_epoch(self, trainer: Trainer) -> int:
        """Return the epoch that counts: the best on val so far, or the last where none is chosen.

        Raises TrainingError where none can be chosen.
        """
        return trainer.epoch if trainer.recipe.best_val is None else self._kept(trainer, self._choice(trainer).keep)

    def _kept(self, trainer: Trainer, keep: int | None) -> int:
        rule = trainer.recipe.best_val
        if keep is None or rule is None:
            metric = rule.metric if rule else "the metric"
            raise TrainingError(
                f"no epoch can be chosen: {metric} is undefined for the validation images in each that may be. "
                "Choose by another metric (selection.best_val.metric) or hold out more images (data.val_fraction)"
            )
        return keep

    def load_chosen(self, trainer: Trainer) -> int:
        """Give the network the weights of the epoch that counts and return the epoch.

        Raises TrainingError where they are gone or damaged, or no epoch could be chosen.
        """
        keep = self.chosen_epoch(trainer)
        if trainer.recipe.best_val is not None:
            trainer.load_weights(self._chosen_weights(trainer, keep))
        return keep

    def _chosen_weights(self, trainer: Trainer, epoch: int | None) -> dict[str, Any]:
        keep = self._kept(trainer, epoch)
        weights = checkpoint.load(self._weights(keep))
        if weights is None:
            raise TrainingError(
                f"the weights of epoch {keep}, the best on val, are gone from {self.journal.folder}; train the cell "
                "anew with --redo"
            )
        return dict(weights)

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
        """Keep one epoch. Its readings are in its checkpoint too: the two cannot come apart."""
        readings = result.readings() | ({} if joules is None else {"energy_joules": joules})
        with disk_errors(self.journal.folder), deferred_signals():
            self.journal.raise_if_superseded()
            keep = self._choice(trainer, {result.epoch: readings}).keep
            # An epoch that the journal has is trained again where it has no checkpoint, or a damaged one: where that is
            # not bit for bit the same, the first time counts.
            if keep == result.epoch and not self._has(result.epoch):
                checkpoint.save(self._weights(keep), trainer.model.state_dict())
            if self._is_due(trainer):
                checkpoint.save(self.checkpoint, trainer.state_dict() | {"result": readings})
                self._saved = trainer.phase, time.monotonic()
            self._append(result.epoch, readings)
            if keep is not None:
                self._forget_weights(keep)

    def _is_due(self, trainer: Trainer) -> bool:
        """Return whether the present epoch gets a checkpoint.

        The last one always does, for its reading may take long. The first one of a phase too: the weights that the
        phase began with go when it has better ones.
        """
        if self._saved is None or self._saved[0] != trainer.phase or trainer.epoch == trainer.recipe.total_epochs:
            return True
        return time.monotonic() >= self._saved[1] + _CHECKPOINTS_EVERY.get(trainer.device.type, 0.0)

    def _append(self, epoch: int, readings: Readings) -> None:
        if not self._has(epoch):  # else trained again
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
        self.journal.raise_if_superseded()
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
