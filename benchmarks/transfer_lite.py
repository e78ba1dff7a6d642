"""The table of `transfer_lite.yaml`: each network's result on test with its interval, what it took, and what it gained.

    python -m benchmarks.transfer_lite PROJECT

PROJECT is the folder in which that suite was trained and scored. Intervals are of 95 % over the test images; single
runs, so what another seed gives is not in them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import mobilebench as mb
from mobilebench.evaluation.metrics import get_metric
from mobilebench.execution.suites import open_suite
from mobilebench.runs.journal import Journal
from mobilebench.runs.records import read_results

OTHER = "macro_f1"


def main(project: Path) -> None:
    """Print a Markdown row a network and dataset."""
    suite = open_suite(project / "params.yaml", networks=False)
    records = {(r.model, r.dataset): r for r in read_results(project / "results")}
    matrix = mb.load_matrix(project / "results")
    print("| dataset | network | test top-1, % | 95 % interval | macro F1, % | minus scratch | epochs kept/run | s |")
    print("|---|---|---|---|---|---|---|---|")
    for dataset in suite.datasets:
        rows = {row.model: row for row in mb.rank(matrix, dataset).rows}
        for model in suite.models:
            if model not in rows:
                continue
            row, record = rows[model], records[model, dataset]
            base = rows.get(f"{model.partition('_')[0]}_scratch")
            gain = "" if base is None or base is row else f"{100 * (row.value - base.value):+.1f}"
            other = get_metric(OTHER).show(record.metrics[OTHER])
            (folder,) = (project / ".mobilebench/cells").glob(f"{model}.{dataset}.0-*")
            last = Journal(folder).events()[-1]
            kept, run = last.metrics["kept_epoch"], last.step
            print(
                f"| {dataset} (n = {record.n_test}) | {model} | {100 * row.value:.1f} | {100 * row.low:.1f} to "
                f"{100 * row.high:.1f} | {other} | {gain} | {kept:.0f}/{run} | {record.train_seconds:.0f} |"
            )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
