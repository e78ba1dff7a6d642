"""A published study as a report: its own tables, and where it disagrees with itself and with its released code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.report.domains import domains_of
from mobilebench.report.inputs import ReportInputs
from mobilebench.report.table import Table, number, text
from mobilebench.scoring import compute_scores
from mobilebench.system.words import counted

if TYPE_CHECKING:
    from mobilebench.studies.study import AuditTable, PublishedStudy


def published_inputs(study: PublishedStudy) -> ReportInputs:
    """Return the inputs of a report on a study's published tables."""
    matrix = study.matrix()
    return ReportInputs(
        matrix=matrix,
        scores=compute_scores(matrix, lam=study.lam),
        suite=study.matrix_name,
        experiment="none: numbers as printed in the paper",
        protocol_hash="none",
        protocol={},
        costs=study.costs(),
        elements=study.elements(),
        element_notes=study.element_notes(),
        domains=domains_of(matrix.datasets, {}),
        source=f"Published single runs, {study.tables} of {study.citation}; nothing here was measured by mobilebench.",
    )


def disagreements_table(study: PublishedStudy) -> Table:
    """Return every disagreement with what it follows from."""
    found = study.disagreements()
    rows = tuple((text(f.where), text(f.printed), text(f.found), text(f.basis)) for f in found)
    caption = f"{counted(len(found), 'disagreement')}. {study.audit_note}"
    return Table("audit", caption, ("where", "printed", "found", "follows from"), rows)


def audit_tables(study: PublishedStudy) -> tuple[Table, ...]:
    """Return the further tables of the audit."""
    return tuple(_laid_out(table) for table in study.audit_tables())


def _laid_out(table: AuditTable) -> Table:
    rows = tuple(tuple(text(x) if isinstance(x, str) else number(x) for x in row) for row in table.rows)
    return Table(table.name, table.caption, table.columns, rows)
