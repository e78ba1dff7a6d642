"""Files for `dvc metrics show`, `dvc metrics diff` and `dvc plots show`: JSON of numbers, and CSV of points."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np
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
    """Write every model's xScore, or without scores its results, the mean result on each dataset, and the cells.

    Few numbers: `dvc exp show` has a column for each. An undefined one is left out, JSON has none.
    """
    matrix = inputs.matrix
    scored = {row.model: row.score for row in inputs.scores.rows if math.isfinite(row.score)}
    of_models: dict[str, Any] = {"xscore": scored}
    if not scored:
        of_models = {
            "results": {
                dataset: {m: float(v) for m, v in zip(matrix.models, column, strict=True) if math.isfinite(v)}
                for dataset, column in zip(matrix.datasets, matrix.mean.T, strict=True)
            }
        }
    present = np.isfinite(matrix.mean)
    mean = {
        dataset: float(matrix.mean[present[:, d], d].mean())
        for d, dataset in enumerate(matrix.datasets)
        if present[:, d].any()
    }
    cells = {"cells": int(matrix.counts.sum()), "cells_absent": len(matrix.absent)}
    return write_text(path, json.dumps({**of_models, "mean": mean, **cells}, indent=2) + "\n")


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
