"""What runs were made with: code, packages and device. One score of several of them must say so."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

UNKNOWN = "unknown"


@dataclass(frozen=True)
class Origin:
    """One combination of code, packages and device, and how many runs were made with it."""

    runs: int
    """Number of runs."""
    commit: str
    """Twelve digits of mobilebench's commit, with `+ changes` where its files were edited; or its version."""
    torch: str
    """Version of torch."""
    torchvision: str
    """Version of torchvision."""
    timm: str
    """Version of timm."""
    device: str
    """Name of the GPU, or `cpu` with the processor's name."""


def origins(tags: Iterable[Mapping[str, str]]) -> tuple[Origin, ...]:
    """Return the origins of runs of these tags, most frequent first."""
    counts = Counter(_origin(run) for run in tags)
    return tuple(Origin(count, *key) for key, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def mixture(found: Iterable[Origin]) -> str:
    """Return one sentence on what differs between the runs, empty where all were made alike."""
    rows = list(found)
    differing = [
        (f.name, list(dict.fromkeys(getattr(row, f.name) for row in rows))) for f in fields(Origin) if f.name != "runs"
    ]
    parts = [f"{name} {' and '.join(values)}" for name, values in differing if len(values) > 1]
    dirty = any(row.commit.endswith(_CHANGES) for row in rows)
    said = [f"These runs were not all made alike: {'; '.join(parts)}"] if parts else []
    said += ["Some of these runs were made by code with uncommitted changes"] if dirty else []
    return ". ".join(said)


_CHANGES = " + changes"


def _origin(tags: Mapping[str, str]) -> tuple[str, ...]:
    commit = tags.get("git_commit", UNKNOWN)
    code = f"version {tags.get('mobilebench', UNKNOWN)}" if commit == UNKNOWN else commit[:12]
    device = tags.get("gpu") or f"{tags.get('device', 'cpu')} ({tags.get('cpu', UNKNOWN)})"
    changed = _CHANGES if tags.get("git_dirty") == "true" else ""
    return (code + changed, *(tags.get(name, UNKNOWN) for name in ("torch", "torchvision", "timm")), device)
