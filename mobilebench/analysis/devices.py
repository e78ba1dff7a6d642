"""The figures of devices that belong to the results of a report: of its models, at the sizes they were trained for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilebench.config.pixels import shown
from mobilebench.models.cost.device_file import DeviceRow, Setting, read_device_results

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mobilebench.config.suite import Suite

BUDGETS = (5.0, 10.0, 20.0, 50.0)  # milliseconds that the best models are sought under


@dataclass(frozen=True)
class Measurements:
    """What was measured in one setting: the rows that can be compared."""

    setting: Setting
    """Device, runtime, precision ..."""
    resolution: str
    """The input size they share; empty where each model has its own, that of its training."""
    rows: Mapping[str, DeviceRow]
    """{model: its row}, the quickest first."""

    @property
    def name(self) -> str:
        """The setting in words."""
        return f"{self.setting}{f', {self.resolution} px' if self.resolution else ''}"


@dataclass(frozen=True)
class DeviceFigures:
    """Figures of devices for the models of a report."""

    measurements: tuple[Measurements, ...]
    """Those of each setting, in the order of the file."""
    budgets: tuple[float, ...]
    """Milliseconds under which the best model is sought, ascending."""
    left_out: tuple[str, ...] = ()
    """Sentences on rows of the file that do not belong to these results."""


def device_figures(
    path: Path, models: Sequence[str], sizes: Mapping[str, Sequence[str]] | None, budgets: Sequence[float] = BUDGETS
) -> DeviceFigures:
    """Return the figures of these models that a `device_results.csv` has, by setting.

    sizes: {model: the input sizes that it was trained for}; None where they are not known: rows of different sizes are
    kept apart then. Raises UserError as `read_device_results` does.
    """
    known, left_out = [], []
    unknown, other = dict[str, None](), dict[str, None]()
    for row in read_device_results(path):
        if row.model not in models:
            unknown[row.model] = None
        elif sizes is not None and row.resolution not in sizes.get(row.model, ()):
            other[f"{row.model} at {row.resolution} px (trained at {' and '.join(sizes.get(row.model, ()))})"] = None
        else:
            known.append(row)
    if unknown:
        left_out.append(f"{path} also has figures of models that are not among these results: {', '.join(unknown)}.")
    if other:
        left_out.append(f"Left out are figures of another input size: {', '.join(other)}.")
    return DeviceFigures(_grouped(known, apart=sizes is None), tuple(sorted(set(map(float, budgets)))), tuple(left_out))


def sizes_of(suite: Suite) -> dict[str, tuple[str, ...]]:
    """Return the input sizes, as a row has them, that a suite trains each of its models for."""
    return {
        model: tuple(
            dict.fromkeys(shown(suite.protocol.recipe_for(model, dataset).resolution) for dataset in suite.datasets)
        )
        for model in suite.models
    }


def _grouped(rows: Sequence[DeviceRow], *, apart: bool) -> tuple[Measurements, ...]:
    """Return rows by setting, and by input size if kept apart; of a model's several sizes the slowest counts."""
    groups: dict[tuple[Setting, str], dict[str, DeviceRow]] = {}
    for row in sorted(rows, key=lambda row: row.latency_ms):
        groups.setdefault((row.setting, row.resolution if apart else ""), {})[row.model] = row
    order = dict.fromkeys((row.setting, row.resolution if apart else "") for row in rows)
    return tuple(Measurements(setting, size, groups[setting, size]) for setting, size in order)
