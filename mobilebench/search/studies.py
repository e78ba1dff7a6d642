"""Optuna behind two classes, and the only importer of it: the studies of a storage, and one study."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.importance import FanovaImportanceEvaluator
from optuna.storages import RDBStorage
from optuna.trial import TrialState, create_trial
from sqlalchemy import create_engine, inspect
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from mobilebench.errors import UserError
from mobilebench.search.space import SETTINGS
from mobilebench.search.trials import TrialRow, coordinates
from mobilebench.system.locks import locked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from mobilebench.search.identity import Identity
    from mobilebench.search.space import Point
    from mobilebench.search.trials import State, Values

DEFAULT_STORAGE = "sqlite:///.mobilebench/sensitivity.db"
LOCK = Path(".mobilebench/sensitivity.lock")
_OPTUNA = ("study_", "trial_", "trials", "version_info")  # how the names of its tables begin, besides `studies`
_STATES: dict[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.FAIL: "failed",
    TrialState.PRUNED: "pruned",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}
optuna.logging.set_verbosity(optuna.logging.WARNING)


class StudyError(UserError):
    """A storage cannot be used, or a study is not of this protocol, data, code or validation cut."""


@dataclass(frozen=True)
class TrialLease:
    """A trial this process may run: its number in the study, Optuna's id, its settings and their key."""

    number: int
    trial_id: int
    values: Values
    source: str
    key: str


class Studies:
    """The studies of one storage. Raises StudyError, never SQLAlchemy's or a driver's own errors."""

    def __init__(self, url: str = DEFAULT_STORAGE) -> None:
        with _errors(url):
            folder = make_url(url).database if url.startswith("sqlite") else None
            LOCK.parent.mkdir(parents=True, exist_ok=True)
            if folder:
                Path(folder).parent.mkdir(parents=True, exist_ok=True)
            raise_if_foreign(url)
            with locked(LOCK):  # processes that create the tables at the same time break each other
                self.storage = RDBStorage(url)
        self.url = url

    def open(self, identity: Identity, name: str) -> ProbeStudy:
        """Return the study of this name, made now if there is none. Raises StudyError for one of another identity."""
        with _errors(self.url), locked(LOCK):
            study = optuna.create_study(
                storage=self.storage, study_name=name, direction="maximize", load_if_exists=True,
                sampler=optuna.samplers.RandomSampler(seed=0),
            )  # fmt: skip
            if not study.user_attrs and not study.get_trials(deepcopy=False):
                for key, value in asdict(identity).items():
                    study.set_user_attr(key, value)
        return self._checked(study, identity)

    def find(self, identity: Identity, name: str) -> ProbeStudy | None:
        """Return the study of this name, None if there is none. Raises StudyError for one of another identity."""
        with _errors(self.url):
            if name not in optuna.get_all_study_names(self.storage):
                return None
            return self._checked(optuna.load_study(study_name=name, storage=self.storage), identity)

    def others(self, identity: Identity, name: str) -> dict[str, list[str]]:
        """Return the studies of the same model, dataset and seed under other identities: name -> what differs."""
        with _errors(self.url):
            found = optuna.get_all_study_summaries(self.storage, include_best_trial=False)
        cell = (identity.model, identity.dataset, identity.seed)
        attrs = {s.study_name: s.user_attrs for s in found if s.study_name != name}
        same = {n: a for n, a in attrs.items() if (a.get("model"), a.get("dataset"), a.get("seed")) == cell}
        return {n: identity.differences(a) for n, a in same.items()}

    def _checked(self, study: optuna.Study, identity: Identity) -> ProbeStudy:
        differences = identity.differences(study.user_attrs)
        if differences:
            raise StudyError(
                f"study {study.study_name} was made under {'; '.join(differences)}: its trials cannot be mixed with "
                "these. Restore that protocol and data, or use another --storage"
            )
        return ProbeStudy(study, self, identity)


class ProbeStudy:
    """One Optuna study: the trials of one cell's probe."""

    def __init__(self, study: optuna.Study, studies: Studies, identity: Identity) -> None:
        self._study = study
        self._storage = studies.storage
        self.url = studies.url
        self.identity = identity
        self.name = study.study_name

    def enqueue(self, points: Sequence[Point], *, retry_failed: bool = False) -> int:
        """Add a waiting trial for each point that has none and return how many were added.

        A point whose trial failed counts as tried, unless `retry_failed`.
        """
        with _errors(self.url), locked(LOCK):  # two processes that start together must not both add a point
            tried = [t for t in self._trials() if not (retry_failed and t.state == TrialState.FAIL)]
            known = {t.user_attrs.get("key") for t in tried}
            new = [point for point in points if point.key not in known]
            distributions = _distributions([p.values for p in points] + [t.params for t in tried])
            for point in new:
                self._study.add_trial(
                    create_trial(
                        state=TrialState.WAITING,
                        params=point.values,
                        distributions=distributions,
                        user_attrs={"key": point.key, "source": point.source},
                    )
                )
        return len(new)

    def lease(self, keys: set[str], is_held: Callable[[str], bool], skip: set[int]) -> TrialLease | None:
        """Take one trial of `keys` for this process, None when none is left.

        Those that were running when their process was killed come first. `is_held` tells whether a process of this
        machine works on a key; trials of other machines are left to them.
        """
        with _errors(self.url):
            open_trials = [t for t in self._trials() if t.number not in skip and t.user_attrs.get("key") in keys]
            for trial in open_trials:
                if trial.state == TrialState.RUNNING and self._is_orphan(trial, is_held):
                    return _leased(trial)
            for trial in open_trials:
                if trial.state == TrialState.WAITING and self._take(trial):
                    return _leased(trial)
        return None

    def elsewhere(self) -> dict[str, int]:
        """Return how many trials run on other machines, by machine."""
        hosts = [t.user_attrs.get("host") for t in self._trials() if t.state == TrialState.RUNNING]
        return {host: hosts.count(host) for host in hosts if host and host != socket.gethostname()}

    def take_over(self) -> None:
        """Count the running trials of other machines as this machine's: those machines are gone."""
        with _errors(self.url):
            for trial in self._trials():
                if trial.state == TrialState.RUNNING:
                    self._storage.set_trial_user_attr(_id(trial), "host", socket.gethostname())

    def complete(self, lease: TrialLease, val_top1: float, extra: Mapping[str, float]) -> None:
        """Record a finished trial: its last epoch's validation top-1 (fraction) is the study's value."""
        self._end(lease, TrialState.COMPLETE, val_top1, dict(extra))

    def fail(self, lease: TrialLease, reason: str) -> None:
        """Record a trial that could not be trained, with its reason."""
        self._end(lease, TrialState.FAIL, None, {"reason": reason})

    def prune(self, lease: TrialLease) -> None:
        """Record a trial that was given up early."""
        self._end(lease, TrialState.PRUNED, None, {})

    def rows(self) -> list[TrialRow]:
        """Return every trial."""
        with _errors(self.url):
            return [_row(trial, self.identity.seed) for trial in self._trials()]

    def _trials(self) -> list[FrozenTrial]:
        return self._study.get_trials(deepcopy=False)

    def _is_orphan(self, trial: FrozenTrial, is_held: Callable[[str], bool]) -> bool:
        host = trial.user_attrs.get("host", socket.gethostname())
        return host == socket.gethostname() and not is_held(trial.user_attrs["key"])

    def _take(self, trial: FrozenTrial) -> bool:
        if not self._storage.set_trial_state_values(_id(trial), TrialState.RUNNING):
            return False  # another process was quicker
        self._storage.set_trial_user_attr(_id(trial), "host", socket.gethostname())
        return True

    def _end(self, lease: TrialLease, state: TrialState, value: float | None, attrs: Mapping[str, Any]) -> None:
        with _errors(self.url):
            for key, found in attrs.items():
                self._storage.set_trial_user_attr(lease.trial_id, key, found)
            self._study.tell(lease.number, value, state)


@dataclass(frozen=True)
class Pruning:
    """How a worker asks whether to give up: where the trial is, and by which rule."""

    url: str
    study: str
    trial_id: int
    rule: str

    def judge(self, epochs: int) -> Callable[[int, float], bool]:
        """Return a function that reports (epoch, validation top-1) and tells whether to give up."""
        pruner: optuna.pruners.BasePruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=max(1, epochs // 16))
        if self.rule == "hyperband":
            pruner = optuna.pruners.HyperbandPruner(min_resource=max(1, epochs // 16), max_resource=epochs)
        with _errors(self.url):
            study = optuna.load_study(study_name=self.study, storage=RDBStorage(self.url), pruner=pruner)
            trial = optuna.Trial(study, self.trial_id)

        def give_up(epoch: int, val_top1: float) -> bool:
            with _errors(self.url):
                trial.report(val_top1, epoch)
                return epoch < epochs and trial.should_prune()

        return give_up


def importances(
    rows: Sequence[Values], top1: Sequence[float], names: Sequence[str], refits: int
) -> NDArray[np.float64]:
    """Return fANOVA importances, [refits, settings]; each row sums to 1 (or is 0 where nothing varies).

    Hutter, Hoos and Leyton-Brown 2014, by Optuna's forest of 64 trees on each setting's own axis (logarithmic where
    `SETTINGS` says so: on a plain one the largest learning rates would fill nearly all of the space). Each refit has
    another forest seed and trials drawn with replacement. Optuna's default evaluator (PED-ANOVA) asks what brings a
    trial to the top, another question, and needs more trials than a probe has.
    """
    points, values = coordinates(rows, names), np.asarray(top1, dtype=np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    axes: dict[str, BaseDistribution] = {
        n: optuna.distributions.FloatDistribution(a, b) for n, a, b in zip(names, low, high, strict=True)
    }
    rng = np.random.default_rng(0)
    found = np.zeros((refits, len(names)))
    for refit in range(refits):
        picked = rng.integers(0, len(values), len(values))
        study = optuna.create_study(direction="maximize")
        for i in picked:
            place = dict(zip(names, map(float, points[i]), strict=True))
            study.add_trial(create_trial(params=place, distributions=axes, value=values[i]))
        if np.ptp(values[picked]) > 0:
            by_name = optuna.importance.get_param_importances(study, evaluator=FanovaImportanceEvaluator(seed=refit))
            found[refit] = [by_name[name] for name in names]
    return found


def _distributions(rows: Sequence[Mapping[str, Any]]) -> dict[str, BaseDistribution]:
    """Every setting's range over all its values; Optuna wants one for each parameter, and its dashboard shows it."""
    found: dict[str, BaseDistribution] = {}
    for name, setting in SETTINGS.items():
        values = [row[name] for row in rows]
        if setting.scale == "choice":
            found[name] = optuna.distributions.CategoricalDistribution(("fp32", "bf16"))
        elif setting.whole:
            found[name] = optuna.distributions.IntDistribution(min(values), max(values))
        else:
            log = setting.scale == "log" and name == "lr"  # the others may be 0
            found[name] = optuna.distributions.FloatDistribution(min(values), max(values), log=log)
    return found


def _id(trial: FrozenTrial) -> int:
    return trial._trial_id  # noqa: SLF001 - the storage's own key, which no public attribute gives


def _leased(trial: FrozenTrial) -> TrialLease:
    attrs = trial.user_attrs
    return TrialLease(trial.number, _id(trial), dict(trial.params), attrs["source"], attrs["key"])


def _row(trial: FrozenTrial, seed: int) -> TrialRow:
    attrs = trial.user_attrs
    state = _STATES[trial.state]
    value = trial.value if state == "complete" else None
    return TrialRow(
        trial.number, seed, dict(trial.params), attrs.get("source", ""), state, value, attrs.get("reason", "")
    )


def raise_if_foreign(url: str) -> None:
    """Raise StudyError for a database that holds tables and none of Optuna's: it is another program's, MLflow's say.

    Optuna would add its own tables there before it finds that it cannot use them. A database that is not there yet is
    left to Optuna to make.
    """
    address = make_url(url)
    if address.get_backend_name() == "sqlite" and not Path(address.database or "").is_file():
        return
    engine = create_engine(address)
    try:
        tables = set(inspect(engine).get_table_names())
    finally:
        engine.dispose()
    others = tables - {name for name in tables if name.startswith(_OPTUNA)} - {"studies", "alembic_version"}
    if others and not {"studies", "version_info"} <= tables:
        whose = "MLflow's" if {"experiments", "runs"} <= tables else "another program's"
        raise StudyError(
            f"the database {_shown(url)} is {whose} (it has the tables {', '.join(sorted(others)[:5])}, ...); studies "
            f"need one of their own, as {DEFAULT_STORAGE} is. Nothing was changed in it"
        )


@contextmanager
def _errors(url: str) -> Iterator[None]:
    try:
        yield
    except StudyError:
        raise
    # RuntimeError: tables of another version; ValueError: an address that is none
    except (SQLAlchemyError, optuna.exceptions.OptunaError, ImportError, OSError, RuntimeError, ValueError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
        raise StudyError(
            f"cannot use the Optuna storage {_shown(url)}: {reason}. Expected an address "
            "like sqlite:///.mobilebench/sensitivity.db or postgresql://user:password@host/database that answers"
        ) from error


def _shown(url: str) -> str:
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (SQLAlchemyError, ValueError):  # ValueError: a port that is no number
        return url.rpartition("@")[2]
