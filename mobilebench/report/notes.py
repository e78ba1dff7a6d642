"""What stands behind a number, for who points at it: its n, its interval, its runs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import get_metric
from mobilebench.scoring.measures import short, title
from mobilebench.scoring.ranking import value_intervals
from mobilebench.system.words import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mobilebench.report.inputs import ReportInputs, RunRef
    from mobilebench.scoring import Matrix, ScoreTable
    from mobilebench.scoring.matrix import CellKey
    from mobilebench.scoring.ranking import RankingRow, ValueIntervals


def result_notes(inputs: ReportInputs) -> dict[tuple[str, str], str]:
    """Return {(model, dataset): what its result rests on}; an absent result has none."""
    found = {}
    for dataset in inputs.matrix.datasets:
        try:
            intervals = value_intervals(inputs.matrix, dataset)
        except UserError:  # no run there
            continue
        for model in intervals.ends:
            found[model, dataset] = result_note(inputs.matrix, inputs.runs, model, dataset, intervals)
    return found


def result_note(
    matrix: Matrix, runs: Mapping[CellKey, RunRef], model: str, dataset: str, intervals: ValueIntervals
) -> str:
    """Say what the result of a model on a dataset rests on, a line each: value, interval, test images, runs."""
    column = matrix.datasets.index(dataset)
    metric, n = get_metric(matrix.metrics[column]), int(matrix.n_test[column])
    of_seeds = {
        seed: float(value)
        for seed, value in zip(matrix.seeds, matrix.values[matrix.models.index(model), column], strict=True)
        if not math.isnan(value)
    }
    low, high = intervals.ends[model]
    shown = [f"{metric.show(value)} (seed {s}{_run(runs.get((model, dataset, s)))})" for s, value in of_seeds.items()]
    mean = sum(of_seeds.values()) / len(of_seeds)
    lines = [f"{model} on {dataset}: {metric.show(mean)} ({title(metric)})"]
    if math.isfinite(low):
        ends = f"{short(metric, low)} to {short(metric, high)}"
        lines.append(f"{100 * intervals.level:.0f} % interval {ends}, over {intervals.over}")
    else:
        lines.append("no interval: nothing is known of the noise")
    lines.append(f"n = {counted(n, 'test image')}" if n else "test images of unknown number")
    if len(shown) > 1:
        lines.append(f"mean of {len(shown)} runs: {'; '.join(shown)}")
    else:  # of a published number the seed is not known
        ((seed, _),) = of_seeds.items()
        run = runs.get((model, dataset, seed))
        lines.append("single run" if run is None else f"single run, seed {seed}{_run(run)}")
    return "\n".join(lines)


def _run(run: RunRef | None) -> str:
    return f", run {run.run_id}" if run else ""


def score_notes(scores: ScoreTable, matrix: Matrix) -> dict[str, str]:
    """Return {model: what its xScore rests on}."""
    found, level = {}, f"{100 * scores.level:.0f} %"
    for row in scores.rows:
        if row.rank is None:
            missing = f" (absent: {', '.join(row.absent)})" if row.absent else ""
            found[row.model] = f"{row.model}: no xScore{missing}"
            continue
        lines = [f"{row.model}: xScore {row.score:.3f}, rank {row.rank} of {len(scores.rows)}"]
        if math.isfinite(row.low):
            lines.append(f"{level} interval {row.low:.3f} to {row.high:.3f}, over {scores.interval_over}")
            lines.append(f"{level} interval of the rank {row.rank_low:.0f} to {row.rank_high:.0f}")
        else:
            lines.append("no interval: the notes say why")
        lines.append(f"n = {counted(len(scores.datasets), 'dataset')}, {_runs_per_cell(matrix, row.model)}")
        found[row.model] = "\n".join(lines)
    return found


def _runs_per_cell(matrix: Matrix, model: str) -> str:
    counts = matrix.counts[matrix.models.index(model)]
    low, high = int(counts.min()), int(counts.max())
    if high == 1:
        return "single runs"
    return f"{high} runs per cell" if low == high else f"{low} to {high} runs per cell"


def ranking_note(row: RankingRow, result: str) -> str:
    """Add to what a result rests on which place it has, and how sure it is no other model's."""
    p = "" if math.isnan(row.p_best) else f"; p of the best {'<0.001' if row.p_best < 0.001 else f'{row.p_best:.3f}'}"
    return f"{result}\nrank {row.rank}{p}"
