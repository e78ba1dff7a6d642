"""What `score` leaves in a results folder: what its tables are of, and the scores read from them again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from mobilebench.config.parsing import parse
from mobilebench.errors import UserError
from mobilebench.scoring import Matrix, compute_scores
from mobilebench.studies.beyond_imagenet.published import paper_anchors
from mobilebench.system.files import read_csv, read_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mobilebench.config.suite import ScoreSettings, Suite
    from mobilebench.scoring import ScoreTable

SCORE = "score.json"  # beside the tables of a score: what they are of
# What xscore.csv calls the anchors, and what `score --anchors` calls them.
SETTING_OF: dict[str, Literal["grid", "paper"]] = {"grid": "grid", "fixed": "paper"}


def scored_with(results: Path, wanted: ScoreSettings) -> tuple[ScoreSettings, str]:
    """Return lambda and anchors as `score` wrote them to xscore.csv, and a sentence where params.yaml `wanted` others.

    What follows the score (leaderboard, report) shows these, so that all three speak of the same numbers. Without an
    xscore.csv they are params.yaml's. Raises UserError for a file whose rows disagree or that says neither.
    """
    path = results / "xscore.csv"
    if not path.exists():
        return wanted, ""
    rows = {tuple(row) for row in read_csv(path, ("lambda", "anchors"))[["lambda", "anchors"]].to_numpy().tolist()}
    try:
        ((lam, anchors),) = rows
        used = replace(wanted, lam=float(lam), anchors=SETTING_OF[anchors])
    except (ValueError, KeyError):
        raise UserError(
            f"{path} does not say one lambda and one kind of anchors ({', '.join(SETTING_OF)}) for all of its rows; "
            "run `mobilebench score` again"
        ) from None
    if used == wanted:
        return used, ""
    return used, (
        f"Scored with lambda {used.lam:g} and {used.anchors} anchors, as `mobilebench score` was called; params.yaml "
        f"has lambda {wanted.lam:g} and {wanted.anchors} anchors."
    )


def recomputed(results: Path, wanted: ScoreSettings) -> tuple[Matrix, ScoreTable]:
    """Return the matrix in a results folder and its scores, with what `score` used; a note says where that differs.

    Raises UserError when `mobilebench score` has not written its tables, or as `scored_with` does.
    """
    matrix = Matrix.from_csv(results)
    used, note = scored_with(results, wanted)
    if wanted.metric and set(matrix.metrics) != {wanted.metric}:
        used_metrics = ", ".join(dict.fromkeys(matrix.metrics))
        other = f"Scored by {used_metrics}, as `mobilebench score` was called; params.yaml has {wanted.metric}."
        note = f"{note} {other}".strip()
    table = compute_scores(matrix, lam=used.lam, anchors=paper_anchors() if used.anchors == "paper" else None)
    return matrix, noted(replace(table, notes=(note, *table.notes)) if note else table)


def noted(table: ScoreTable) -> ScoreTable:
    """Return a table with a note on accuracies far outside its fixed anchors, as `far_outside` tells of them."""
    if table.anchors_name != "fixed":
        return table
    note = far_outside(table.models, table.datasets, table.xscore.normalised)
    other = "With `--anchors grid` they are scored against each other."
    return replace(table, notes=(f"{note} {other}", *table.notes)) if note else table


def far_outside(models: Sequence[str], datasets: Sequence[str], normalised: NDArray[np.float64]) -> str:
    """Return a sentence on accuracies further outside fixed anchors than the anchors lie apart; "" without any.

    normalised: [M, D], 0 at the low anchor and 1 at the high one, NaN where absent. xScore then says how far away
    they are, which no weight lambda was meant for: -30 is no xScore of Eq. 3's kind.
    """
    parts = []
    for j, dataset in enumerate(datasets):
        column = normalised[:, j]
        beyond = np.where(np.isnan(column), 0.0, np.maximum(-column, column - 1))
        far = int((beyond > 1).sum())
        if far:
            i = int(beyond.argmax())
            side = "below the low" if column[i] < 0 else "above the high"
            parts.append(
                f"{dataset} ({far} of {len(models)} models; the furthest, {models[i]}, {beyond[i]:.1f} "
                f"times the anchors' distance {side} one)"
            )
    if not parts:
        return ""
    return (
        f"Far outside the anchors: {'; '.join(parts)}. An xScore made of these measures that distance and compares "
        "with no published one."
    )


@dataclass(frozen=True)
class ScoreOrigin:
    """What the tables of a results folder are of, as `score` wrote it beside them."""

    experiment: str
    protocol: str
    """Hash of the protocol; several, with blanks between, where no suite said which counts."""
    lam: float
    anchors: str
    """`grid` or `fixed`."""
    date: str
    """When it was scored, ISO 8601 in UTC."""
    run_ids: tuple[str, ...]
    files: dict[str, str]
    """{name of a table: sha256 of it}."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    def __str__(self) -> str:
        return f"experiment {self.experiment!r}, protocol {self.protocol}, scored {self.date}"


def read_origin(results: Path) -> ScoreOrigin | None:
    """Return what the tables of a results folder are of; None where nothing says so: an earlier version wrote them.

    Raises UserError where a table is gone or no longer the one that `score` wrote.
    """
    path = results / SCORE
    try:
        data = json.loads(read_text(path, "what the scores are of, in JSON"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); run `mobilebench score` again") from None
    origin = parse(ScoreOrigin, data, f"{path}: ")
    for name, digest in origin.files.items():
        table = results / name
        if not table.is_file():
            raise UserError(
                f"{table} is gone, which `mobilebench score` wrote ({origin}): without it the others say something "
                "else; run `mobilebench score` again"
            )
        if hashlib.sha256(table.read_bytes()).hexdigest() != digest:
            raise UserError(
                f"{table} was changed after `mobilebench score` wrote it ({origin}), so its numbers may be of other "
                "runs; run `mobilebench score` again"
            )
    return origin


def raise_if_other(origin: ScoreOrigin | None, suite: Suite) -> None:
    """Raise UserError where a results folder holds the scores of another experiment than the suite's."""
    if origin is not None and origin.experiment != suite.experiment:
        raise UserError(
            f"the results here are of {origin}, and params.yaml is of experiment {suite.experiment!r}; run "
            "`mobilebench score` to score that one, or work on the other in its own project folder"
        )
