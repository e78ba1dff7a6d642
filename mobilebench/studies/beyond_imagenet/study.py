"""Beyond ImageNet as the command line and the report see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.studies.beyond_imagenet import audit
from mobilebench.studies.beyond_imagenet import published as reference
from mobilebench.studies.beyond_imagenet.built import printed_elements
from mobilebench.studies.beyond_imagenet.claims import check_claims
from mobilebench.studies.beyond_imagenet.context import load_context, published_costs
from mobilebench.studies.study import PUBLISHED, AuditTable, CheckedClaims, PublishedStudy

if TYPE_CHECKING:
    from mobilebench.studies.study import AnchorsName


def _check(source: str, lam: float, anchors: AnchorsName) -> CheckedClaims:
    context = load_context(source, lam=lam, anchors=anchors)
    caveats = audit.CAVEATS if source == PUBLISHED else {}
    return CheckedClaims(context.matrix, check_claims(context), caveats, context.scores)


def _what_if() -> tuple[AuditTable, ...]:
    """Return tinynet's place had it been trained on dogs like the others."""
    rows = tuple(
        (
            f"{100 * row.dogs:.2f}" + (" (as printed)" if row.dogs < 0.3 else ""),
            row.xscore,
            f"{row.rank} of 11",
            row.proxy_rho,
        )
        for row in audit.what_if()
    )
    caption = (
        "What if tinynet had been trained on dogs at the learning rate of its other datasets? Assumed accuracies, all "
        "other cells as printed, n = 11 models, single runs."
    )
    columns = ("tinynet on dogs (%)", "its xScore", "its rank", "Imagenette's Spearman with xScore")
    return (AuditTable("what_if", caption, columns, rows),)


STUDY = PublishedStudy(
    id="beyond_imagenet",
    citation=reference.SOURCE,
    tables="Tables 1 to 5",
    matrix_name="Published Table 3",
    lam=reference.PAPER_LAMBDA,
    matrix=reference.matrix,
    costs=published_costs,
    elements=reference.elements,
    element_notes=lambda: printed_elements().notes,
    check_claims=_check,
    disagreements=audit.disagreements,
    audit_note=(
        "All accuracies of the paper are single runs. The released code may differ from what was run for the tables."
    ),
    audit_tables=_what_if,
    suite="paper_v1",
)
