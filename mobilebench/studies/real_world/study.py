"""Does progress on ImageNet transfer to real-world datasets, as the command line and the report see it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.studies.real_world import published as reference
from mobilebench.studies.real_world.claims import check_claims
from mobilebench.studies.real_world.context import load_context
from mobilebench.studies.study import PUBLISHED, AuditTable, CheckedClaims, PublishedStudy

if TYPE_CHECKING:
    from mobilebench.studies.study import AnchorsName

CAVEATS = (
    "Of this study a summary is known here, with single numbers and no results of single models.",
    (
        "The scripts of the study choose some settings on test images, and its val split is also what it reports on "
        "for four of the six datasets; the packaged suite chooses on val and reads test once."
    ),
    (
        "It defines neither its normalised slope nor the models behind a printed correlation; here the slope is in "
        "points for a point, and both all models and those above 70 % on ImageNet are shown."
    ),
)


def _check(source: str, lam: float, anchors: AnchorsName) -> CheckedClaims:  # noqa: ARG001 - it has no xScore
    if source == PUBLISHED:
        return CheckedClaims(None, check_claims(None))
    context = load_context(source)
    return CheckedClaims(context.matrix, check_claims(context))


def _printed() -> tuple[AuditTable, ...]:
    rows = tuple((each.dataset or "all", each.what, each.value, each.section) for each in reference.PRINTED)
    caption = "The numbers of the study that are known here, as a summary prints them; none can be recomputed."
    return (AuditTable("printed", caption, ("dataset", "what", "printed", "section of the summary"), rows),)


STUDY = PublishedStudy(
    id="real_world",
    citation=reference.SOURCE,
    tables="single numbers",
    matrix_name="",
    matrix=None,
    check_claims=_check,
    disagreements=tuple,
    audit_note="Nothing can be recomputed: no results of single models are known here.",
    runs="single runs of the best of many settings",
    caveats=CAVEATS,
    audit_tables=_printed,
    suite=reference.SUITE,
)
