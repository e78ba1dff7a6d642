"""What the paper's claims are held against: the published table, or a results folder, with costs and elements."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.models.cost.cost_file import CostRow, read_costs
from mobilebench.scoring import Matrix, compute_scores
from mobilebench.studies.beyond_imagenet import published as reference
from mobilebench.studies.beyond_imagenet.built import Elements, built_elements
from mobilebench.studies.study import PUBLISHED

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mobilebench.scoring.table import ScoreTable
    from mobilebench.studies.study import AnchorsName


@dataclass(frozen=True)
class Context:
    """What the claims are held against."""

    matrix: Matrix
    """The accuracies."""
    scores: ScoreTable
    """Their scores; nothing is resampled beyond its draws."""
    params: Mapping[str, int] = field(default_factory=dict)
    """{model: parameters}."""
    macs: Mapping[str, int] = field(default_factory=dict)
    """{model: multiply-adds}."""
    elements: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    """{architectural element: {model: has it}}."""
    element_notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """{element: sentences on where Table 5 and the networks built disagree}."""
    element_remarks: tuple[str, ...] = ()
    """Sentences on the models whose elements are left out, and why."""


def load_matrix(source: str) -> Matrix:
    """Return the matrix of `published` (Table 3), of a results folder, or of a CSV of cells; raises UserError."""
    return reference.matrix() if source == PUBLISHED else Matrix.from_csv(source)


def load_context(source: str, *, lam: float = reference.PAPER_LAMBDA, anchors: AnchorsName = "grid") -> Context:
    """Return matrix, scores, costs and elements of `published`, of a results folder or of a CSV.

    Costs come from Table 1 or from `cost.csv` beside the cells; elements are Table 5's for the published matrix, and
    those of the networks as built for any other.
    """
    matrix = load_matrix(source)
    fixed = reference.paper_anchors() if anchors == "paper" else None
    rows = published_costs() if source == PUBLISHED else _costs_beside(Path(source))
    # The published matrix comes with its caveats (`audit.CAVEATS`), which name what Table 5 gets wrong.
    elements = Elements(reference.elements(), {}) if source == PUBLISHED else built_elements(matrix.models)
    return Context(
        matrix,
        compute_scores(matrix, lam=lam, anchors=fixed),
        {row.model: row.params for row in rows},
        {row.model: row.macs for row in rows},
        elements.flags,
        elements.notes,
        elements.remarks,
    )


def published_costs() -> tuple[CostRow, ...]:
    """Table 1 as cost rows, without latency."""
    return tuple(CostRow(row.model, row.params, row.macs) for row in reference.costs())


def _costs_beside(source: Path) -> tuple[CostRow, ...]:
    path = (source if source.is_dir() else source.parent) / "cost.csv"
    return read_costs(path) if path.is_file() else ()
