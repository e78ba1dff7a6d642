"""A tuned cell: its trials, each a training with a journal of its own, and the best on val as the cell's result.

Nothing is trained a second time: the weights of the best trial are read on val and test once, and become the cell's.
The choice is a function of the trials' journals alone, so that a cell that was carried on chooses as an unbroken one.
"""

from __future__ import annotations

import csv
import io
import math
import time
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from mobilebench.config.parsing import flatten
from mobilebench.errors import TrackingError
from mobilebench.evaluation.metrics import get_metric, metric_of
from mobilebench.execution.cell_run import CellRun, spent
from mobilebench.execution.describe import dataset_input, parameters, with_surroundings
from mobilebench.execution.training_run import TrainingRun
from mobilebench.runs.events import Epoch, Finish, Start
from mobilebench.runs.trials import TrialEnd, best, diverged, end_of, ends_of, leftovers, weights_of
from mobilebench.search.space import trials_of
from mobilebench.system.disk import disk_errors
from mobilebench.system.files import write_text
from mobilebench.training import checkpoint
from mobilebench.training.errors import DivergedError, TrainingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.suite import Cell
    from mobilebench.datasets.packing.packed import Meta
    from mobilebench.evaluation.metrics import Metric
    from mobilebench.execution.context import RunContext
    from mobilebench.execution.training_run import Readings
    from mobilebench.runs.identity import Identity
    from mobilebench.runs.journal import Journal
    from mobilebench.runs.records import Record
    from mobilebench.search.space import Trial
    from mobilebench.training import EpochResult, Trainer

TRIALS = "trials.csv"  # the artifact of a tuned cell's run
TEST_CHOICE = "gain_of_choosing_the_trial_on_test"


def cell_run(context: RunContext, cell: Cell, identity: Identity | None = None) -> CellRun:
    """Return what carries out a cell, tuned or not; the arguments are those of `CellRun`."""
    recipe = context.suite.protocol.recipe_for(cell.model, cell.dataset)
    return (CellRun if recipe.tuning is None else TunedCellRun)(context, cell, identity)


def raise_if_untunable(context: RunContext, cells: Iterable[Cell]) -> None:
    """Raise TrainingError where cells are to be tuned and there are no validation images to choose on."""
    protocol = context.suite.protocol
    tuned = [cell for cell in cells if protocol.recipe_for(cell.model, cell.dataset).tuning is not None]
    if tuned and not len(context.packed.rows("val")):
        raise TrainingError(
            f"protocol.tuning chooses settings on validation images, and {context.dataset} has no val split "
            f"({len(tuned)} cells are to be tuned). Set data.val_fraction (0.1, say) and pack the data again with "
            f"`mobilebench data prepare {context.dataset}`, or set tuning to null for this dataset"
        )


def choosing_metric(recipe: Recipe, meta: Meta) -> Metric:
    """Return the metric whose reading on val says which trial is best: the selection's, else the dataset's own."""
    rule = recipe.best_val
    return metric_of(meta.metric, meta.target) if rule is None else get_metric(rule.metric)


class TunedCellRun(CellRun):
    """One tuned cell in one process. `complete` trains trial after trial; the grid has them trained as jobs before."""

    def __init__(self, context: RunContext, cell: Cell, identity: Identity | None = None) -> None:
        super().__init__(context, cell, identity)
        self.trials = {trial.number: trial for trial in trials_of(self.recipe, cell.seed)}
        self._chosen: tuple[Trial, TrialEnd] | None = None

    @property
    def chooser(self) -> Metric:
        """The metric whose reading on val says which trial is best."""
        return choosing_metric(self.recipe, self.context.packed.meta)

    @property
    def final_recipe(self) -> Recipe:
        """The recipe of the trial that was chosen."""
        assert self._chosen is not None, "a trial is chosen first"
        return self._chosen[0].recipe

    def begin(self) -> None:
        """Write that the run begins, or goes on. Raises TrainingError where there is nothing to choose on."""
        raise_if_untunable(self.context, [self.cell])
        self.check_metric()
        super().begin()

    def open_trials(self) -> dict[int, int]:
        """Return the trials that are to be trained, by number, each with its epochs left."""
        return {
            number: trial.recipe.total_epochs - max(_epochs(journal), default=0)
            for number, trial in self.trials.items()
            if end_of(journal := self.journal.trial(number)) is None
        }

    def train_trial(self, number: int) -> None:
        """Train one trial to its end, holding its lock; nothing where it has ended.

        Raises TrainingError with its settings and the reason for whatever the network raises, but not for one that
        diverged: that is an end.
        """
        trial = self.trials[number]
        run = TrialRun(self, trial)
        with run.journal.locked():
            run.train_or_fail(lambda why: TrainingError(f"trial {number} ({in_words(trial)}) failed: {why}"))

    def forget_losers(self) -> None:
        """Remove the weights of trials that ended and are not the best so far."""
        ends = ends_of(self.journal)
        kept = best(ends, higher_is_better=self.chooser.higher_is_better)
        for number in ends.keys() - {kept}:
            weights_of(self.journal.trial(number)).unlink(missing_ok=True)

    def end_in_words(self, number: int) -> str:
        """Return how a trial ended, for a person."""
        end, metric = end_of(self.journal.trial(number)), self.chooser
        settings = in_words(self.trials[number])
        if end is None:
            return f"{settings}: not ended"
        if end.value is None:
            return f"{settings}: {end.reason}"
        return f"{settings}: val {metric.title.lower()} {metric.show(end.value)}{' %' if metric.percent else ''}"

    def deliver_trial(self, number: int) -> None:
        """Deliver what the server lacks of a trial. When it is away, training goes on and the journals keep it."""
        trial = self.journal.trial(number)
        if self.context.tracker.is_backing_off() or not trial.events():  # stopped before it began
            return
        try:
            self.context.tracker.deliver_trial(trial, self.journal)
        except TrackingError as error:
            self.note(f"kept for later: {error}")

    def is_settled(self) -> bool:
        """Return whether there is nothing to train or record, as for any cell."""
        settled = super().is_settled()
        if settled:  # killed after the result was written, or taken over
            self._sweep_trials()
        return settled

    def finish(self) -> None:
        """Deliver the rest of the finished journal and of the trials', and write the cell's result file.

        Raises TrackingError where the cell's own cannot be delivered; its trials then wait too.
        """
        super().finish()
        for number in self.journal.trials():
            self.deliver_trial(number)

    def _record(self, record: Record) -> None:
        super()._record(record)
        self._sweep_trials()

    def _sweep_trials(self) -> None:
        for path in leftovers(self.journal):
            path.unlink(missing_ok=True)

    # In place of what a cell does that is trained once.

    def _train_epochs(self) -> None:
        for number in self.open_trials():
            self.train_trial(number)
            self.deliver_trial(number)
            self.forget_losers()
        number, end = self._choose()
        trial = self.journal.trial(number)
        weights = checkpoint.load(weights_of(trial))
        if weights is None:
            raise TrainingError(
                f"the weights of trial {number}, the best on val, are gone from {trial.folder}; train the cell anew "
                "with --redo"
            )
        self._chosen = self.trials[number], end
        trainer = self.make_trainer()
        trainer.load_weights(weights)
        for epoch, readings in _epochs(trial).items():  # the curves of the cell are those of what it chose
            self._append(epoch, readings)
            trainer.epoch = epoch
        self.journal.append(self.finish_event(trainer, self._epochs()))
        self._sweep_trials()

    def _choose(self) -> tuple[int, TrialEnd]:
        """Return the best trial. Raises TrainingError where none has a value."""
        ends = ends_of(self.journal)
        number = best(ends, higher_is_better=self.chooser.higher_is_better)
        if number is None:
            reasons = {number: end.reason for number, end in ends.items()}
            first = next(iter(reasons))
            raise TrainingError(
                f"none of the {len(reasons)} trials has a value of {self.chooser.id} on val, so no setting can be "
                f"chosen; trial {first} ({in_words(self.trials[first])}): {reasons[first]}. Give tuning.space other "
                "values, smaller learning rates first"
            )
        return number, ends[number]

    def load_chosen(self, trainer: Trainer) -> int:  # noqa: ARG002 - the signature of a cell that is trained once
        """Return the chosen trial's epoch that counts; the network has its weights already."""
        assert self._chosen is not None, "a trial is chosen first"
        return self._chosen[1].epoch

    def finish_event(self, trainer: Trainer, epochs: dict[int, Readings]) -> Finish:
        """Return the cell's end: what the chosen trial's weights give on val and test, and what all trials took."""
        assert self._chosen is not None, "a trial is chosen first"
        trial, end = self._chosen
        ends = ends_of(self.journal)
        with disk_errors(self.journal.artifacts):
            write_text(self.journal.artifacts / TRIALS, self._table(ends, trial.number))
        finish = super().finish_event(trainer, epochs)
        metrics = finish.metrics | {
            "trials": float(len(ends)),
            "trials_without_value": float(sum(found.value is None for found in ends.values())),
            "chosen_trial": float(trial.number),
            "chosen_trial_seconds": end.seconds,
            "train_seconds": sum(found.seconds for found in ends.values()),
        }
        joules = [found.joules for found in ends.values() if found.joules is not None]
        if len(joules) == len(ends):
            metrics["train_energy_joules"] = sum(joules)
        else:
            metrics.pop("train_energy_joules", None)
        metrics |= self._test_choice(ends, end)
        return replace(finish, metrics=metrics, params=self._tuned(trial))

    def _tuned(self, trial: Trial) -> dict[str, object]:
        """Return what was tried and what moved with it (`min_lr` with `lr`), as parameters of a run."""
        own, tried = (flatten(asdict(recipe)) for recipe in (self.recipe, trial.recipe))
        moved = {name: value for name, value in tried.items() if name in own and value != own[name]}
        return {f"tuned.{name}": value for name, value in (moved | trial.values).items() if name != "tuning"}

    def _test_choice(self, ends: Mapping[int, TrialEnd], chosen: TrialEnd) -> Readings:
        """Return what choosing the trial on test would have added to the result, where the run reads test along."""
        tests = [end.test for end in ends.values() if end.value is not None]
        known = [test for test in tests if test is not None]
        if chosen.test is None or len(known) < len(tests):
            return {}
        sign = 1 if self.metric().higher_is_better else -1
        return {TEST_CHOICE: max(sign * test for test in known) - sign * chosen.test}

    def _table(self, ends: Mapping[int, TrialEnd], chosen: int) -> str:
        """Return the trials as CSV: settings, reading on val, epoch, seconds and, where it was read along, test."""
        names = list(dict.fromkeys(name for trial in self.trials.values() for name in trial.values))
        with_test = any(end.test is not None for end in ends.values())
        head = ["trial", *names, f"val_{self.chooser.id}", "epoch", "seconds", "chosen", "why_no_value"]
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow([*head, *([f"test_{self.metric().id}"] if with_test else [])])
        for number, end in ends.items():
            values = [self.trials[number].values[name] for name in names]
            is_chosen = "yes" if number == chosen else ""
            value = "" if end.value is None else end.value
            row = [number, *values, value, end.epoch or "", round(end.seconds, 3), is_chosen, end.reason]
            table.writerow([*row, *(["" if end.test is None else end.test] if with_test else [])])
        return text.getvalue()


class TrialRun(TrainingRun):
    """The training of one trial. It reads val, and test only where the run reads test along the way."""

    def __init__(self, cell: TunedCellRun, trial: Trial) -> None:
        super().__init__(cell.journal.trial(trial.number))
        self._cell = cell
        self._trial = trial
        self._since = time.perf_counter()

    def train(self) -> None:
        """Bring the trial to its end, as `TrainingRun.train` does; one that diverged has ended."""
        if end_of(self.journal) is None:
            super().train()
        checkpoint.remove(self.checkpoint)

    def _train_epochs(self) -> None:
        try:
            super()._train_epochs()
        except DivergedError as error:
            self.journal.append(diverged(str(error), time.perf_counter() - self._since))
            self._forget_weights(keep=None)

    def start_event(self) -> Start:
        """Return what the trial's run says of itself; its kind keeps it out of every score."""
        context, cell, trial = self._cell.context, self._cell.cell, self._trial
        suite, packed = context.suite, context.packed
        tags = {
            "kind": "trial", "cell": cell.name, "trial": str(trial.number), "cell_identity": self._cell.identity.digest,
            "suite": suite.suite, "protocol_hash": suite.protocol.hash, "model": cell.model, "dataset": cell.dataset,
            "seed": str(cell.seed),
        }  # fmt: skip
        splits = ("train", "val", "test") if self._reads_test else ("train", "val")
        return Start(
            experiment=suite.experiment,
            run_name=f"{cell.name} trial {trial.number}",
            tags=with_surroundings(tags),
            params=parameters(cell, trial.recipe) | {f"tuned.{name}": value for name, value in trial.values.items()},
            dataset=dataset_input(packed, {split: len(packed.rows(split)) for split in splits}),
        )

    @property
    def _reads_test(self) -> bool:
        return self._cell.context.suite.runtime.reads_test_curve(self._cell.recipe)

    def make_trainer(self) -> Trainer:
        """Return the trainer of the cell's network under the trial's recipe."""
        runtime = replace(self._cell.context.suite.runtime, test_curve=self._reads_test)
        trainer = self._cell.trainer_of(self._trial.recipe, runtime, test=self._reads_test)
        self._since = time.perf_counter()
        return trainer

    def finish_event(self, trainer: Trainer, epochs: dict[int, Readings]) -> Finish:
        """Return the trial's end, and keep the weights of the epoch that counts until its cell is finished."""
        metric, taken = self._cell.chooser, spent(epochs)
        # Not `chosen_epoch`, which raises where none can be chosen: another trial may have one.
        keep = trainer.epoch if trainer.recipe.best_val is None else self._choice(trainer).keep
        read = epochs[keep] if keep is not None else {}
        value = read.get(f"val_{metric.id}", math.nan)
        end = TrialEnd(None, 0, taken["train_seconds"], taken.get("train_energy_joules"))
        if keep is None or not math.isfinite(value):
            end = replace(end, reason=f"{metric.id} is undefined for what it said of the validation images")
        else:
            self.load_chosen(trainer)
            with disk_errors(self.journal.folder):
                checkpoint.save(weights_of(self.journal), trainer.model.state_dict())
            end = replace(end, value=value, epoch=keep, test=read.get(f"test_{self._cell.metric().id}"))
        finals = {f"final_{name}": found for name, found in read.items() if name.startswith(("val_", "test_"))}
        kept = {} if keep is None else {"kept_epoch": float(keep)}
        return Finish(step=trainer.epoch, metrics=finals | taken | kept, outcome=end.outcome())

    def changed(self) -> None:
        """Deliver what is new."""
        self._cell.deliver_trial(self._trial.number)

    def epoch_done(self, result: EpochResult) -> None:
        """Show the epoch."""
        self._since = time.perf_counter()
        epochs = self._trial.recipe.total_epochs
        self._cell.context.listener.trial_epoch(self._cell.cell, self._trial.number, result, epochs)

    def note(self, message: str) -> None:
        """Pass on something a person should know about the trial."""
        self._cell.note(f"trial {self._trial.number} {message}")


def in_words(trial: Trial) -> str:
    """Return a trial's settings as a person reads them."""
    return ", ".join(f"{name}={value}" for name, value in trial.values.items())


def _epochs(journal: Journal) -> dict[int, Readings]:
    return {event.step: event.metrics for event in journal.events() if isinstance(event, Epoch)}
