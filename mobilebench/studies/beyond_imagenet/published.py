"""The published tables, read as typed data: percent becomes a fraction, millions become counts, ids are ours.

Source of every table: W. Zhang, P. L. K. Ding, H. Liu, "Beyond ImageNet: Understanding Cross-Dataset Robustness of
Lightweight Vision Models", 2025. The files hold what the paper prints, its errors included; `mobilebench study audit
beyond_imagenet` names those. Nothing here is ever mixed with a measured number.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilebench.models.cost.cost_file import PrintedCost
from mobilebench.scoring.matrix import Matrix
from mobilebench.scoring.xscore import Anchors, anchors_from_matrix
from mobilebench.system.files import read_csv

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

SOURCE = "Beyond ImageNet (Zhang, Ding, Liu 2025)"
PAPER_FOUR = ("imagenette", "cifar100", "ham10k", "dogs")  # section 4.1: the four it says suffice
PAPER_LAMBDA = 0.5
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class PublishedCost:
    """One row of Table 1."""

    model: str
    """Our id of the model."""
    params: int
    """Parameters, rounded by the paper to 10 000."""
    macs: int
    """Multiply-adds, rounded by the paper to a million."""


@dataclass(frozen=True)
class PublishedDataset:
    """One row of Table 2."""

    dataset: str
    """Our id of the dataset."""
    domain: str
    """What its images show."""
    classes: int
    """Class count."""
    train: int
    """Images of the train split."""
    test: int
    """Images of the test split."""


@dataclass(frozen=True)
class PublishedScore:
    """One row of Table 4, three decimals as printed."""

    model: str
    """Our id of the model."""
    g: float
    """Mean normalised accuracy."""
    v: float
    """Variance of the normalised accuracies."""
    xscore_7: float
    """xScore over the seven datasets."""
    xscore_4: float
    """The paper's "predicted" four-dataset column."""


def _rows(name: str, columns: Sequence[str]) -> list[dict[Hashable, Any]]:
    return read_csv(_FOLDER / name, columns).to_dict("records")


def costs() -> tuple[PublishedCost, ...]:
    """Table 1: parameters and multiply-adds of the eleven models (its "FLOPs" are MACs)."""
    rows = _rows("table1_cost.csv", ("model", "params_m", "flops_m"))
    return tuple(
        PublishedCost(r["model"], round(float(r["params_m"]) * 1e6), round(float(r["flops_m"]) * 1e6)) for r in rows
    )


def printed_costs() -> dict[str, PrintedCost]:
    """Table 1 as {model: cost as printed}: parameters averaged over the class counts of Table 2, MACs at 224 px."""
    classes = tuple(row.classes for row in datasets())
    return {row.model: PrintedCost(row.params, row.macs, classes, 224) for row in costs()}


def datasets() -> tuple[PublishedDataset, ...]:
    """Table 2: the seven datasets."""
    rows = _rows("table2_datasets.csv", ("dataset", "domain", "classes", "train", "test"))
    return tuple(
        PublishedDataset(r["dataset"], r["domain"], int(r["classes"]), int(r["train"]), int(r["test"])) for r in rows
    )


def matrix() -> Matrix:
    """Table 3: accuracies of eleven models on seven datasets, single runs (seed 0 stands for the unknown seed).

    `n_test` comes from Table 2; the released code would test on fewer images (4,116 for dogs, 1,503 for ham10k).
    """
    sizes = {row.dataset: row.test for row in datasets()}
    rows = _rows("table3_accuracy.csv", ("model", *sizes))
    names = tuple(str(name) for name in rows[0] if name != "model")
    cells = {(r["model"], d, 0): round(float(r[d]) / 100, 6) for r in rows for d in names}
    return Matrix.from_cells(cells, sizes)


def scores() -> tuple[PublishedScore, ...]:
    """Table 4: G, V and xScore as printed (lambda 0.5)."""
    rows = _rows("table4_xscore.csv", ("model", "g", "v", "xscore_7", "xscore_4"))
    return tuple(
        PublishedScore(r["model"], float(r["g"]), float(r["v"]), float(r["xscore_7"]), float(r["xscore_4"]))
        for r in rows
    )


def elements() -> dict[str, dict[str, bool]]:
    """Table 5: {element: {model: has it}}, as the paper prints it."""
    models = [row.model for row in costs()]
    rows = _rows("table5_elements.csv", ("element", *models))
    return {r["element"]: {m: r[m] == "1" for m in models} for r in rows}


def paper_anchors() -> dict[str, tuple[float, float]]:
    """Lowest and highest accuracy of each column of Table 3, {dataset: (low, high)} fractions.

    Section 4.1 of the paper names these extrema the fixed anchors for future models.
    """
    table = matrix()
    found: Anchors = anchors_from_matrix(table.mean)
    pairs = np.stack([found.low, found.high], axis=1)
    return {name: (float(low), float(high)) for name, (low, high) in zip(table.datasets, pairs, strict=True)}
