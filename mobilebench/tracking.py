"""MLflow behind one class, and the only importer of it: deliver journals to runs, read runs back as records."""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

# Before the import below, which reads them. Telemetry off: a benchmark reports to its user only. Few and short HTTP
# retries: training must not stand still while a server is away, the journal delivers again later.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")

from filelock import FileLock
from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from mobilebench.errors import UserError
from mobilebench.journal import Delivery
from mobilebench.records import Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlflow.entities import Run

    from mobilebench.journal import Event, Journal

DEFAULT_URI = "sqlite:///mlflow.db"
_ENDINGS = {"finish": "FINISHED", "fail": "FAILED", "interrupt": "KILLED"}
_PAGE = 1000
_SQLITE = "sqlite:///"


class TrackingError(UserError):
    """The tracking server can't be reached or refuses; the message names it (without passwords) and what to do."""


def uri() -> str:
    """Return the tracking URI: MLFLOW_TRACKING_URI, else the sqlite file in this folder.

    A sqlite file's path is made absolute: MLflow keeps one open store per URI, whatever the folder is by then.
    """
    given = os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI
    if given.startswith(_SQLITE) and not given.startswith(f"{_SQLITE}/"):
        return f"{_SQLITE}{Path(given.removeprefix(_SQLITE)).resolve()}"
    return given


def shown(address: str) -> str:
    """Return a tracking URI without its user and password, for messages."""
    scheme, separator, rest = address.partition("://")
    return scheme + separator + rest.rpartition("@")[2]


class Tracker:
    """One tracking server. Raises TrackingError, never MLflow's or a database's own errors."""

    def __init__(self, address: str | None = None) -> None:
        self.uri = address or uri()
        self._experiments: dict[str, str] = {}
        with self._errors("open"), self._first_contact():
            self._client = MlflowClient(self.uri)
            self._client.search_experiments(max_results=1)

    def deliver(self, journal: Journal) -> str:
        """Tell the server every event it has not heard, in order, and return the run's id.

        An event whose answer was lost is told again: the run is found by the journal's id, and a store keeps a point
        with the same key, time, step and value only once.
        """
        events = journal.events()
        with self._errors("write to"):
            state = journal.delivery
            if state.run_id is None:
                state = self._find(events[0]) or state
            for number, event in enumerate(events[state.events :], start=state.events + 1):
                run_id = self._tell(state.run_id, event, journal)
                state = Delivery(run_id, number)
                journal.delivery = state
        assert state.run_id is not None
        return state.run_id

    def records(self, experiment: str) -> list[Record]:
        """Return a record for every run of a cell in an experiment, superseded ones left out.

        Raises TrackingError when there is no such experiment, naming those there are.
        """
        with self._errors("read"):
            found = self._client.get_experiment_by_name(experiment)
            if found is None:
                names = ", ".join(sorted(e.name for e in self._client.search_experiments() if e.name != "Default"))
                raise TrackingError(
                    f"{shown(self.uri)} has no experiment {experiment!r}; it has: {names or 'none'}. "
                    "Train first, or point MLFLOW_TRACKING_URI at the right store"
                )
            return [as_record(run) for run in self._search(found.experiment_id, "tags.kind = 'cell'")]

    def finished(self, experiment: str, identity: str) -> Record | None:
        """Return the finished record of an identity (hex digits) if the server has one."""
        with self._errors("read"):
            query = f"tags.kind = 'cell' and tags.identity = '{identity}' and attributes.status = 'FINISHED'"
            run = next(self._search(self._experiment(experiment), query), None)
            return as_record(run) if run else None

    def supersede(self, experiment: str, identity: str) -> int:
        """Mark the finished runs of an identity as superseded, so that no score takes them; return how many."""
        with self._errors("write to"):
            runs = list(self._search(self._experiment(experiment), f"tags.identity = '{identity}'"))
            for run in runs:
                self._client.set_tag(run.info.run_id, "kind", "superseded cell")
            return len(runs)

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
        return f"{shown(self.uri)}/#/experiments/{experiment}/runs/{run_id}"

    def log_artifacts(self, experiment: str, run_name: str, kind: str, folder: Path) -> str:
        """Keep a folder as artifacts of a new finished run of a kind (never `cell`), and return the run's id."""
        with self._errors("write to"):
            run = self._client.create_run(self._experiment(experiment), run_name=run_name, tags={"kind": kind})
            self._client.log_artifacts(run.info.run_id, str(folder))
            self._client.set_terminated(run.info.run_id)
            return str(run.info.run_id)

    def parent_run(self, experiment: str, run_name: str, tags: dict[str, str]) -> str:
        """Return the run of these tags that others stand under (`mlflow.parentRunId`), made now if there is none."""
        with self._errors("write to"):
            query = " and ".join(f"tags.{key} = '{value}'" for key, value in tags.items())
            run = next(self._search(self._experiment(experiment), query), None)
            if run is None:
                run = self._client.create_run(self._experiment(experiment), run_name=run_name, tags=tags)
                self._client.set_terminated(run.info.run_id)  # it holds runs, and nothing of its own runs
            return str(run.info.run_id)

    def add_artifacts(self, run_id: str, folder: Path) -> None:
        """Keep a folder as artifacts of a run."""
        with self._errors("write to"):
            self._client.log_artifacts(run_id, str(folder))

    def analyze(self) -> None:
        """Give sqlite its statistics: without them it reads metric histories by the wrong index, 50 times slower."""
        path = self._sqlite_path()
        if path is not None:
            with sqlite3.connect(path, timeout=20) as connection:
                connection.execute("PRAGMA analysis_limit=1000")
                connection.execute("ANALYZE")
            connection.close()

    def _tell(self, run_id: str | None, event: Event, journal: Journal) -> str:
        if event["type"] == "start":
            return run_id or self._start(event)
        assert run_id is not None, "a journal's first event starts its run"
        if event["type"] == "epoch":
            self._log_epoch(run_id, event)
        elif event["type"] == "resume":
            self._client.update_run(run_id, status="RUNNING")
        elif event["type"] in _ENDINGS:
            self._end(run_id, event, journal)
        return run_id

    def _start(self, event: Event) -> str:
        run = self._client.create_run(
            self._experiment(event["experiment"]),
            start_time=event["time"],
            tags=event["tags"],
            run_name=event["run_name"],
        )
        run_id = str(run.info.run_id)
        params = [Param(key, str(value)) for key, value in event["params"].items()]
        self._client.log_batch(run_id, params=params)
        data = event["dataset"]
        dataset = Dataset(data["name"], data["digest"], "local", data["source"], profile=data["profile"])
        self._client.log_inputs(run_id, [DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])])
        return run_id

    def _log_epoch(self, run_id: str, event: Event) -> None:
        points = [Metric(key, value, event["time"], event["step"]) for key, value in event["metrics"].items()]
        self._client.log_batch(run_id, metrics=points)

    def _end(self, run_id: str, event: Event, journal: Journal) -> None:
        if journal.artifacts.exists():
            self._client.log_artifacts(run_id, str(journal.artifacts))
        points = [Metric(key, value, event["time"], event["step"]) for key, value in event.get("metrics", {}).items()]
        tags = [RunTag(key, value) for key, value in event.get("tags", {}).items()]
        self._client.log_batch(run_id, metrics=points, tags=tags)
        self._client.set_terminated(run_id, _ENDINGS[event["type"]], end_time=event["time"])

    def _find(self, start: Event) -> Delivery | None:
        """Return the run a journal went to, if its start was heard but the answer to it was lost."""
        query = f"tags.journal = '{start['tags']['journal']}'"
        run = next(self._search(self._experiment(start["experiment"]), query), None)
        return Delivery(run.info.run_id, 1) if run else None

    def _experiment(self, name: str) -> str:
        if name not in self._experiments:
            found = self._client.get_experiment_by_name(name)
            self._experiments[name] = found.experiment_id if found else self._create_experiment(name)
        return self._experiments[name]

    def _create_experiment(self, name: str) -> str:
        local = self._sqlite_path() is not None
        place = (Path("mlartifacts") / name.replace("/", "_")).resolve().as_uri() if local else None
        try:
            return str(self._client.create_experiment(name, artifact_location=place))
        except MlflowException:  # another worker was quicker
            found = self._client.get_experiment_by_name(name)
            if found is None:
                raise
            return str(found.experiment_id)

    def _search(self, experiment_id: str, query: str) -> Iterator[Run]:
        token = None
        while True:
            page = self._client.search_runs([experiment_id], query, ViewType.ACTIVE_ONLY, _PAGE, page_token=token)
            yield from page
            token = page.token
            if not token:
                return

    def _sqlite_path(self) -> Path | None:
        return Path(self.uri.removeprefix(_SQLITE)) if self.uri.startswith(_SQLITE) else None

    def _first_contact(self) -> FileLock | nullcontext[None]:
        """Lock a sqlite file's first opening: processes creating its tables at the same time break each other."""
        path = self._sqlite_path()
        if path is None:
            return nullcontext()
        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(f"{path}.lock")

    def _errors(self, doing: str) -> _Errors:
        return _Errors(self.uri, doing)


class _Errors:
    """Turn whatever a tracking store raises into a TrackingError that says where and what to do."""

    def __init__(self, address: str, doing: str) -> None:
        self._address, self._doing = address, doing

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (MlflowException, OSError, sqlite3.Error)):
            reason = str(error).splitlines()[0].replace(self._address, shown(self._address))[:300]
            raise TrackingError(
                f"cannot {self._doing} the tracking store {shown(self._address)}: {reason}. "
                "Check MLFLOW_TRACKING_URI and that the server runs"
            ) from error


def as_record(run: Run) -> Record:
    """Return a run of a cell as a record; values that its run lacks are None, unreadable tags raise TrackingError."""
    tags, metrics = run.data.tags, run.data.metrics
    finished = run.info.status == "FINISHED"

    def whole(key: str) -> int | None:
        return int(metrics[key]) if key in metrics else None

    try:
        return Record(
            run_id=run.info.run_id,
            model=tags["model"],
            dataset=tags["dataset"],
            seed=int(tags["seed"]),
            protocol_hash=tags["protocol_hash"],
            data_digest=tags["data_digest"],
            code_version=int(tags["code_version"]),
            status=run.info.status,
            test_top1=metrics.get("final_test_top1") if finished else None,
            test_loss=metrics.get("final_test_loss") if finished else None,
            n_test=whole("n_test"),
            params=whole("params"),
            macs=whole("macs"),
            train_seconds=metrics.get("train_seconds"),
            git_commit=tags.get("git_commit"),
        )
    except (KeyError, ValueError) as error:
        raise TrackingError(
            f"run {run.info.run_id} is tagged kind=cell but its tag {error} is missing or unreadable; delete the run"
        ) from None


def now_ms() -> int:
    """Return the time as MLflow counts it, in milliseconds since 1970."""
    return int(time.time() * 1000)
