"""Writing the events of a journal to a store. Every kind of event is safe to be written twice."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException

from mobilebench.runs.events import Epoch, Fail, Finish, Interrupt, Resume, Start
from mobilebench.tracking.address import folder_name, sqlite_path, tagged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlflow.tracking import MlflowClient

    from mobilebench.runs.events import Event
    from mobilebench.runs.journal import Journal

_ENDINGS = {Finish: "FINISHED", Fail: "FAILED", Interrupt: "KILLED"}
_PAGE = 1000
_POINTS_PER_REQUEST = 900  # points; MLflow takes 1000 in one request


class RunWriter:
    """Writes events to the runs of one store."""

    def __init__(self, client: MlflowClient, address: str) -> None:
        self.client = client
        self._address = address
        self._experiments: dict[str, str] = {}

    def write(self, run_id: str | None, events: Sequence[Event], journal: Journal) -> str:
        """Write one event, or several epochs at once, and return the run's id."""
        event = events[0]
        if isinstance(event, Start):
            return self._start(run_id, event)
        assert run_id is not None, "a journal's first event starts its run"
        if isinstance(event, Epoch):
            epochs = [e for e in events if isinstance(e, Epoch)]
            self.client.log_batch(run_id, metrics=[point for e in epochs for point in _points(e)])
        elif isinstance(event, Resume):
            self.client.update_run(run_id, status="RUNNING")
        else:
            self._end(run_id, event, journal)
        return run_id

    def forget(self) -> None:
        """Ask for every experiment's id again."""
        self._experiments.clear()

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, made if there is none."""
        if name not in self._experiments:
            found = self.client.get_experiment_by_name(name)
            self._experiments[name] = found.experiment_id if found else self._create_experiment(name)
        return self._experiments[name]

    def search(self, experiment: str, query: str) -> Iterator[Run]:
        """Yield the runs of an experiment that a filter finds, page after page."""
        token = None
        while True:
            ids = [self.experiment(experiment)]
            page = self.client.search_runs(ids, query, ViewType.ACTIVE_ONLY, _PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def find(self, start: Start) -> str | None:
        """Return the run a journal went to, if its start arrived but the answer to it was lost."""
        run = next(self.search(start.experiment, tagged(journal=start.tags["journal"])), None)
        return str(run.info.run_id) if run else None

    def _start(self, run_id: str | None, event: Start) -> str:
        if run_id is None:
            run = self.client.create_run(
                self.experiment(event.experiment), start_time=event.time, tags=event.tags, run_name=event.run_name
            )
            run_id = str(run.info.run_id)
        params = [Param(key, str(value)) for key, value in event.params.items()]
        self.client.log_batch(run_id, params=params)
        data = event.dataset
        dataset = Dataset(data.name, data.digest, "local", data.source, profile=data.profile)
        self._log_dataset(run_id, DatasetInput(dataset, [InputTag("mlflow.data.context", "training")]))
        if event.redo:
            self.supersede(event.experiment, event.tags["identity"], keep=run_id)
        return run_id

    def _log_dataset(self, run_id: str, dataset: DatasetInput) -> None:
        """Log a run's dataset. MLflow looks for it and then inserts it: of two workers at once one fails, once."""
        try:
            self.client.log_inputs(run_id, [dataset])
        except MlflowException as error:
            if not any(word in str(error).lower() for word in ("unique", "duplicate")):
                raise
            self.client.log_inputs(run_id, [dataset])

    def supersede(self, experiment: str, identity: str, *, keep: str | None = None) -> int:
        """Mark the cell runs of an identity, all but `keep`, as superseded; return how many were marked."""
        runs = [r for r in self.search(experiment, tagged(kind="cell", identity=identity)) if r.info.run_id != keep]
        for run in runs:
            self.client.set_tag(run.info.run_id, "kind", "superseded cell")
        return len(runs)

    def _end(self, run_id: str, event: Finish | Fail | Interrupt, journal: Journal) -> None:
        if journal.artifacts.exists():
            self.client.log_artifacts(run_id, str(journal.artifacts))
        finished = isinstance(event, Finish)
        tags = {"reason": "", **event.tags} if finished else event.tags  # an earlier failure is no longer the reason
        metrics = _points(event) if isinstance(event, Finish) else ()
        self.client.log_batch(run_id, metrics=metrics, tags=[RunTag(key, value) for key, value in tags.items()])
        self.client.set_terminated(run_id, _ENDINGS[type(event)], end_time=event.time)

    def _create_experiment(self, name: str) -> str:
        local = sqlite_path(self._address) is not None
        place = (Path("mlartifacts") / folder_name(name)).resolve().as_uri() if local else None
        try:
            return str(self.client.create_experiment(name, artifact_location=place))
        except MlflowException:  # another worker was quicker
            found = self.client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)


def in_requests(events: Sequence[Event]) -> Iterator[list[Event]]:
    """Yield the events in order, consecutive epochs together as far as one request takes them."""
    request: list[Event] = []
    points = 0
    for event in events:
        size = len(event.metrics) if isinstance(event, Epoch) else 0
        together = bool(request) and isinstance(event, Epoch) and isinstance(request[0], Epoch)
        if request and not (together and points + size <= _POINTS_PER_REQUEST):
            yield request
            request, points = [], 0
        request.append(event)
        points += size
    if request:
        yield request


def _points(event: Epoch | Finish) -> list[Metric]:
    return [Metric(key, value, event.time, event.step) for key, value in event.metrics.items()]
