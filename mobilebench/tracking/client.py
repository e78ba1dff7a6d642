"""One tracking store: what the rest of the program may ask of it."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mobilebench.errors import TrackingError
from mobilebench.runs.journal import Delivery
from mobilebench.tracking.address import first_contact, shown, sqlite_path, tagged, uri
from mobilebench.tracking.errors import translated
from mobilebench.tracking.model_registry import Registry
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
        with self._errors("open"), first_contact(self.uri):
            self._client = MlflowClient(self.uri)
            self._client.search_experiments(max_results=1)
            self._writer = RunWriter(self._client, self.uri)

    def deliver(self, journal: Journal) -> str:
        """Write every event that the server does not have yet, in order, and return the run's id.

        An event whose answer was lost is written again: the run is found by the journal's id, and a store keeps a
        point with the same key, time, step and value only once. A store other than the one the journal went to so
        far, or one that was emptied, gets it from the beginning.
        """
        began = time.monotonic()
        try:
            with self._errors("write to"):
                return self._deliver(journal)
        except TrackingError:
            now = time.monotonic()
            self._retry_at = now + _BACK_OFF * (now - began)
            raise

    def is_backing_off(self) -> bool:
        """Return whether a delivery failed so lately that another try would only hold up the training."""
        return time.monotonic() < self._retry_at

    def _deliver(self, journal: Journal) -> str:
        state = journal.delivery
        known = state if state.store == self.store else Delivery(store=self.store)
        try:
            return self._deliver_from(known, journal)
        except MlflowException as error:
            if error.error_code != _GONE:
                raise
            self._writer.forget()  # the store was emptied: no run and no experiment is what it was
            return self._deliver_from(Delivery(store=self.store), journal)

    def _deliver_from(self, state: Delivery, journal: Journal) -> str:
        events = journal.events()
        start = journal.start
        run_id = state.run_id or (self._writer.find(start) if start is not None else None)
        done = state.events
        for request in in_requests(events[done:]):
            run_id = self._writer.write(run_id, request, journal)
            done += len(request)
            journal.delivery = Delivery(run_id, done, self.store)
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
        record = self.keep_earliest(start.experiment, start.tags["identity"])
        if record is None:
            raise TrackingError(
                f"{journal.folder.name} was delivered as run {run_id}, but {self.store} does not show it as finished: "
                "it was superseded or changed there. Train it anew with `mobilebench train --redo`"
            )
        return record

    def has_run(self, journal: Journal) -> bool:
        """Return whether this store still has the run that the journal was delivered to."""
        run_id = journal.delivery.run_id
        if run_id is None or journal.delivery.store != self.store:
            return False
        with self._errors("read"):
            try:
                return bool(self._client.get_run(run_id).info.lifecycle_stage == "active")
            except MlflowException as error:
                if error.error_code != _GONE:
                    raise
                return False

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
        with self._errors("read"):
            if name not in {item.path for item in self._client.list_artifacts(run_id)}:
                return None
            return Path(self._client.download_artifacts(run_id, name, str(folder)))

    def records(self, experiment: str) -> list[Record]:
        """Return a record for every run of a cell in an experiment, superseded ones left out.

        Raises TrackingError when there is no such experiment, naming those there are.
        """
        return [details.record for details in self.runs(experiment)]

    def runs(self, experiment: str) -> list[Details]:
        """Return every run of a cell in an experiment, superseded ones left out; raises as `records` does."""
        with self._errors("read"):
            if self._client.get_experiment_by_name(experiment) is None:
                names = ", ".join(self.experiments())
                raise TrackingError(
                    f"{self.store} has no experiment {experiment!r}; it has: {names or 'none'}. "
                    "Train first, or point MLFLOW_TRACKING_URI at the right store"
                )
            return [details_of(run) for run in self._writer.search(experiment, tagged(kind="cell"))]

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
        if not self.uri.startswith(("http://", "https://")):
            return None
        with self._errors("read"):
            experiment = self._client.get_run(run_id).info.experiment_id
        return f"{self.store}/#/experiments/{experiment}/runs/{run_id}"

    def log_artifacts(self, experiment: str, run_name: str, kind: str, folder: Path) -> str:
        """Keep a folder as artifacts of a new finished run of a kind (never `cell`), and return the run's id."""
        with self._errors("write to"):
            run = self._client.create_run(self._writer.experiment(experiment), run_name=run_name, tags={"kind": kind})
            self._client.log_artifacts(run.info.run_id, str(folder))
            self._client.set_terminated(run.info.run_id)
            return str(run.info.run_id)

    def parent_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> str:
        """Return the run of these tags that others stand under (`mlflow.parentRunId`), made now if there is none."""
        with self._errors("write to"):
            run = next(self._writer.search(experiment, tagged(**tags)), None)
            if run is None:
                run = self._client.create_run(self._writer.experiment(experiment), run_name=run_name, tags=tags)
                self._client.set_terminated(run.info.run_id)  # it holds runs, and nothing of its own runs
            return str(run.info.run_id)

    def add_artifacts(self, run_id: str, folder: Path) -> None:
        """Keep a folder as artifacts of a run."""
        with self._errors("write to"):
            self._client.log_artifacts(run_id, str(folder))

    def analyze(self) -> None:
        """Give sqlite its statistics: without them it reads metric histories by the wrong index, 50 times slower."""
        path = sqlite_path(self.uri)
        if path is not None:
            with self._errors("write to"), closing(sqlite3.connect(path, timeout=20)) as connection, connection:
                connection.execute("PRAGMA analysis_limit=1000")
                connection.execute("ANALYZE")

    def _errors(self, doing: str) -> AbstractContextManager[None]:
        return translated(self.uri, doing)
