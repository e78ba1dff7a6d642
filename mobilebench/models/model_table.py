"""The figures of a table of models: what `mobilebench models list` and docs/models.md show of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mobilebench import models
from mobilebench.models.cost.counts import deployed_cost, static_cost

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mobilebench.config.pixels import Resolution
    from mobilebench.models.cost.cost_file import PrintedCost
    from mobilebench.models.cost.counts import Cost
    from mobilebench.models.spec import ModelSpec


@dataclass(frozen=True)
class Line:
    """One model of the table."""

    spec: ModelSpec
    """What the model is."""
    cost: Cost
    """What it costs as built for training."""
    deployed: Cost | None
    """What it costs with its training branches folded; None where there is nothing to fold."""
    printed: PrintedCost | None
    """What a publication prints of it; None where none does."""


def lines(
    model_ids: Iterable[str], num_classes: int, resolution: Resolution, printed: Mapping[str, PrintedCost]
) -> list[Line]:
    """Build the models and return their lines; the random state stays as it was."""
    result = []
    for model_id in model_ids:
        with torch.random.fork_rng(devices=[]):
            model = models.create(model_id, num_classes)
        costs = static_cost(model, resolution), deployed_cost(model, resolution)
        result.append(Line(models.get(model_id), *costs, printed.get(model_id)))
    return result


def numbers(line: Line) -> tuple[str, str, str, str]:
    """Return a line's figures as text: parameters, MACs in millions, and both as deployed and as printed."""
    deployed = "" if line.deployed is None else pair(line.deployed.params, line.deployed.macs)
    printed = "" if line.printed is None else pair(line.printed.params, line.printed.macs)
    return f"{line.cost.params:,}", millions(line.cost.macs), deployed, printed


def design(spec: ModelSpec) -> str:
    """Return what the model is, with the inputs it takes where these are not all from the demo's 32 px on."""
    return f"{spec.design}; needs {spec.sizes}" if spec.minimum > 32 or spec.multiple > 1 else spec.design


def pair(params: int, macs: int) -> str:
    """Return parameters and MACs in millions, as `2.35 / 314`."""
    return f"{params / 1e6:.2f} / {millions(macs)}"


def millions(count: int) -> str:
    """Return a count in millions, without decimals."""
    return f"{count / 1e6:,.0f}"
