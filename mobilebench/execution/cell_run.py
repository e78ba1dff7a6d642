"""One cell's life: take over what is finished elsewhere, train, deliver, record.

This is what DVC, a cluster and a person all call. A cell that is called again goes on where it was, in the same MLflow
run, and one that is finished is left alone.
"""

from __future__ import annotations

import uuid
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

import numpy as np

from mobilebench import models
from mobilebench.config.pixels import input_size
from mobilebench.datasets.packing.prepare import find
from mobilebench.errors import TrackingError, UserError
from mobilebench.evaluation.metrics import MetricError, metric_of, raise_if_undefined, readings
from mobilebench.execution.describe import start_event
from mobilebench.execution.exported import Exported, write_safetensors
from mobilebench.execution.kept import keep_predictions, place_name
from mobilebench.execution.model_file import MODEL, WEIGHTS, describe, with_wanted
from mobilebench.execution.network import as_trained, build
from mobilebench.execution.suites import starts_from_scratch
from mobilebench.execution.training_run import TrainingRun
from mobilebench.models.checks import budget_warnings, check
from mobilebench.models.cost.counts import deployed_cost, static_cost, weight_bytes
from mobilebench.models.weights.pretraining import overlap, pretrained_on
from mobilebench.runs.events import Finish, Start
from mobilebench.runs.identity import chooser_of
from mobilebench.runs.records import PREDICTIONS, PREDICTIONS_TAG, result_path, write_result
from mobilebench.system.disk import disk_errors
from mobilebench.system.energy import meter_of
from mobilebench.system.files import write_text
from mobilebench.system.provenance import device_tags, write_files
from mobilebench.training import Split, TrainData, Trainer, checkpoint
from mobilebench.training.errors import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

    from mobilebench.config.pixels import InputSize
    from mobilebench.config.recipe import Recipe
    from mobilebench.config.runtime import Runtime
    from mobilebench.config.suite import Cell
    from mobilebench.datasets.packing.packed import Packed
    from mobilebench.evaluation.metrics import Metric
    from mobilebench.execution.context import RunContext
    from mobilebench.execution.network import Built
    from mobilebench.execution.training_run import Readings
    from mobilebench.runs.identity import Identity
    from mobilebench.runs.journal import Journal
    from mobilebench.runs.records import Record
    from mobilebench.training import EpochResult


class CellFailedError(UserError):
    """A cell could not be trained; its run ended FAILED with the reason, other cells are not touched."""


class CellRun(TrainingRun):
    """One cell in one process. `complete` does everything; the grid calls the parts, some in another process."""

    def __init__(self, context: RunContext, cell: Cell, identity: Identity | None = None) -> None:
        """identity: the cell's, as the process that asked for it found it; None to find it here."""
        self.identity = identity or context.identity(cell)
        super().__init__(context.journal_of(self.identity))
        self.context = context
        self.cell = cell
        self.recipe = context.suite.protocol.recipe_for(cell.model, cell.dataset)
        self.model_id = self.recipe.network_of(cell.model)

    def complete(self) -> None:
        """Finish the cell, whatever was done of it before; nothing when its result is there.

        Raises CellFailedError when it cannot be trained, CellBusyError when another process has it, TrackingError when
        it is trained but the tracking server does not have all of it, StorageError when the disk takes nothing.
        """
        if not self.is_settled():
            self.train_locked()
            self.finish()

    def is_settled(self) -> bool:
        """Return whether there is nothing to train or record: the result is here, or was taken over just now."""
        if self.context.is_finished(self.cell):
            checkpoint.remove(self.checkpoint)  # killed after the result was written
            return True
        return self.adopt()

    def adopt(self) -> bool:
        """Take over the cell's finished run if the tracking server has one, and return whether it had.

        Either way the journal becomes this experiment's: a renamed experiment is a reason to deliver, not to train.
        """
        with self.journal.locked():
            adopted = self._take_over()
            if self.journal.is_of_other(self.context.suite.experiment):
                self._move()
            if (
                adopted is not None
                and self.journal.events()
                and not self.journal.is_delivered(self.context.tracker.store)
            ):
                self.context.tracker.give_way(self.journal, adopted)
            return adopted is not None

    def train_locked(self) -> None:
        """Train the cell to its end, holding its lock; delivery is left to `finish`, here or in another process.

        Raises CellFailedError with the reason for whatever the network raises.
        """
        with self.journal.locked():
            self.train_or_fail(lambda why: CellFailedError(f"{self.cell.name} failed: {why}"))

    def deliver(self) -> None:
        """Deliver what the server lacks. When it is away, training goes on and the journal keeps everything."""
        if self.context.tracker.is_backing_off() or not self.journal.events():  # stopped before it began
            return
        try:
            self.context.tracker.deliver(self.journal)
        except TrackingError as error:
            self.note(f"kept for later: {error}")

    def finish(self) -> None:
        """Deliver the rest of a finished journal and write the cell's result file. Raises TrackingError."""
        with self.journal.locked():
            record = self.context.tracker.publish(self.journal)
            if record is None:
                self.note("trained; waits for `mobilebench sync`")
            else:
                self._record(record)

    def reset(self) -> None:
        """Forget the cell's result, so that it is trained anew; its old run stays, marked as superseded.

        The wish is the first line of the new journal. Killed before it is written, nothing was asked, and the old run
        is found again. Killed after it, the old run is marked when that line is delivered.
        """
        with self.journal.locked():
            with disk_errors(self.context.results):
                result_path(self.context.results, self.cell).unlink(missing_ok=True)
            self.journal.clear()
            self.journal.append(replace(self.start_event(), redo=True))

    def _take_over(self) -> Record | None:
        start = self.journal.start
        if start is not None and start.redo:
            return None
        try:
            record = self.context.tracker.finished(self.context.suite.experiment, self.identity.digest)
        except TrackingError as error:  # it was there when this process began: train, and deliver later
            self.note(f"{error}")
            return None
        if record is None:
            return None
        self._record(record)
        self.note(f"already finished on the tracking server (run {record.run_id})")
        return record

    def _record(self, record: Record) -> None:
        self._keep_predictions(record)
        write_result(self.context.results, record)
        checkpoint.remove(self.checkpoint)  # the weights are an artifact of the run now

    def _keep_predictions(self, record: Record) -> None:
        """Lay the run's predictions beside its result file: this journal's, or those of the tracking store.

        A result without them is a result; what needs them says how to get them.
        """
        try:
            keep_predictions(self.context.results, record, self.journal, self.context.tracker)
        except TrackingError as error:
            self.note(f"its predictions stay on the tracking server: {error}")

    def _move(self) -> None:
        """Make the journal that of a new run in this experiment; the old run stays as it was delivered.

        Equal identity, equal result: an experiment's name is no part of it, so nothing is trained again.
        """
        experiment = self.context.suite.experiment
        for trial in self.journal.trials().values():
            move_journal(trial, experiment)
        move_journal(self.journal, experiment)
        self.note(f"of another experiment until now; goes to {experiment!r} as it is")

    # What TrainingRun asks.

    def start_event(self) -> Start:
        """Return what the run says of itself before it trains."""
        return start_event(self.context, self.identity)

    def make_trainer(self) -> Trainer:
        """Return the trainer of the cell's network as its training begins.

        The suite, the packages and uncommitted changes are kept as artifacts first.
        """
        with disk_errors(self.journal.artifacts):
            write_files(self.journal.artifacts, asdict(self.context.suite))
        self.check_metric()
        trainer = self.trainer_of(self.final_recipe, self.context.suite.runtime)
        size = input_size(self.recipe.resolution, self.context.packed.meta.channels)
        self._cost = count(trainer.model, size)  # now with the threads that the runtime allows
        return trainer

    @property
    def final_recipe(self) -> Recipe:
        """The recipe that the weights of its result are trained with."""
        return self.recipe

    def trainer_of(self, recipe: Recipe, runtime: Runtime, *, test: bool = True) -> Trainer:
        """Return the trainer of the cell's network under a recipe. test: whether it is given the test images."""
        packed = self.context.packed
        classes = len(packed.meta.classes)
        built = build(self.cell, classes, recipe, packed.meta.channels, self.context.root)
        model = built.network
        self._check_unchanged(built)
        if self.model_id not in models.MODELS:  # the registry's own are held to this by the tests
            check(model, classes, input_size(recipe.resolution, packed.meta.channels))
            for warning in budget_warnings(model) if starts_from_scratch(self.context.suite) else ():
                self.note(warning)
        if recipe.chooses_on_test:
            self.note("the epoch is CHOSEN ON TEST: what is called val here and in the run's curves are test images")
        if recipe.pretrained is not None and (words := self._overlap()):
            self.note(words)
        data = with_wanted(train_data(packed, test=test, chosen_on_test=recipe.chooses_on_test), self.model_id, recipe)
        model = as_trained(model, built.head, recipe.knn, classes, packed.meta.target)
        trainer = Trainer(model, data, recipe, self.cell.seed, runtime, head=built.head)
        for decision in trainer.decisions:
            self.note(decision)
        return trainer

    def _overlap(self) -> str:
        """Return what to say where the weights may know the dataset's images, else ""."""
        spec = find(self.cell.dataset, self.context.suite.data_sources)
        return overlap(pretrained_on(self.model_id), spec.images_from, self.cell.dataset)

    def check_metric(self) -> None:
        """Raise TrainingError where the labels of test say that there will be no result to read, before hours of it."""
        packed, metric = self.context.packed, self.metric()
        meta, rows = packed.meta, packed.rows("test")
        try:
            raise_if_undefined(metric, meta.target, packed.labels[rows], len(meta.classes))
        except MetricError as error:
            raise TrainingError(
                f"the {len(rows)} test images of {self.cell.dataset} have labels of which {metric.id} says nothing, "
                f"even for perfect predictions: {error}. Give the dataset another `metric:` in params.yaml "
                "(data_sources), or other test images"
            ) from None
        except ImportError:  # without scikit-learn the result is had from the predictions elsewhere
            pass

    def _check_unchanged(self, built: Built) -> None:
        """Raise UserError where code, data or weights are no longer those the cell's identity was made of."""
        data = self.context.packed.meta.data_digest
        chooser = chooser_of(self.recipe, self.context.packed.meta)
        same = {
            f"the code of {self.cell.model}": built.fingerprint == self.identity.network,
            "the code of the metric that chooses on val": chooser == self.identity.selection_metric,
            f"the packed data of {self.cell.dataset}": data == self.identity.data,
            f"the pretrained weights of {self.cell.model}": built.weights == self.identity.weights,
        }
        changed = [what for what, is_same in same.items() if not is_same]
        if changed:
            raise UserError(
                f"{' and '.join(changed)} changed after this call had begun; run the same command again, it trains the "
                "cell as things are now"
            )

    def epoch_done(self, result: EpochResult) -> None:
        """Show the epoch."""
        self.context.listener.epoch(self.cell, result, self.recipe.total_epochs)

    def changed(self) -> None:
        """Deliver what is new."""
        self.deliver()

    def finish_event(self, trainer: Trainer, epochs: dict[int, Readings]) -> Finish:
        """Read test with the weights of the epoch that counts; keep these weights and the predictions as artifacts.

        Returns the final values, the cost and where they were computed.
        """
        kept = self.load_chosen(trainer)
        metrics, tags = self._final(trainer)
        with disk_errors(self.journal.artifacts):
            self.journal.artifacts.mkdir(exist_ok=True)
            made = describe(self.cell, self.final_recipe, self.context.packed.meta, self.identity.network)
            said = Exported(made, None).to_metadata()
            write_safetensors(self.journal.artifacts / WEIGHTS, trainer.model.state_dict(), said)
            write_text(self.journal.artifacts / MODEL, made.to_json())
        metrics |= self._cost | self._optimism(epochs, metrics) | spent(epochs)
        if trainer.recipe.best_val is not None:
            metrics["kept_epoch"] = float(kept)
        tags |= device_tags(trainer.device) | {"decisions": "; ".join(trainer.decisions)}
        tags["metric"] = self.metric().id  # what was read, which another call may have begun to read by another
        source = meter_of(trainer.device).source
        sharers = self.context.suite.runtime.cells_per_device or 1
        if source and sharers > 1:
            source += f"; {sharers} cells may have shared them"
        return Finish(step=trainer.epoch, metrics=metrics, tags=tags | {"energy_source": source})

    def _final(self, trainer: Trainer) -> tuple[Readings, dict[str, str]]:
        """Return every metric of the present weights on test, and on val where there is one, and the predictions' tags.

        The predictions are kept. Readings come from logits of full precision, the file has them in half.
        """
        metrics: Readings = {}
        tags: dict[str, str] = {}
        packed = self.context.packed
        for split in ("test",) if trainer.recipe.chooses_on_test else ("val", "test"):
            rows = packed.rows(split)
            if not len(rows):
                continue
            loss, found = trainer.predict(split)
            named = replace(found, ids=np.array([packed.index[row].path for row in rows], dtype=np.str_))
            own = self.metric()
            read = readings(named) | readings(named, [own]) | {"loss": loss}
            if split == "test" and own.id not in read:
                with suppress(ImportError):  # without scikit-learn it is had from the predictions elsewhere
                    own.value(named)  # raises, saying why there is none
            # The mean loss is the negative log-likelihood: kept twice only where it is the dataset's own metric.
            metrics |= {
                f"final_{split}_{name}": value for name, value in read.items() if name == own.id or name != "nll"
            }
            metrics[f"n_{split}"] = float(len(rows))
            with disk_errors(self.journal.artifacts):
                digest = named.save(self.journal.artifacts / PREDICTIONS / place_name(split))
            tags[PREDICTIONS_TAG + split] = digest
        return metrics, tags

    def metric(self) -> Metric:
        """Return the metric that the dataset is read by."""
        meta = self.context.packed.meta
        return metric_of(meta.metric, meta.target)

    def _optimism(self, epochs: dict[int, Readings], final: Readings) -> Readings:
        """Return what choosing the epoch on test would have added to the reported value, where test was read along."""
        metric = self.metric()
        curve = [values[f"test_{metric.id}"] for values in epochs.values() if f"test_{metric.id}" in values]
        if len(curve) < 2:
            return {}
        sign = 1 if metric.higher_is_better else -1
        best = max(sign * value for value in curve)
        # Test may be read in fewer epochs than val: then none of those read need be as good as the one that is kept.
        return {"optimism_of_choosing_on_test": max(best - sign * final[f"final_test_{metric.id}"], 0.0)}

    def note(self, message: str) -> None:
        """Pass on something a person should know about the cell."""
        self.context.listener.note(self.cell, message)


def move_journal(journal: Journal, experiment: str) -> None:
    """Make a journal that of a new run in another experiment, to be delivered there whole."""
    before = journal.delivery.run_id
    events = journal.events()
    for place, event in enumerate(events):
        if isinstance(event, Start):
            tags = event.tags | {"journal": uuid.uuid4().hex} | ({"delivered_before": before} if before else {})
            events[place] = replace(event, experiment=experiment, tags=tags)
    journal.rewrite(events)


def spent(epochs: Mapping[int, Readings]) -> Readings:
    """Return what training took: seconds, and energy in joules where it was measured in every epoch."""
    found = {"train_seconds": sum(values["epoch_seconds"] for values in epochs.values())}
    if all("energy_joules" in values for values in epochs.values()):
        found["train_energy_joules"] = sum(values["energy_joules"] for values in epochs.values())
    return found


def count(model: torch.nn.Module, size: InputSize) -> Readings:
    """Return the network's cost at the cell's class count and input size, as trained and, if it folds, as deployed."""
    counted = asdict(static_cost(model, size)) | {"weight_bytes": weight_bytes(model)}
    folded = deployed_cost(model, size)
    if folded is not None:
        counted |= {"deployed_params": folded.params, "deployed_macs": folded.macs}
    return {key: float(value) for key, value in counted.items()}


def train_data(packed: Packed, *, test: bool = True, chosen_on_test: bool = False) -> TrainData:
    """Return the packed dataset as the training loop wants it: rows to learn from, to choose on, to read at the end.

    test: whether those to read at the end are in it. chosen_on_test: whether the test rows are those to choose on.
    """

    def split(name: str) -> Split:
        return Split(*packed.arrays(packed.rows(name)))

    meta = packed.meta
    choice = "test" if chosen_on_test else "val"
    val = split(choice) if len(packed.rows(choice)) else None
    return TrainData(
        split("train"), val, split("test") if test else None, meta.mean, meta.std, len(meta.classes), meta.hflip,
        meta.target, meta.metric,
    )  # fmt: skip
