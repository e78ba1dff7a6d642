"""What can happen to a run, as frozen values: the lines of a journal.

On disk an event is one JSON object with its `type` and the `time` it was written. Reading is strict, because a folder
of journals may come from anywhere: an unknown kind, an unknown key or a value of the wrong type is refused.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, TypeAdapter, ValidationError

_STRICT = {"extra": "forbid", "strict": True}


@dataclass(frozen=True)
class DatasetInput:
    """The data of a run, as MLflow shows it among the run's inputs."""

    name: str
    digest: str
    """At most 36 characters, MLflow's limit; the whole digest is a tag of the run."""
    source: str
    profile: str
    """JSON: the number of images in each split."""
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, kw_only=True)
class Start:
    """A run begins. Everything the run says of itself before it trains."""

    experiment: str
    run_name: str
    tags: dict[str, str]
    params: dict[str, Any]
    dataset: DatasetInput
    redo: bool = False
    """Whether earlier runs of the same identity are to count as superseded."""
    time: int = 0
    """Milliseconds since 1970, set when the journal writes the event; likewise below."""
    type: Literal["start"] = "start"
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, kw_only=True)
class Resume:
    """A run that was stopped goes on."""

    tags: dict[str, str] = field(default_factory=dict)
    """Of an attempt on a cluster: where it runs, and how the one before it ended."""
    time: int = 0
    type: Literal["resume"] = "resume"
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """An epoch is done: `step` counts from 1, `metrics` are its readings by name."""

    step: int
    metrics: dict[str, float]
    time: int = 0
    type: Literal["epoch"] = "epoch"
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, kw_only=True)
class Finish:
    """A run reached its end."""

    step: int
    """The last epoch."""
    metrics: dict[str, float]
    tags: dict[str, str] = field(default_factory=dict)
    outcome: dict[str, Any] | None = None
    """Of a trial: its result, so that a trial that is asked for again is not trained again."""
    params: dict[str, Any] | None = None
    """Of a tuned cell: what was chosen, as parameters of its run."""
    time: int = 0
    type: Literal["finish"] = "finish"
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, kw_only=True)
class Fail:
    """A run ended without a result; the tag `reason` says why."""

    tags: dict[str, str]
    time: int = 0
    type: Literal["fail"] = "fail"
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


@dataclass(frozen=True, kw_only=True)
class Interrupt:
    """A run was stopped from outside and can go on; the tag `reason` says how."""

    tags: dict[str, str]
    time: int = 0
    type: Literal["interrupt"] = "interrupt"
    __pydantic_config__: ClassVar[dict[str, Any]] = _STRICT


Event = Start | Resume | Epoch | Finish | Fail | Interrupt


def to_line(event: Event) -> bytes:
    """Return an event as one line of JSON, without what is unset."""
    values = {key: value for key, value in asdict(event).items() if value is not None and value is not False}
    return json.dumps(values).encode() + b"\n"


def from_line(line: bytes) -> Event:
    """Return the event of one line. Raises ValueError saying in one line what is wrong with it."""
    try:
        return _adapter().validate_json(line)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise ValueError(f"{where}: {problem['msg']}" if where else problem["msg"]) from None


@cache
def _adapter() -> TypeAdapter[Event]:
    return TypeAdapter(Annotated[Event, Field(discriminator="type")])


def reason_tags(text: str) -> dict[str, str]:
    """Return the tags that say why a run ended, within MLflow's limit on a tag."""
    return {"reason": text[:5000]}
