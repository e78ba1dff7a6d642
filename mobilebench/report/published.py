"""A published study as a report: its own tables, and where it disagrees with itself and with its released code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.errors import UserError
from mobilebench.models.weights.imagenet import ImageNetTop1
from mobilebench.report.domains import domains_of
from mobilebench.report.inputs import ReportInputs
from mobilebench.report.sections import Section
from mobilebench.report.table import Table, number, text
from mobilebench.scoring import compute_scores
from mobilebench.studies import STUDIES
from mobilebench.system.words import counted

if TYPE_CHECKING:
    from mobilebench.studies.study import AuditTable, PublishedStudy


LAMBDA = 0.5  # of a study that has no xScore
ABOUT_XSCORE = ("leaderboard", "datasets", "lambda", "proxy", "subsets")


def published_inputs(study: PublishedStudy) -> ReportInputs:
    """Return the inputs of a report on a study's published tables. Raises UserError for a study without a matrix."""
    if study.matrix is None:
        raise UserError(
            f"of {study.id} no table of models and datasets is known, so there is no report on it; `mobilebench study "
            f"audit {study.id}` shows what it prints"
        )
    matrix = study.matrix()
    source = f"Published {study.runs}, {study.tables} of {study.citation}; nothing here was measured by mobilebench."
    if study.lam is None:
        source += f" The study has no xScore: those here are mobilebench's, with lambda {LAMBDA:g}."
    imagenet = study.imagenet() if study.imagenet else {}
    return ReportInputs(
        matrix=matrix,
        scores=compute_scores(matrix, lam=LAMBDA if study.lam is None else study.lam),
        suite=study.matrix_name,
        experiment=f"{STUDIES[study.id].title}, as printed",
        protocol_hash="none",
        protocol={},
        costs=study.costs() if study.costs else None,
        elements=study.elements() if study.elements else None,
        element_notes=study.element_notes() if study.element_notes else {},
        pretrained=dict.fromkeys(imagenet, "ImageNet-1k"),
        imagenet={model: ImageNetTop1(percent, "the study") for model, percent in imagenet.items()},
        low_data=study.low_data() if study.low_data else None,
        domains=study.domains() if study.domains else domains_of(matrix.datasets, {}),
        caveats=study.caveats,
        result_is=study.result_is,
        source=source,
    )


def left_out(study: PublishedStudy) -> tuple[str, ...]:
    """Return the sections of a report that say nothing of a study: those about an xScore, where it has none."""
    return ABOUT_XSCORE if study.lam is None else ()


def disagreements_table(study: PublishedStudy) -> Table:
    """Return every disagreement with what it follows from."""
    found = study.disagreements()
    rows = tuple((text(f.where), text(f.printed), text(f.found), text(f.basis)) for f in found)
    caption = f"{counted(len(found), 'disagreement')}. {study.audit_note}"
    return Table("audit", caption, ("where", "printed", "found", "follows from"), rows)


def audit_tables(study: PublishedStudy) -> tuple[Table, ...]:
    """Return the further tables of the audit."""
    return tuple(_laid_out(table) for table in study.audit_tables()) if study.audit_tables else ()


def study_sections(study: PublishedStudy) -> tuple[Section, ...]:
    """Return the sections of a study's report that only it has."""
    return tuple(
        Section(found.name, found.title, found.words, (), tuple(map(_laid_out, found.tables)))
        for found in (study.sections() if study.sections else ())
    )


def _laid_out(table: AuditTable) -> Table:
    rows = tuple(tuple(text(x) if isinstance(x, str) else number(x) for x in row) for row in table.rows)
    return Table(table.name, table.caption, table.columns, rows)
