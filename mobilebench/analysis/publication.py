"""A score as data that others can check: its tables, the record of every run, what every run said, where it was made.

No images and no weights. `mobilebench score FOLDER`, `site FOLDER` and `load_matrix` read such a folder.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import shutil
from collections import Counter, defaultdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from mobilebench.analysis.kept import KeptPredictions
from mobilebench.analysis.scored_folder import read_scored
from mobilebench.errors import UserError
from mobilebench.evaluation.target import ONE_CLASS
from mobilebench.runs.records import result_path
from mobilebench.system.files import read_csv, write_text
from mobilebench.system.layout import RESULTS
from mobilebench.system.provenance import MACHINE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mobilebench.analysis.result_files import FileResults
    from mobilebench.config.suite import Suite
    from mobilebench.runs.records import Record
    from mobilebench.tracking import Tracker

PUBLISHED_RESULTS = RESULTS / "published"
ANSWERS, ENVIRONMENTS, SUMS = "answers", "environments.json", "SHA256SUMS"
_TABLES = ("accuracy.csv", "xscore.csv", "noise.csv", "score.json", "cost.csv")  # where they are there
_PRIVATE = ("host",)  # of an environment: no business of a reader's


def publish(suite: Suite, tracker: Tracker, params: Path, out: Path, *, replace: bool = False) -> list[str]:
    """Write the present score of `suite` to the folder `out`, whole or not at all; return what a reader must know.

    An earlier publication there is replaced where its runs are all in the new one, or where `replace` says so.
    Raises UserError where `mobilebench score` has not been called, its tables don't follow from the results or are of
    another suite, a scored run has no result file here, or `out` would lose runs or is something else.
    """
    files, origin, _ = read_scored(RESULTS)
    if origin.experiment != suite.experiment:
        raise UserError(
            f"{RESULTS} has the score of {origin.experiment!r}, params.yaml is the suite of {suite.experiment!r}; run "
            "`mobilebench score` first"
        )
    absent = sorted(set(files.run_ids.values()) - {record.run_id for record in files.records})
    if absent:
        raise UserError(
            f"{len(absent)} scored runs have no result file in {RESULTS}/cells, for example {absent[0]}; run "
            "`mobilebench train` for their datasets, which takes over what the tracking store has"
        )
    _check_place(out, set(files.run_ids.values()), replace=replace)
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f"{out.name}.", suffix=".partial") as folder:
        made = Path(folder) / out.name
        made.mkdir()
        notes = _write(made, files, suite, tracker, params)
        if out.exists():
            out.rename(Path(folder) / "before")
        made.rename(out)
    return notes


def _check_place(out: Path, runs: set[str], *, replace: bool) -> None:
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / SUMS).is_file():
        raise UserError(f"{out} is there and is no publication (it has no {SUMS}); give another --out")
    before = {str(run) for run in read_csv(out / "accuracy.csv", ("run_id",))["run_id"]}
    if not before <= runs and not replace:
        raise UserError(
            f"{out} has {len(before - runs)} runs that the present score has not, for example {min(before - runs)}; "
            "give another --out, or --replace to give them up"
        )


def _write(folder: Path, files: FileResults, suite: Suite, tracker: Tracker, params: Path) -> list[str]:
    for name in _TABLES:
        if (RESULTS / name).is_file():
            shutil.copyfile(RESULTS / name, folder / name)
    shutil.copyfile(params, folder / params.name)
    for record in files.records:
        place = result_path(folder, record.cell)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(result_path(RESULTS, record.cell), place)
    kept = KeptPredictions(tracker, RESULTS)
    without = [dataset for dataset in suite.datasets if not _write_answers(folder, dataset, files.records, kept)]
    _write_environments(folder, files.records, tracker)
    write_text(folder / "README.md", _readme(folder, files, suite, params))
    sums = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.relative_to(folder).as_posix()}\n"
            for path in sorted(folder.rglob("*")) if path.is_file()]  # fmt: skip
    write_text(folder / SUMS, "".join(sums))
    notes = (
        [f"answers of the runs on {', '.join(without)} are not in it: not all of them can be had"] if without else []
    )
    return [*kept.problems, *notes]


_README = """# {suite}

{header}

Results of {runs} runs ({models} models, {datasets} datasets, seeds {seeds}), scored on {date} with protocol {protocol}.
{absent}Written by `mobilebench publish`. There are no images in it and no weights.

| file | what it is |
|---|---|
| `params.yaml` | the suite: every setting |
| `accuracy.csv`, `xscore.csv`, `noise.csv`, `score.json` | the score and what it follows from |
| `cells/DATASET/CELL.json` | the record of each run: metrics, cost, digests of data, network and recipe, commit |
| `answers/DATASET.npz` | the class that each run said for each test image, and the truth |
| `environments.json` | versions and machine of the runs |
| `SHA256SUMS` | `sha256sum -c SHA256SUMS` |

```console
$ mobilebench score {folder}    # the scores again, from the results
$ mobilebench site {folder}     # as a page; refuses tables that do not follow from each other
```
"""


def _absent(files: FileResults, suite: Suite) -> str:
    """Return the sentence on the suite's cells that have no run in it; "" where all have."""
    cells = list(suite.cells())
    absent = Counter((c.dataset, c.seed) for c in cells if (c.model, c.dataset, c.seed) not in files.run_ids)
    where = ", ".join(f"{count} on {dataset} with seed {seed}" for (dataset, seed), count in absent.items())
    return f"{absent.total()} of the suite's {len(cells)} cells have no run: {where}.\n" if absent else ""


def _readme(folder: Path, files: FileResults, suite: Suite, params: Path) -> str:
    lines = params.read_text(encoding="utf-8").splitlines()
    header = "\n".join(
        line.removeprefix("#").strip() for line in itertools.takewhile(lambda line: line.startswith("#"), lines)
    )
    origin, matrix = files.origin, files.matrix
    return _README.format(
        suite=suite.suite, header=header or "A grid of one's own.", runs=len(files.run_ids), models=len(matrix.models),
        datasets=len(matrix.datasets), seeds=", ".join(map(str, matrix.seeds)), date=origin.date if origin else "?",
        protocol=origin.protocol if origin else "?", folder=PUBLISHED_RESULTS / folder.name,
        absent=_absent(files, suite),
    )  # fmt: skip


def _write_answers(folder: Path, dataset: str, records: Sequence[Record], kept: KeptPredictions) -> bool:
    """Write ANSWERS/DATASET.npz, whether it could: `truth` [n], `said` [runs, n], `models`, `seeds`, `run_ids` [runs].

    Class numbers of the test images, in the order of the packed data. Of several labels an image nothing is written.
    """
    mine = sorted((record for record in records if record.dataset == dataset), key=lambda r: (r.model, r.seed))
    found = [(record, predictions) for record in mine if (predictions := kept.of(record)) is not None]
    if len(found) < len(mine) or not mine or found[0][1].target not in ONE_CLASS:
        return False
    kind = np.min_scalar_type(max(predictions.classes for _, predictions in found))
    (folder / ANSWERS).mkdir(exist_ok=True)
    np.savez_compressed(
        folder / ANSWERS / f"{dataset}.npz",
        truth=found[0][1].targets.astype(kind),
        said=np.stack([predictions.predicted for _, predictions in found]).astype(kind),
        models=np.array([record.model for record, _ in found]),
        seeds=np.array([record.seed for record, _ in found]),
        run_ids=np.array([record.run_id for record, _ in found]),
    )
    return True


def _write_environments(folder: Path, records: Sequence[Record], tracker: Tracker) -> None:
    """Write what the runs were made with, each environment once with its runs; without the machine's name."""
    runs: dict[str, list[str]] = defaultdict(list)
    with TemporaryDirectory() as fetched:
        for record in records:
            found = tracker.artifact(record.run_id, MACHINE, Path(fetched))
            said: dict[str, Any] = json.loads(found.read_text(encoding="utf-8")) if found else {}
            kept = {key: value for key, value in said.items() if key not in _PRIVATE}
            runs[json.dumps(kept, sort_keys=True)].append(record.cell.name)
    listed = [json.loads(text) | {"runs": sorted(cells)} for text, cells in runs.items()]
    write_text(folder / ENVIRONMENTS, json.dumps(listed, indent=1) + "\n")
