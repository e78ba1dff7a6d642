"""The published tables, read as typed data: percent becomes a fraction, millions become counts, ids are ours.

Source of every table: W. Zhang, P. L. K. Ding, H. Liu, "Beyond ImageNet: Understanding Cross-Dataset Robustness of
Lightweight Vision Models", 2025. The files hold what the paper prints, its errors included; `mobilebench audit-paper`
names those. Nothing here is ever mixed with a measured number.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mobilebench.scoring.matrix import Matrix
from mobilebench.scoring.subsets import FOUR
from mobilebench.scoring.xscore import Anchors, anchors_from_matrix
from mobilebench.system.files import read_rows

SOURCE = "Beyond ImageNet (Zhang, Ding, Liu 2025)"
PAPER_FOUR = FOUR
PAPER_LAMBDA = 0.5
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class PublishedCost:
    """One row of Table 1: `params` and `macs` as printed, rounded by the paper to 10 000 and a million."""

    model: str
    params: int
    macs: int


@dataclass(frozen=True)
class PublishedDataset:
    """One row of Table 2: class count and images of the train and test split."""

    dataset: str
    domain: str
    classes: int
    train: int
    test: int


@dataclass(frozen=True)
class PublishedScore:
    """One row of Table 4, three decimals as printed; `xscore_4` is the paper's "predicted" four-dataset column."""

    model: str
    g: float
    v: float
    xscore_7: float
    xscore_4: float


def costs() -> tuple[PublishedCost, ...]:
    """Table 1: parameters and multiply-adds of the eleven models (its "FLOPs" are MACs)."""
    rows = read_rows(_FOLDER / "table1_cost.csv", ("model", "params_m", "flops_m"))
    return tuple(
        PublishedCost(r["model"], round(float(r["params_m"]) * 1e6), round(float(r["flops_m"]) * 1e6)) for r in rows
    )


def datasets() -> tuple[PublishedDataset, ...]:
    """Table 2: the seven datasets."""
    rows = read_rows(_FOLDER / "table2_datasets.csv", ("dataset", "domain", "classes", "train", "test"))
    return tuple(
        PublishedDataset(r["dataset"], r["domain"], int(r["classes"]), int(r["train"]), int(r["test"])) for r in rows
    )


def matrix() -> Matrix:
    """Table 3: accuracies of eleven models on seven datasets, single runs (seed 0 stands for the unknown seed).

    `n_test` comes from Table 2; the released code would test on fewer images (4,116 for dogs, 1,503 for ham10k).
    """
    sizes = {row.dataset: row.test for row in datasets()}
    rows = read_rows(_FOLDER / "table3_accuracy.csv", ("model", *sizes))
    names = tuple(name for name in rows[0] if name != "model")
    cells = {(r["model"], d, 0): round(float(r[d]) / 100, 6) for r in rows for d in names}
    return Matrix.from_cells(cells, sizes)


def scores() -> tuple[PublishedScore, ...]:
    """Table 4: G, V and xScore as printed (lambda 0.5)."""
    rows = read_rows(_FOLDER / "table4_xscore.csv", ("model", "g", "v", "xscore_7", "xscore_4"))
    return tuple(
        PublishedScore(r["model"], float(r["g"]), float(r["v"]), float(r["xscore_7"]), float(r["xscore_4"]))
        for r in rows
    )


def elements() -> dict[str, dict[str, bool]]:
    """Table 5: {element: {model: has it}}, as the paper prints it."""
    models = [row.model for row in costs()]
    rows = read_rows(_FOLDER / "table5_elements.csv", ("element", *models))
    return {r["element"]: {m: r[m] == "1" for m in models} for r in rows}


def paper_anchors() -> dict[str, tuple[float, float]]:
    """Lowest and highest accuracy of each column of Table 3, {dataset: (low, high)} fractions.

    Section 4.1 of the paper names these extrema the fixed anchors for future models.
    """
    table = matrix()
    found: Anchors = anchors_from_matrix(table.mean)
    pairs = np.stack([found.low, found.high], axis=1)
    return {name: (float(low), float(high)) for name, (low, high) in zip(table.datasets, pairs, strict=True)}
