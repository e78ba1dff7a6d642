"""Two models of one experiment compared on every dataset that both ran on, by the tables of the last score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilebench.analysis.caveats import chosen_on_test
from mobilebench.analysis.collect import raise_if_stale
from mobilebench.analysis.kept import KeptPredictions
from mobilebench.analysis.named_runs import stands_for_runs
from mobilebench.analysis.score_files import raise_if_other, read_origin
from mobilebench.config.suite import PARAMS
from mobilebench.errors import UserError
from mobilebench.execution.suites import open_suite
from mobilebench.runs.records import read_results
from mobilebench.scoring import Matrix
from mobilebench.scoring.matrix import ACCURACY
from mobilebench.scoring.paired import PairedDifference, difference_in
from mobilebench.scoring.ranking import difference_of
from mobilebench.system.files import read_csv, write_csv

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pandas import DataFrame

    from mobilebench.config.suite import Suite

PREFIX = "model:"
COLUMNS = (
    "dataset", "metric", "model_a", "model_b", "a", "b", "difference", "low", "high", "p_better", "interval_over",
    "paired", "runs_a", "runs_b", "only_a_right", "only_b_right", "mcnemar_p", "level",
)  # fmt: skip


@dataclass(frozen=True)
class ModelPair:
    """Two models on each dataset that both have runs on."""

    a: str
    """Id of model A."""
    b: str
    """Id of model B."""
    experiment: str
    """The experiment that was scored."""
    differences: Mapping[str, PairedDifference]
    """{dataset: b - a}."""
    paired: frozenset[str]
    """The datasets where the two are compared image by image; elsewhere they are taken for tested apart."""
    notes: tuple[str, ...]
    """Plain sentences that a reader must see."""
    problems: tuple[str, ...] = ()
    """Why some predictions could not be read."""

    def to_frame(self) -> DataFrame:
        """Return one row per dataset (COLUMNS); an undefined number is NaN, an absent count NA."""
        import pandas as pd

        rows = [
            (
                dataset, row.metric, self.a, self.b, row.a, row.b, row.difference, row.low, row.high, row.p_better,
                row.source or "", dataset in self.paired, *row.runs, *(row.only_right or (pd.NA, pd.NA)),
                row.mcnemar_p, row.level,
            )
            for dataset, row in self.differences.items()
        ]  # fmt: skip
        return pd.DataFrame(rows, columns=list(COLUMNS))

    def to_csv(self, path: Path) -> Path:
        """Write the rows of `to_frame` (undefined numbers are empty) and replace `path` in one step."""
        return write_csv(path, self.to_frame())


def models_meant(a: str, b: str) -> tuple[str, str] | None:
    """Return the two models of params.yaml that are meant, None where the names stand for sets of runs.

    `model:NAME` is a model for certain, and then so is the other name. Plain names are models where both are in
    params.yaml and neither is an experiment, a run, a model version or a git revision. Two names that both are such
    a thing keep that meaning. Raises UserError where one of them alone is, where only one is a model, and for an
    unknown or repeated model.
    """
    marked = [name.startswith(PREFIX) for name in (a, b)]
    names = a.removeprefix(PREFIX), b.removeprefix(PREFIX)
    models = open_suite(networks=False).models if PARAMS.exists() else ()
    if any(marked):
        unknown = [name for name in names if name not in models]
        if unknown:
            raise UserError(
                f"params.yaml has no model {', '.join(unknown)} to compare; it has {', '.join(models) or 'none'}"
            )
    elif not set(names) & set(models):
        return None
    else:
        from mobilebench.tracking import Tracker  # a comparison of files needs no MLflow

        experiments = Tracker().experiments()
        others = [name for name in names if stands_for_runs(name, experiments)]
        if len(others) == len(names):
            return None
        strange = [name for name in names if name not in models]
        if strange and not others:
            raise UserError(
                f"{strange[0]!r} is no model of params.yaml, and no run, model version, experiment or git revision; "
                f"the models are {', '.join(models)}"
            )
        if strange:
            raise UserError(
                f"a model and a set of runs cannot be compared: {' and '.join(names)}; models are compared with each "
                f"other ({', '.join(models)})"
            )
        if others:
            raise UserError(
                f"{others[0]!r} is a model of params.yaml and an experiment or git revision; write {PREFIX}{a} "
                f"{PREFIX}{b} to compare the two models"
            )
    if names[0] == names[1]:
        raise UserError(f"{names[0]} is compared with itself; name two models of {', '.join(models)}")
    return names


def compare_models(suite: Suite, results: Path, a: str, b: str, dataset: str | None = None) -> ModelPair:
    """Compare two models of the suite by the last score, on one dataset or on all that both have runs on.

    Training noise is pooled over all models of a dataset. Raises UserError where nothing was scored, or another
    experiment, or other recipes than the suite's, and where the two have no dataset in common.
    """
    raise_if_other(read_origin(results), suite)
    matrix = Matrix.from_csv(results)
    scored = set(read_csv(results / ACCURACY, ("run_id",))["run_id"])
    records = [record for record in read_results(results) if record.run_id in scored]
    raise_if_stale(records, suite)
    part = matrix.select(models=(a, b), datasets=None if dataset is None else [dataset])
    both = [name for name, counts in zip(part.datasets, part.counts.T, strict=True) if counts.all()]
    if not both:
        raise UserError(f"{a} and {b} have no dataset on which both ran{f': {dataset}' if dataset else ''}")
    of_both = [record for record in records if record.model in {a, b} and record.dataset in both]
    kept = KeptPredictions(None, results)
    of_cell = kept.by_cell(records)
    found, paired = {}, set(both)
    for name in both:
        exact = difference_in(matrix, of_cell, name, a, b)
        if exact is None and not matrix.paired[matrix.datasets.index(name)]:
            paired.discard(name)
        found[name] = exact or difference_of(matrix, name, a, b)
    return ModelPair(
        a, b, suite.experiment, found, frozenset(paired), (*chosen_on_test(of_both), *_notes(found, paired)),
        kept.problems,
    )  # fmt: skip


def _notes(found: Mapping[str, PairedDifference], paired: set[str]) -> list[str]:
    """Say what intervals and probabilities are over, and what McNemar's p is."""
    notes = []
    images = {name for name, row in found.items() if row.source and "test" in row.source}
    for what, names in (
        ("compared image by image", images & paired),
        ("taken for tested on different images, because predictions of some runs are not here", images - paired),
    ):
        if names:
            notes.append(f"{_named(names, found)}{what}.")
    for source, words in (
        ("test", "intervals are over the test images; single runs, so what another training gives is not in them"),
        ("seeds+test", "intervals are over test images and training runs, whose noise is pooled over all models"),
        ("seeds", "intervals are over training runs alone; the noise over the test images is not known"),
        (None, "no interval: single runs, and the noise over the test images needs the predictions of both"),
    ):
        names = {name for name, row in found.items() if row.source == source}
        if names:
            notes.append(f"{_named(names, found)}{words}.")
    notes = [f"{note[0].upper()}{note[1:]}" for note in notes] if len(found) == 1 else notes
    rights = {name: row.only_right for name, row in found.items() if row.only_right}
    for name, (only_a, only_b) in rights.items():
        notes.append(f"{name}: A alone is right on {only_a} test images, B alone on {only_b} (exact McNemar test).")
    return notes


def _named(names: set[str], found: Mapping[str, PairedDifference]) -> str:
    """Return the datasets that a sentence is about, in order, or that it is about all; "" where there is one."""
    if len(found) == 1:
        return ""
    return "All datasets: " if len(names) == len(found) else f"{', '.join(n for n in found if n in names)}: "
