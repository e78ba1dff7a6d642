"""A suite: a named grid of models x datasets x seeds with its protocol, read from params.yaml or packaged."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from importlib import resources
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mobilebench.config.protocol import ConfigError, Protocol, parse
from mobilebench.config.runtime import Runtime
from mobilebench.config.sensitivity import SensitivitySettings
from mobilebench.datasets.custom import OwnData  # noqa: TC001 - pydantic needs the name at run time
from mobilebench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Iterator

PARAMS = Path("params.yaml")
_ID = re.compile(r"[a-z0-9_]+")
_STRICT = {"extra": "forbid", "strict": True}


@dataclass(frozen=True, order=True)
class Cell:
    """One (model, dataset, seed); the protocol is the suite's."""

    model: str
    dataset: str
    seed: int

    @property
    def name(self) -> str:
        """`model.dataset.seed`, the name a person reads and a file carries."""
        return f"{file_id(self.model)}.{self.dataset}.{self.seed}"


def file_id(model: str) -> str:
    """Return the model's id with only characters that are safe in a file name; see `mobilebench.models.slug`."""
    if _ID.fullmatch(model):
        return model
    from mobilebench.models import slug

    return slug(model)


@dataclass(frozen=True)
class ScoreSettings:
    """How the matrix becomes xScore: lam (lambda in the paper) weighs the variance, anchors fix the normalisation."""

    lam: float = 0.5
    anchors: Literal["grid", "paper"] = "grid"
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT

    def __post_init__(self) -> None:
        if not 0 <= self.lam <= 1:
            raise ValueError(f"score.lam is {self.lam}; allowed: 0 to 1")


@dataclass(frozen=True)
class Suite:
    """Everything params.yaml says. Raises ConfigError or ValueError naming the key for an unusable grid."""

    suite: str
    experiment: str
    models: tuple[str, ...]
    datasets: tuple[str, ...]
    seeds: tuple[int, ...]
    protocol: Protocol
    score: ScoreSettings = field(default_factory=ScoreSettings)
    runtime: Runtime = field(default_factory=Runtime)
    data_sources: dict[str, OwnData] = field(default_factory=dict)
    sensitivity: SensitivitySettings = field(default_factory=SensitivitySettings)
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
                if not _ID.fullmatch(name):
                    raise ValueError(f"{key}: {name!r} is no id; allowed: lower-case letters, digits and _")
        if not self.experiment.strip() or any(ord(c) < 32 for c in self.experiment):
            raise ValueError(f"experiment is {self.experiment!r}; allowed: a name of printable characters")
        if min(self.seeds) < 0:
            raise ValueError(f"seeds has {min(self.seeds)}; allowed: 0 or more")

    def cells(self, dataset: str | None = None) -> Iterator[Cell]:
        """Yield the grid's cells, those of one dataset if it is given: datasets, then seeds, then models."""
        for name, seed, model in product((dataset,) if dataset else self.datasets, self.seeds, self.models):
            yield Cell(model, name, seed)


def packaged() -> dict[str, str]:
    """Return the packaged suites: id -> the first comment line of its file, which says what it is for."""
    files = (resources.files("mobilebench.config") / "presets").iterdir()
    found = {f.name.removesuffix(".yaml"): f.read_text() for f in files if f.name.endswith(".yaml")}
    return {name: found[name].splitlines()[0].lstrip("# ") for name in sorted(found)}


def packaged_text(name: str) -> str:
    """Return the YAML of a packaged suite. Raises UserError with near matches for a name there is none of."""
    known = packaged()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(f"there is no suite {name!r}.{hint} Suites: {', '.join(known)}")
    return (resources.files("mobilebench.config") / "presets" / f"{name}.yaml").read_text()


def load(path: Path = PARAMS) -> Suite:
    """Return the suite of a params.yaml. Raises UserError when there is none and ConfigError when it is wrong."""
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise UserError(
            f"there is no {path} in this folder; go to the project's folder, or make one with `mobilebench init SUITE`"
        ) from None
    return parse_suite(text, str(path))


def parse_suite(text: str, name: str) -> Suite:
    """Return the suite written in YAML `text`; `name` is how messages call it."""
    try:
        data = YAML(typ="safe", pure=True).load(text)
    except YAMLError as error:
        raise ConfigError(f"{name} is not readable as YAML: " + str(error).replace("<unicode string>", name)) from None
    if not isinstance(data, dict):
        raise ConfigError(f"{name} holds {type(data).__name__}, not the keys of a suite; see `mobilebench init`")
    try:
        suite = parse(Suite, data)
    except ConfigError as error:
        raise ConfigError(f"{name}: " + str(error).replace("\n", f"\n{name}: ")) from None
    _check_names(suite)
    return suite


def _check_names(suite: Suite) -> None:
    """Raise UserError, with near matches, for a model or dataset that the registries don't know."""
    from mobilebench import datasets, models

    overrides = suite.protocol.overrides
    for model in {*suite.models, *(m for o in overrides for m in o.models or ())}:
        models.get(model)
    for dataset in {*suite.datasets, *(d for o in overrides for d in o.datasets or ())} - set(suite.data_sources):
        datasets.get(dataset)


def by_experiment(experiment: str) -> Suite | None:
    """Return the suite that runs under an experiment name: the one in params.yaml, else a packaged one, else None."""
    if PARAMS.exists() and (here := load()).experiment == experiment:
        return here
    named = (name for name in packaged() if experiment in packaged_text(name))  # reading one takes a tenth of a second
    shipped = (parse_suite(packaged_text(name), name) for name in named)
    return next((suite for suite in shipped if suite.experiment == experiment), None)


def select(suite: Suite, dataset: str, models: tuple[str, ...] = (), seeds: tuple[int, ...] = ()) -> list[Cell]:
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
            alike = [m for name in unknown for m in difflib.get_close_matches(name, map(str, known), n=1)]
            hint = f"Did you mean {', '.join(alike)}?" if alike else f"To have it trained, add it to {PARAMS}"
            raise UserError(f"the suite has no {key} {', '.join(unknown)}; it has {have}. {hint}")
    cells = suite.cells(dataset)
    return [c for c in cells if (not models or c.model in models) and (not seeds or c.seed in seeds)]
