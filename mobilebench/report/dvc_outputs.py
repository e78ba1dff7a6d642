"""Files for `dvc metrics show`, `dvc metrics diff` and `dvc plots show`: JSON of numbers, and CSV of points."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pandas as pd

from mobilebench.errors import UserError
from mobilebench.scoring.proxy import proxy_fit
from mobilebench.system.files import write_csv, write_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mobilebench.report.inputs import ReportInputs


CURVE_COLUMNS = ("cell", "model", "dataset", "seed", "split", "metric", "epoch", "value")


def write_metrics(path: Path, inputs: ReportInputs) -> Path:
    """Write every model's xScore, G and V, its result on each dataset, and the size of the grid.

    An undefined number is left out, JSON has none.
    """
    scored = {
        row.model: {"xscore": row.score, "g": row.g, "v": row.v}
        for row in inputs.scores.rows
        if math.isfinite(row.score)
    }
    matrix = inputs.matrix
    grid = {
        "models": len(matrix.models),
        "datasets": len(matrix.datasets),
        "seeds": len(matrix.seeds),
        "cells_absent": len(matrix.absent),
    }
    results = {
        dataset: {m: float(v) for m, v in zip(matrix.models, column, strict=True) if math.isfinite(v)}
        for dataset, column in zip(matrix.datasets, matrix.mean.T, strict=True)
    }
    return write_text(path, json.dumps({"grid": grid, "models": scored, "results": results}, indent=2) + "\n")


def write_plots(folder: Path, inputs: ReportInputs, dataset: str) -> tuple[Path, ...]:
    """Write xscore.csv, curves.csv and proxy.csv (the result on `dataset` against xScore) under `folder`."""
    scores = [(r.model, r.score, r.low, r.high) for r in inputs.scores.rows if math.isfinite(r.score)]
    curves = [
        (f"{c.model}.{c.dataset}.{c.seed}", c.model, c.dataset, c.seed, c.split, c.metric, epoch, value)
        for c in inputs.curves
        for epoch, value in zip(c.epochs, c.values, strict=True)
    ]
    return (
        _csv(folder / "xscore.csv", ("model", "xscore", "low", "high"), scores),
        _csv(folder / "curves.csv", CURVE_COLUMNS, curves),
        _csv(folder / "proxy.csv", ("model", "value", "xscore"), _proxy(inputs, dataset)),
    )


def _proxy(inputs: ReportInputs, dataset: str) -> list[tuple[object, ...]]:
    try:
        found = proxy_fit(inputs.matrix, dataset, lam=inputs.scores.lam)
    except UserError:
        return []  # too few models: the file holds its header alone, the report says why
    return list(zip(found.models, found.values.tolist(), found.score.tolist(), strict=True))


def _csv(path: Path, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> Path:
    return write_csv(path, pd.DataFrame(rows, columns=list(columns)))
