"""A suite: a named grid of models x datasets x seeds with its protocol, read from params.yaml or packaged."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import resources
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mobilebench.config.data import DataSource  # noqa: TC001 - pydantic needs the name at run time
from mobilebench.config.ids import is_id, slug
from mobilebench.config.parsing import ConfigError, parse, raise_if_not_finite
from mobilebench.config.protocol import Protocol  # noqa: TC001 - likewise
from mobilebench.config.runtime import Runtime
from mobilebench.config.sensitivity import SensitivitySettings
from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import MetricError, get_metric
from mobilebench.system.files import read_text
from mobilebench.system.names import did_you_mean, near

if TYPE_CHECKING:
    from collections.abc import Iterator

PARAMS = Path("params.yaml")
_PRESETS = resources.files("mobilebench.config") / "presets"
LARGEST_SEED = 2**63 - 1  # what generators, tables and databases hold
_STRICT = {"extra": "forbid", "strict": True}


@dataclass(frozen=True, order=True)
class Cell:
    """One (model, dataset, seed); the protocol is the suite's."""

    model: str
    """Its name in the suite: an id as `mobilebench.models.get` takes it, or a name of the user's own."""

    dataset: str
    """Id of a built-in dataset or of the suite's `data_sources`."""

    seed: int
    """Seed of everything that is drawn for the cell: first weights, order of images, augmentation."""

    @property
    def name(self) -> str:
        """`model.dataset.seed`, the name a person reads and a file carries."""
        return f"{slug(self.model)}.{self.dataset}.{self.seed}"


@dataclass(frozen=True)
class ScoreSettings:
    """How the matrix becomes xScore. Raises ValueError naming the key."""

    lam: float = 0.5
    """Weight of the variance across datasets, lambda in the paper; 0 to 1."""

    anchors: Literal["grid", "paper"] = "grid"
    """What normalises an accuracy: the grid's own lowest and highest per dataset, or the paper's."""

    metric: str | None = None
    """The metric that every dataset is scored by; null for each dataset's own. No cell is trained again for it."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    def __post_init__(self) -> None:
        if not 0 <= self.lam <= 1:
            raise ValueError(f"score.lam is {self.lam}; allowed: 0 to 1")
        if self.metric is not None:
            try:
                get_metric(self.metric)
            except MetricError as error:
                raise ValueError(f"score.metric: {error}") from None


@dataclass(frozen=True)
class Suite:
    """Everything params.yaml says. Raises ConfigError or ValueError naming the key for an unusable grid."""

    suite: str
    """The suite's id."""

    experiment: str
    """Name of the MLflow experiment that its runs go to."""

    models: tuple[str, ...]
    """The grid's networks: ids as `timm:<name>`, or names of your own whose network the protocol's overrides say."""

    datasets: tuple[str, ...]
    """The grid's datasets: built-in ids, or those of `data_sources`."""

    seeds: tuple[int, ...]
    """The grid's seeds: every network is trained on every dataset once with each."""

    protocol: Protocol
    """What is held fixed across the cells."""

    score: ScoreSettings = field(default_factory=ScoreSettings)
    """How the finished grid is scored; no cell is trained again for another score."""

    runtime: Runtime = field(default_factory=Runtime)
    """How the machine is used, which changes no result."""

    data_sources: dict[str, DataSource] = field(default_factory=dict)
    """The user's own datasets, and those derived from another, by their ids."""

    sensitivity: SensitivitySettings = field(default_factory=SensitivitySettings)
    """What `mobilebench sensitivity` probes."""

    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    def __post_init__(self) -> None:
        for key in ("models", "datasets", "seeds"):
            values = getattr(self, key)
            doubled = sorted({str(v) for v in values if values.count(v) > 1})
            if not values or doubled:
                what = f"names {', '.join(doubled)} twice" if doubled else "is empty"
                raise ValueError(f"{key} {what}; allowed: one or more, each once")
        ids = {"suite": (self.suite,), "datasets": self.datasets, "data_sources": tuple(self.data_sources)}
        for key, names in ids.items():
            for name in names:
                if not is_id(name):
                    raise ValueError(f"{key}: {name!r} is no id; allowed: lower-case letters, digits and _")
        if not self.experiment.strip() or any(ord(c) < 32 for c in self.experiment):
            raise ValueError(f"experiment is {self.experiment!r}; allowed: a name of printable characters")
        if min(self.seeds) < 0 or max(self.seeds) > LARGEST_SEED:
            wrong = min(self.seeds) if min(self.seeds) < 0 else max(self.seeds)
            raise ValueError(f"seeds has {wrong}; allowed: 0 or more, at most {LARGEST_SEED}")

    def cells(self, dataset: str | None = None) -> Iterator[Cell]:
        """Yield the grid's cells, those of one dataset if it is given: datasets, then seeds, then models."""
        for name, seed, model in product((dataset,) if dataset else self.datasets, self.seeds, self.models):
            yield Cell(model, name, seed)


def presets() -> dict[str, str]:
    """Return the packaged suites: id -> the first comment line of its file, which says what it is for."""
    found = {
        f.name.removesuffix(".yaml"): f.read_text(encoding="utf-8")
        for f in _PRESETS.iterdir()
        if f.name.endswith(".yaml")
    }
    return {name: found[name].splitlines()[0].lstrip("# ") for name in sorted(found)}


def preset_text(name: str) -> str:
    """Return the YAML of a packaged suite. Raises UserError with near matches for a name there is none of."""
    known = presets()
    if name not in known:
        hint = did_you_mean(name, known, 1)
        raise UserError(f"there is no suite {name!r}{f'; {hint}' if hint else '.'} Suites: {', '.join(known)}")
    return (_PRESETS / f"{name}.yaml").read_text(encoding="utf-8")


def load_suite(path: Path = PARAMS) -> Suite:
    """Return the suite of a params.yaml, its models and datasets not looked up; see `execution.suites.open_suite`.

    Raises UserError when there is no such file or it is no UTF-8 text, and ConfigError when it is wrong.
    """
    try:
        text = read_text(path, "the YAML of a suite")
    except FileNotFoundError:
        raise UserError(
            f"there is no {path} in this folder; go to the project's folder, or make one with `mobilebench init SUITE`"
        ) from None
    return parse_suite(text, str(path))


def parse_suite(text: str, name: str) -> Suite:
    """Return the suite written in YAML `text`; messages call it `name`. Raises ConfigError when it is wrong."""
    try:
        data = YAML(typ="safe", pure=True).load(text)
    except (YAMLError, ValueError, TypeError, RecursionError) as error:  # not YAMLError: an impossible date
        reason = str(error).replace("<unicode string>", name) or type(error).__name__
        raise ConfigError(f"{name} is not readable as YAML: {reason}") from None
    if not isinstance(data, dict):
        raise ConfigError(f"{name} holds {type(data).__name__}, not the keys of a suite; see `mobilebench init`")
    try:
        raise_if_not_finite(data)
        return parse(Suite, data)
    except ConfigError as error:
        raise ConfigError(f"{name}: " + str(error).replace("\n", f"\n{name}: ")) from None


def select_cells(suite: Suite, dataset: str, models: tuple[str, ...] = (), seeds: tuple[int, ...] = ()) -> list[Cell]:
    """Return the suite's cells on a dataset, only those of `models` and `seeds` where given.

    Raises UserError for a dataset, model or seed that the suite does not have.
    """
    for key, wanted, known in (
        ("dataset", (dataset,), suite.datasets),
        ("model", models, suite.models),
        ("seed", seeds, suite.seeds),
    ):
        unknown = [str(name) for name in wanted if name not in known]
        if unknown:
            have = ", ".join(str(name) for name in known)
            alike = [m for name in unknown for m in near(name, map(str, known), 1)]
            hint = f"Did you mean {', '.join(alike)}?" if alike else f"To have it trained, add it to {PARAMS}"
            raise UserError(f"the suite has no {key} {', '.join(unknown)}; it has {have}. {hint}")
    cells = suite.cells(dataset)
    return [c for c in cells if (not models or c.model in models) and (not seeds or c.seed in seeds)]
