"""Writing the events of a journal to a store. Every kind of event is safe to be written twice."""

from __future__ import annotations

import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag, ViewType
from mlflow.exceptions import MlflowException

from mobilebench.errors import TrackingError
from mobilebench.runs.events import Epoch, Fail, Finish, Interrupt, Resume, Start
from mobilebench.tracking.address import artifact_root, folder_name, is_server, mlflow_command, shown, tagged
from mobilebench.tracking.errors import reason_of
from mobilebench.tracking.local_artifacts import lay, local_place

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

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

    def write(self, run_id: str | None, events: Sequence[Event], journal: Journal, parent: str | None = None) -> str:
        """Write one event, or several epochs at once, and return the run's id. parent: the run it stands under."""
        event = events[0]
        if isinstance(event, Start):
            return self._start(run_id, event, {} if parent is None else {"mlflow.parentRunId": parent})
        assert run_id is not None, "a journal's first event starts its run"
        if isinstance(event, Epoch):
            epochs = [e for e in events if isinstance(e, Epoch)]
            self.client.log_batch(run_id, metrics=[point for e in epochs for point in _points(e)])
        elif isinstance(event, Resume):
            self.client.update_run(run_id, status="RUNNING")
            if event.tags:
                self.client.log_batch(run_id, tags=[RunTag(key, value) for key, value in event.tags.items()])
        else:
            self._end(run_id, event, journal)
        return run_id

    def forget(self) -> None:
        """Ask for every experiment's id again."""
        self._experiments.clear()

    def experiment(self, name: str) -> str:
        """Return the id of an experiment, made if there is none. Raises TrackingError for one in MLflow's trash."""
        return self.known_experiment(name) or self._experiments.setdefault(name, self._create_experiment(name))

    def known_experiment(self, name: str) -> str | None:
        """Return the id of an experiment, None if there is none. Raises TrackingError for one in MLflow's trash."""
        if name not in self._experiments:
            found = self.client.get_experiment_by_name(name)
            if found is None:
                return None
            if found.lifecycle_stage != "active":
                restore = mlflow_command("experiments", "restore", "--experiment-id", found.experiment_id)
                raise TrackingError(
                    f"experiment {name!r} of {shown(self._address)} was deleted in MLflow and is in its trash. "
                    f"`{restore}` brings it and its runs back; or give params.yaml another experiment"
                )
            self._experiments[name] = str(found.experiment_id)
        return self._experiments[name]

    def search(self, experiment: str, query: str) -> Iterator[Run]:
        """Yield the runs of an experiment that a filter finds, page after page; none where there is no experiment."""
        found, token = self.known_experiment(experiment), None
        while found is not None:
            page = self.client.search_runs([found], query, ViewType.ACTIVE_ONLY, _PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def find(self, start: Start) -> str | None:
        """Return the run a journal went to, if its start arrived but the answer to it was lost."""
        run = next(self.search(start.experiment, tagged(journal=start.tags["journal"])), None)
        return str(run.info.run_id) if run else None

    def create_run(self, experiment: str, run_name: str, tags: Mapping[str, str], time: int | None = None) -> str:
        """Make a run, once, and return its id.

        The answer to a request can be lost on its way. MLflow's client then asks again, which makes a second run: all
        but the one that is used are closed. The tag `journal` tells them; a run without one gets it here.
        """
        tags = {"journal": uuid.uuid4().hex, **_source(tags), **tags}
        run = self.client.create_run(self.experiment(experiment), start_time=time, tags=tags, run_name=run_name)
        run_id = str(run.info.run_id)
        self.close_strays(experiment, tags["journal"], run_id)
        return run_id

    def close_strays(self, experiment: str, journal: str, keep: str) -> None:
        """End the other runs that were made for a journal, as superseded. Only a server's answers can be lost."""
        if is_server(self._address):
            for run in self.search(experiment, tagged(journal=journal)):
                if run.info.run_id != keep:
                    self.close(run)

    def tidy(self, journal: Journal, run_id: str) -> None:
        """Close a journal's stray runs again: a lost request may be carried out long after the one that replaced it."""
        start = journal.start
        if start is not None:
            self.close_strays(start.experiment, start.tags["journal"], run_id)

    def close(self, run: Run) -> None:
        """End a run that nobody goes on with, so that it is neither running nor counted."""
        kind = run.data.tags.get("kind", "")
        if not kind.startswith("superseded"):
            self.client.set_tag(run.info.run_id, "kind", f"superseded {kind}".strip())
        if run.info.status in {"RUNNING", "SCHEDULED"}:
            self.client.set_terminated(run.info.run_id, "KILLED")

    def _start(self, run_id: str | None, event: Start, above: Mapping[str, str]) -> str:
        if run_id is None:
            run_id = self.create_run(event.experiment, event.run_name, {**event.tags, **above}, event.time)
        # The run above may be another than before, where that was deleted or its experiment renamed.
        self.client.log_batch(run_id, params=_params(event.params), tags=_tags(above))
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
            self.keep_artifacts(run_id, journal.artifacts)
        finished = isinstance(event, Finish)
        tags = {"reason": "", **event.tags} if finished else event.tags  # an earlier failure is no longer the reason
        metrics = _points(event) if isinstance(event, Finish) else ()
        params = _params(event.params or {}) if isinstance(event, Finish) else ()
        self.client.log_batch(run_id, metrics=metrics, params=params, tags=_tags(tags))
        self.client.set_terminated(run_id, _ENDINGS[type(event)], end_time=event.time)
        self.tidy(journal, run_id)

    def keep_artifacts(self, run_id: str, folder: Path) -> None:
        """Keep a folder as artifacts of a run. Raises TrackingError, naming their place, where it takes no more.

        In a folder of this machine, weights and predictions are hard links to those given: they take their place once.
        """
        here = None if is_server(self._address) else local_place(self.client.get_run(run_id).info.artifact_uri)
        try:
            if here is None:
                self.client.log_artifacts(run_id, str(folder))
            else:
                lay(folder, here)
        except OSError as error:
            place = "its artifact store"
            with suppress(MlflowException, OSError):
                place = shown(self.client.get_run(run_id).info.artifact_uri)
            raise TrackingError(
                f"cannot keep the artifacts of run {run_id} in {place} of {shown(self._address)}: "
                f"{reason_of(error, self._address)}. See to the disk that the artifacts are on (is it full, may it be "
                "written?); what waits is in the journals, and `mobilebench sync` delivers it then"
            ) from error

    def raise_if_artifacts_scatter(self, name: str) -> None:
        """Raise TrackingError where an experiment's artifacts would not lie with its runs.

        A database that is written to directly keeps runs only: each trainer's artifacts would stay in a folder of its
        own machine. A tracking server on the database takes both.
        """
        if artifact_root(self._address) is not None or is_server(self._address) or "://" not in self._address:
            return
        found = self.client.get_experiment_by_name(name)
        if found is None or found.artifact_location.startswith("mlflow-artifacts:"):
            raise TrackingError(
                f"{shown(self._address)} is a database, which keeps runs but no artifacts: the weights would stay in a "
                "folder of this machine. Start a tracking server on it (`mobilebench server --help`, its --database) "
                "and give MLFLOW_TRACKING_URI the server's address"
            )

    def _create_experiment(self, name: str) -> str:
        self.raise_if_artifacts_scatter(name)
        root = artifact_root(self._address)
        place = None
        if root is not None:  # made now, so that a folder that is moved before its first artifact is followed too
            (root / folder_name(name)).mkdir(parents=True, exist_ok=True)
            place = (root / folder_name(name)).as_uri()
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


def _params(values: Mapping[str, Any]) -> list[Param]:
    return [Param(key, str(value)) for key, value in values.items()]


def _tags(values: Mapping[str, str]) -> list[RunTag]:
    return [RunTag(key, value) for key, value in values.items()]


def _source(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that MLflow's UI shows as a run's source and its git commit."""
    program = f"mobilebench {tags['mobilebench']}" if "mobilebench" in tags else "mobilebench"
    found = {"mlflow.source.name": program, "mlflow.source.type": "LOCAL"}
    commit = tags.get("git_commit", "unknown")
    return found if commit == "unknown" else found | {"mlflow.source.git.commit": commit}
