"""What the paper's claims are held against: the published table, or a results folder, with costs and elements."""

from __future__ import annotations

from pathlib import Path

from mobilebench.report.inputs import CostRow, ReportInputs, read_costs
from mobilebench.scoring import Matrix, compute_scores
from mobilebench.studies.beyond_imagenet import published as reference
from mobilebench.studies.beyond_imagenet.claims import Context

PUBLISHED = "published"


def load_matrix(source: str) -> Matrix:
    """Return the matrix of `published` (Table 3), of a results folder, or of a CSV of cells; raises UserError."""
    return reference.matrix() if source == PUBLISHED else Matrix.from_csv(source)


def load_context(source: str, *, lam: float = reference.PAPER_LAMBDA, paper_anchors: bool = False) -> Context:
    """Return matrix, scores, costs and elements of `published`, of a results folder or of a CSV.

    Costs come from Table 1 or from `cost.csv` beside the cells; elements are Table 5's, for models of those names.
    """
    matrix = load_matrix(source)
    anchors = reference.paper_anchors() if paper_anchors else None
    rows = published_costs() if source == PUBLISHED else _costs_beside(Path(source))
    return Context(
        matrix,
        compute_scores(matrix, lam=lam, anchors=anchors),
        {row.model: row.params for row in rows},
        {row.model: row.macs for row in rows},
        reference.elements(),
    )


def published_costs() -> tuple[CostRow, ...]:
    """Table 1 as cost rows, without latency."""
    return tuple(CostRow(row.model, row.params, row.macs) for row in reference.costs())


def published_inputs() -> ReportInputs:
    """Return the inputs of a report on the published tables."""
    matrix = reference.matrix()
    return ReportInputs(
        matrix=matrix,
        scores=compute_scores(matrix, lam=reference.PAPER_LAMBDA),
        suite="Published Table 3",
        experiment="none: numbers as printed in the paper",
        protocol_hash="none",
        protocol={},
        costs=published_costs(),
        elements=reference.elements(),
        source=f"Published single runs, Tables 1 to 5 of {reference.SOURCE}; nothing here was measured by mobilebench.",
    )


def _costs_beside(source: Path) -> tuple[CostRow, ...]:
    path = (source if source.is_dir() else source.parent) / "cost.csv"
    return read_costs(path) if path.is_file() else ()
