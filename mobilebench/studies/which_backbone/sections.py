"""What its report alone shows: its claims."""

from __future__ import annotations

from mobilebench.studies.study import PUBLISHED, AuditTable, StudySection
from mobilebench.studies.which_backbone.claims import check_claims
from mobilebench.studies.which_backbone.context import load_context
from mobilebench.studies.which_backbone.facts import TOO_HIGH


def sections() -> tuple[StudySection, ...]:
    """Return the sections, in reading order."""
    return (_claims(),)


def _claims() -> StudySection:
    rows = tuple(
        (claim.statement, claim.verdict, _evidence(claim.pro, claim.contra, claim.notes), claim.rule)
        for claim in check_claims(load_context(PUBLISHED))
    )
    caption = "What the paper says, held against its own tables. A verdict follows from its rule alone."
    table = AuditTable("study_claims", caption, ("claim", "verdict", "evidence", "rule"), rows)
    return StudySection("study_claims", "What the study claims", (TOO_HIGH,), tables=(table,))


def _evidence(pro: tuple[str, ...], contra: tuple[str, ...], notes: tuple[str, ...]) -> str:
    said = [("For", pro), ("Against", contra), ("Note", notes)]
    return "\n".join(f"{label}: {line}." for label, lines in said for line in lines)
