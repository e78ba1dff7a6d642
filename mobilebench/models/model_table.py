"""The table of the packaged models, for the README and for `mobilebench models list`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mobilebench import models
from mobilebench.models.cost.counts import deployed_cost, static_cost
from mobilebench.studies.beyond_imagenet import published as reference

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mobilebench.models.cost.counts import Cost
    from mobilebench.models.spec import ModelSpec

CLASSES = 10
RESOLUTION = 224
NUMBERS = ("params", "MACs, M", "deployed, M", "Table 1, M")  # the last two: parameters / MACs
HEADINGS = ("model", *NUMBERS, "what it is")
NOTE = (
    f"Parameters with {CLASSES} classes; MACs (multiply-adds of convolutions, linear layers and attention) of one "
    f"{RESOLUTION} px image. *Deployed*: parameters and MACs with the training branches folded. *Table 1*: the paper's "
    'parameters, averaged over its seven class counts, and its "FLOPs", which are MACs plus normalisation and pooling; '
    "its 253 for MobileNet is TinyNet's figure, its 2.82 for MobileViT leaves the transformer encoders out."
)


@dataclass(frozen=True)
class Line:
    """One model of the table: its spec, its cost, and what Table 1 prints of it (params, MACs) where it is in it."""

    spec: ModelSpec
    cost: Cost
    deployed: Cost | None
    published: tuple[int, int] | None


def lines(model_ids: Iterable[str], num_classes: int = CLASSES, resolution: int = RESOLUTION) -> list[Line]:
    """Build the models and return their lines; the random state stays as it was."""
    printed = {row.model: (row.params, row.macs) for row in reference.costs()}
    result = []
    for model_id in model_ids:
        with torch.random.fork_rng(devices=[]):
            model = models.create(model_id, num_classes)
        costs = static_cost(model, resolution), deployed_cost(model, resolution)
        result.append(Line(models.get(model_id), *costs, printed.get(model_id)))
    return result


def numbers(line: Line) -> tuple[str, ...]:
    """Return a line's figures as text, one entry for each of `NUMBERS`."""
    deployed = "" if line.deployed is None else pair(line.deployed.params, line.deployed.macs)
    published = "" if line.published is None else pair(*line.published)
    return (f"{line.cost.params:,}", millions(line.cost.macs), deployed, published)


def design(spec: ModelSpec) -> str:
    """Return what the model is, with its smallest input where that is more than the demo's 32 px."""
    return spec.design if spec.minimum <= 32 else f"{spec.design}; needs {spec.minimum} px or more"


def pair(params: int, macs: int) -> str:
    """Return parameters and MACs in millions, as `2.35 / 314`."""
    return f"{params / 1e6:.2f} / {millions(macs)}"


def millions(count: int) -> str:
    """Return a count in millions, without decimals."""
    return f"{count / 1e6:,.0f}"


def readme_table() -> str:
    """Return the Markdown table of all packaged models that stands in the README between its models markers."""
    rows = [(f"`{line.spec.id}`", *numbers(line), design(line.spec)) for line in lines(models.MODELS)]
    rule = ("---", *("---:" for _ in NUMBERS), "---")
    table = ["| " + " | ".join(row) + " |" for row in (HEADINGS, rule, *rows)]
    return "\n".join([*table, "", NOTE])


if __name__ == "__main__":
    print(readme_table())  # noqa: T201 - the module's purpose when run
