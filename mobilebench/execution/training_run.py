"""One training that survives anything: the per-epoch loop of cells and of trials.

Every step is safe to be killed after. An epoch goes into the checkpoint together with its readings, then into the
journal, then to whoever listens. A training that is called again goes on after its last epoch, in the same journal.
"""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from mobilebench.runs.events import Epoch, Fail, Finish, Interrupt, Resume, Start, reason_tags
from mobilebench.system.disk import StorageError, disk_errors
from mobilebench.system.energy import meter_of
from mobilebench.system.signals import deferred_signals
from mobilebench.training import checkpoint

if TYPE_CHECKING:
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

    def train(self) -> None:
        """Bring the training to the end of its journal; nothing when it is there. The caller holds the journal's lock.

        Whatever stops it, the journal says so: KeyboardInterrupt, StorageError and what the network raises are passed
        on after the run is ended as interrupted or failed.
        """
        self.journal.sweep()
        if self.journal.last(Finish) is not None:
            return
        self._begin()
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

    def _begin(self) -> None:
        events = self.journal.events()
        if not events:
            self.journal.append(self.start_event())
        elif not isinstance(events[-1], Start):
            self.journal.append(Resume())
        self.changed()

    def _train_epochs(self) -> None:
        trainer = self.make_trainer()
        last = self._restore(trainer)
        meter = meter_of(trainer.device)
        for result in trainer.epochs():
            last = self._keep(trainer, result, meter.lap())
            self.epoch_done(result)
            self.changed()
            if self.gives_up(result):
                break
        self.journal.append(self.finish_event(trainer, self._epochs(), last))

    def _restore(self, trainer: Trainer) -> Readings:
        """Load the checkpoint and return its epoch's readings, empty without one.

        A process that was killed between checkpoint and journal left an epoch that the journal lacks: it is added.
        """
        saved = checkpoint.load(self.checkpoint)
        if saved is None:
            return {}
        trainer.load_state_dict(saved)
        self.note(f"goes on after epoch {trainer.epoch}")
        readings = dict(saved.get("result") or self._epochs()[trainer.epoch])
        self._append(trainer.epoch, readings)
        return readings

    def _keep(self, trainer: Trainer, result: EpochResult, joules: float | None) -> Readings:
        """Keep one epoch and return its readings. They are in the checkpoint too: the two cannot come apart."""
        readings = {name: float(value) for name, value in self.readings(result, joules).items() if value is not None}
        with disk_errors(self.journal.folder), deferred_signals():
            checkpoint.save(self.checkpoint, trainer.state_dict() | {"result": readings})
            self._append(result.epoch, readings)
        return readings

    def _append(self, epoch: int, readings: Readings) -> None:
        last = self.journal.last(Epoch)
        if last is None or last.step < epoch:  # else written before the newest checkpoint was damaged
            self.journal.append(Epoch(step=epoch, metrics={k: v for k, v in readings.items() if k != "epoch"}))

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
    def readings(self, result: EpochResult, joules: float | None) -> dict[str, float | None]:
        """Return what is kept of an epoch, by name; None is left out."""

    @abstractmethod
    def finish_event(self, trainer: Trainer, epochs: dict[int, Readings], last: Readings) -> Finish:
        """Return the run's end. epochs: the readings of every epoch; last: those of the last one."""

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
