"""One tracking store: what the rest of the program may ask of it."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mobilebench.errors import TrackingError
from mobilebench.runs.events import Finish
from mobilebench.runs.journal import Delivery
from mobilebench.runs.score_check import Whereabouts
from mobilebench.tracking.address import first_contact, is_server, mlflow_command, shown, sqlite_path, tagged, uri
from mobilebench.tracking.errors import opening, translated
from mobilebench.tracking.local_artifacts import local_place
from mobilebench.tracking.model_registry import Registry
from mobilebench.tracking.moved import follow_artifacts
from mobilebench.tracking.reachable import raise_if_unreachable
from mobilebench.tracking.reader import Details, details_of, record_of
from mobilebench.tracking.writer import RunWriter, in_requests

if TYPE_CHECKING:
    from collections.abc import Iterable
    from contextlib import AbstractContextManager

    from mlflow.entities import Run

    from mobilebench.runs.journal import Journal
    from mobilebench.runs.records import Record

_BACK_OFF = 10  # times as long as a failed try took: an absent server costs training a tenth of its time at most
_GONE = "RESOURCE_DOES_NOT_EXIST"


class Tracker:
    """One tracking server. Raises TrackingError, never MLflow's or a database's own errors."""

    def __init__(self, address: str | None = None) -> None:
        self.uri = address or uri()
        self.store = shown(self.uri)
        self._retry_at = 0.0
        with opening(self.uri), first_contact(self.uri):
            raise_if_unreachable(self.uri)
            self._client = MlflowClient(self.uri)
            self._client.search_experiments(max_results=1)
            follow_artifacts(self.uri)
            self._writer = RunWriter(self._client, self.uri)

    def prepare(self, experiment: str) -> None:
        """Make sure, before anything is trained, that runs can be written to an experiment, made now if there is none.

        Raises TrackingError for one in MLflow's trash, and where its artifacts could not be kept with its runs.
        """
        with self._errors("write to"):
            self._writer.raise_if_artifacts_scatter(experiment)
            self._writer.experiment(experiment)

    def deliver(self, journal: Journal, parent: str | None = None) -> str:
        """Write every event that the server does not have yet, in order, and return the run's id.

        parent: of a trial, the run of its cell, under which its own stands.

        An event whose answer was lost is written again: the run is found by the journal's id, and a store keeps a
        point with the same key, time, step and value only once. A store other than the one the journal went to so
        far, or one that was emptied, gets it from the beginning.
        """
        began = time.monotonic()
        try:
            with self._errors("write to"):
                return self._deliver(journal, parent)
        except TrackingError:
            self._writer.forget()  # it may have been deleted in MLflow meanwhile: the next try says so
            now = time.monotonic()
            self._retry_at = now + _BACK_OFF * (now - began)
            raise

    def deliver_trial(self, trial: Journal, cell: Journal) -> None:
        """Deliver the journal of a trial of a tuned cell, and before it what the server lacks of the cell's own."""
        self.deliver(trial, self.deliver(cell))

    def is_backing_off(self) -> bool:
        """Return whether a delivery failed so lately that another try would only hold up the training."""
        return time.monotonic() < self._retry_at

    def _deliver(self, journal: Journal, parent: str | None) -> str:
        state, nothing = journal.delivery, Delivery(store=self.store, parent=parent)
        known = state if (state.store, state.parent) == (self.store, parent) else nothing
        try:
            return self._deliver_from(known, journal)
        except MlflowException as error:
            if error.error_code != _GONE and not self._is_deleted(known.run_id):
                raise
            self._writer.forget()  # the store was emptied, or the run deleted: the journal still has it all
            return self._deliver_from(nothing, journal)

    def _is_deleted(self, run_id: str | None) -> bool:
        with suppress(MlflowException):
            return run_id is not None and self._client.get_run(run_id).info.lifecycle_stage != "active"
        return False

    def _deliver_from(self, state: Delivery, journal: Journal) -> str:
        events = journal.events()
        start = journal.start
        run_id = state.run_id or (self._writer.find(start) if start is not None else None)
        done = state.events
        for request in in_requests(events[done:]):
            run_id = self._writer.write(run_id, request, journal, state.parent)
            done += len(request)
            journal.delivery = replace(state, run_id=run_id, events=done)
        assert run_id is not None
        return run_id

    def publish(self, journal: Journal) -> Record:
        """Deliver a finished journal and return its cell's record: its own, or an earlier one of the same identity.

        A store that no longer has the run it was given gets it again: the journal still has it all. Raises
        TrackingError when the store does not show the cell as finished in spite of that.
        """
        start = journal.start
        assert start is not None, "only a journal that was started can be finished"
        if journal.is_delivered(self.store) and not self.has_run(journal):
            journal.forget_delivery()
        run_id = self.deliver(journal)
        if not self.has_run(journal):  # begun in an experiment that was renamed meanwhile
            journal.forget_delivery()
            run_id = self.deliver(journal)
        experiment, identity = start.experiment, start.tags["identity"]
        record = self.keep_earliest(experiment, identity) or self._take_back(run_id, experiment, identity)
        if record is None:
            delete = mlflow_command("runs", "delete", "--run-id", run_id)
            raise TrackingError(
                f"{journal.folder.name} was delivered as run {run_id}, but {self.store} does not show it as finished: "
                f"its tags were changed there. After `{delete}`, `mobilebench sync` delivers it again as it was"
            )
        return record

    def _take_back(self, run_id: str, experiment: str, identity: str) -> Record | None:
        """Let a superseded run count again if the one that took its place was deleted, and return its record.

        Raises TrackingError where that one is there and not finished; it is another machine's, trained with --redo.
        """
        with self._errors("write to"):
            if self._client.get_run(run_id).data.tags.get("kind") != "superseded cell":
                return None
            run = next(self._writer.search(experiment, tagged(kind="cell", identity=identity)), None)
            if run is not None:
                delete = mlflow_command("runs", "delete", "--run-id", run.info.run_id)
                raise TrackingError(
                    f"run {run_id} of {self.store} is finished, but run {run.info.run_id} takes its place (it was "
                    f"begun with --redo) and is {run.info.status}. Finish that one where it is trained; or, after "
                    f"`{delete}`, `mobilebench sync` lets the finished one count again"
                )
            self._client.set_tag(run_id, "kind", "cell")
        return self.keep_earliest(experiment, identity)

    def tidy(self, journal: Journal) -> None:
        """Close the stray runs that lost answers made beside the one a journal was delivered to."""
        run_id = journal.delivery.run_id
        if run_id is not None and journal.delivery.store == self.store:
            with self._errors("write to"):
                self._writer.tidy(journal, run_id)

    def give_way(self, journal: Journal, record: Record) -> None:
        """Let a journal's own run, if it has one, give way to a finished one of its identity: two would be counted.

        A journal that was trained to its end then counts as delivered, as that run. Of a tuned cell the runs of its
        trials are closed with its own, and those that have none get none.
        """
        with self._errors("write to"):
            for own in (journal, *journal.trials().values()):
                self._close_run_of(own, record)
        for trial in journal.trials().values():
            state = trial.delivery
            trial.delivery = Delivery(state.run_id, len(trial.events()), self.store, record.run_id)
        if journal.last(Finish) is not None:
            journal.delivery = Delivery(record.run_id, len(journal.events()), self.store)

    def _close_run_of(self, journal: Journal, record: Record) -> None:
        own = journal.delivery
        if own.run_id not in {None, record.run_id} and own.store == self.store:
            with suppress(MlflowException):  # deleted by someone: nothing to close
                self._writer.close(self._client.get_run(own.run_id))

    def has_run(self, journal: Journal) -> bool:
        """Return whether this store has the run that the journal was delivered to, in its experiment and ended."""
        delivery, start = journal.delivery, journal.start
        if delivery.run_id is None or start is None or delivery.store != self.store:
            return False
        found = self.whereabouts(delivery.run_id)
        return found is not None and found == Whereabouts(start.experiment, "FINISHED", superseded=found.superseded)

    def whereabouts(self, run_id: str) -> Whereabouts | None:
        """Return where a run is, in MLflow's trash too, None when this store has no such run."""
        with self._errors("read"):
            try:
                run = self._client.get_run(run_id)
            except MlflowException as error:
                if error.error_code != _GONE:
                    raise
                return None
            experiment = self._client.get_experiment(run.info.experiment_id)
        restore = mlflow_command("runs", "restore", "--run-id", run_id)
        return Whereabouts(
            experiment.name,
            str(run.info.status),
            superseded=run.data.tags.get("kind", "").startswith("superseded"),
            restore=restore if run.info.lifecycle_stage != "active" else "",
        )

    @cached_property
    def registry(self) -> Registry:
        """The registered models of this store."""
        return Registry(self._client, self.uri)

    def run(self, run_id: str) -> Details:
        """Return one run of a cell. Raises TrackingError when there is no such run."""
        with self._errors("read"):
            return details_of(self._client.get_run(run_id))

    def artifact(self, run_id: str, name: str, folder: Path) -> Path | None:
        """Fetch one artifact of a run into a folder and return its path, None when the run has none of that name."""
        if not self.has_artifact(run_id, name):
            return None
        with self._errors("read"):
            return Path(self._client.download_artifacts(run_id, name, str(folder)))

    def has_artifact(self, run_id: str, name: str) -> bool:
        """Return whether a run has an artifact of a name."""
        with self._errors("read"):
            above = str(PurePosixPath(name).parent)
            return name in {item.path for item in self._client.list_artifacts(run_id, None if above == "." else above)}

    def artifact_folder(self, artifact_uri: str) -> Path | None:
        """Return the folder of a run's artifacts where this store is files of this machine, else None."""
        return None if is_server(self.uri) else local_place(artifact_uri)

    def records(self, experiment: str) -> list[Record]:
        """Return a record for every run of a cell in an experiment, superseded ones left out.

        Raises TrackingError when there is no such experiment, naming those there are.
        """
        return [details.record for details in self.runs(experiment)]

    def runs(self, experiment: str) -> list[Details]:
        """Return every run of a cell in an experiment, superseded ones left out; raises as `records` does."""
        with self._errors("read"):
            if self._writer.known_experiment(experiment) is None:
                names = ", ".join(self.experiments())
                raise TrackingError(
                    f"{self.store} has no experiment {experiment!r}; it has: {names or 'none'}. "
                    "Train first, or point MLFLOW_TRACKING_URI at the right store"
                )
            return [details_of(run) for run in self._writer.search(experiment, tagged(kind="cell"))]

    def has_experiment(self, name: str) -> bool:
        """Return whether there is an experiment of this name. Raises TrackingError for one in MLflow's trash."""
        with self._errors("read"):
            return self._writer.known_experiment(name) is not None

    def experiments(self) -> list[str]:
        """Return the names of the experiments, sorted."""
        with self._errors("read"):
            return sorted(e.name for e in self._client.search_experiments() if e.name != "Default")

    def finished(self, experiment: str, identity: str) -> Record | None:
        """Return the finished record of an identity (hex digits) if the server has one; the earliest of several."""
        with self._errors("read"):
            runs = self._finished(experiment, identity)
            return record_of(runs[0]) if runs else None

    def keep_earliest(self, experiment: str, identity: str) -> Record | None:
        """Return the finished record of an identity, after marking all but the earliest as superseded.

        Two machines that trained one cell without seeing each other both delivered it; the rule does not look at the
        accuracy, and every machine that applies it comes to the same run.
        """
        with self._errors("write to"):
            runs = self._finished(experiment, identity)
            for run in runs[1:]:
                self._client.set_tag(run.info.run_id, "kind", "superseded cell")
            return record_of(runs[0]) if runs else None

    def _finished(self, experiment: str, identity: str) -> list[Run]:
        query = tagged(kind="cell", identity=identity) + " and attributes.status = 'FINISHED'"
        return sorted(self._writer.search(experiment, query), key=lambda run: (run.info.end_time or 0, run.info.run_id))

    def supersede(self, experiment: str, identity: str) -> int:
        """Mark the runs of an identity as superseded, so that no score takes them; return how many."""
        with self._errors("write to"):
            return self._writer.supersede(experiment, identity)

    def curves(self, run_id: str, keys: Iterable[str]) -> dict[str, list[tuple[int, float]]]:
        """Return the (epoch, value) points of metrics of a run, in the order of epochs."""
        with self._errors("read"):
            return {
                key: sorted({(m.step, m.value) for m in self._client.get_metric_history(run_id, key)}) for key in keys
            }

    def run_url(self, run_id: str) -> str | None:
        """Return the address of a run's page, None when the store is a file and no server has an address."""
        if not is_server(self.uri):
            return None
        with self._errors("read"):
            experiment = self._client.get_run(run_id).info.experiment_id
        return f"{self.store}/#/experiments/{experiment}/runs/{run_id}"

    def runs_page(self, experiment: str, server: str) -> str:
        """Return the address of an experiment's table of runs in a server's UI; of all experiments where it is none.

        MLflow's UI opens for language models unless the address says that models are trained; it reads no tag of the
        experiment for that (3.17).
        """
        with self._errors("read"):
            found = self._writer.known_experiment(experiment)
        place = "experiments" if found is None else f"experiments/{found}/runs"
        return f"{server}/#/{place}?workflowType=machine_learning"

    def log_artifacts(self, experiment: str, run_name: str, kind: str, folder: Path) -> str:
        """Keep a folder as artifacts of a new finished run of a kind (never `cell`), and return the run's id."""
        with self._errors("write to"):
            run_id = self._writer.create_run(experiment, run_name, {"kind": kind})
            self._writer.keep_artifacts(run_id, folder)
            self._client.set_terminated(run_id)
            return run_id

    def parent_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> str:
        """Return the run of these tags that others stand under (`mlflow.parentRunId`), made now if there is none."""
        with self._errors("write to"):
            run = next(self._writer.search(experiment, tagged(**tags)), None)
            if run is not None:
                return str(run.info.run_id)
            run_id = self._writer.create_run(experiment, run_name, tags)
            self._client.set_terminated(run_id)  # it holds runs, and nothing of its own runs
            return run_id

    def add_artifacts(self, run_id: str, folder: Path) -> None:
        """Keep a folder as artifacts of a run."""
        with self._errors("write to"):
            self._writer.keep_artifacts(run_id, folder)

    def analyze(self) -> None:
        """Give sqlite its statistics: without them it reads metric histories by the wrong index, 50 times slower."""
        path = sqlite_path(self.uri)
        if path is not None:
            with self._errors("write to"), closing(sqlite3.connect(path, timeout=20)) as connection, connection:
                connection.execute("PRAGMA analysis_limit=1000")
                connection.execute("ANALYZE")

    def _errors(self, doing: str) -> AbstractContextManager[None]:
        return translated(self.uri, doing)
