"""What every published study offers: its tables as data, a check of its claims, an audit of its tables."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from mobilebench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mobilebench.models.cost.cost_file import CostRow
    from mobilebench.scoring.low_data import LowData
    from mobilebench.scoring.matrix import Matrix
    from mobilebench.scoring.table import ScoreTable

PUBLISHED = "published"  # in place of a path: the matrix that the study printed
Verdict = Literal["supported", "leans for", "undecided", "leans against", "contradicted", "not testable"]
AnchorsName = Literal["grid", "paper"]


class NotTestableError(Exception):
    """This matrix lacks what a claim is about."""


@dataclass
class Evidence:
    """What a matrix says about one claim, collected sentence by sentence."""

    pro: list[str] = field(default_factory=list)
    """Sentences that speak for the claim, with their numbers."""
    contra: list[str] = field(default_factory=list)
    """Sentences that speak against it."""
    remarks: list[str] = field(default_factory=list)
    """Sentences that limit what the evidence means."""
    verdict: Verdict = "undecided"
    """What the claim's rule makes of it."""

    def note(self, sentence: str, *, holds: bool) -> None:
        """Add a sentence for the claim if what it says `holds`, else against it."""
        if holds:
            self.pro.append(sentence)
        else:
            self.contra.append(sentence)

    def conclude(self, verdict: Verdict, *remarks: str) -> Evidence:
        """Set the verdict, add what limits it, and return the evidence."""
        self.verdict = verdict
        self.remarks.extend(remarks)
        return self


@dataclass(frozen=True)
class Claim:
    """One statement of a study with its verdict on one matrix."""

    name: str
    """Short id of the claim."""
    statement: str
    """What the study says, and where."""
    rule: str
    """When the verdict is what; fixed before the matrix is read."""
    verdict: Verdict
    """The outcome of the rule."""
    pro: tuple[str, ...] = ()
    """Sentences for the claim, with their numbers."""
    contra: tuple[str, ...] = ()
    """Sentences against it."""
    notes: tuple[str, ...] = ()
    """What limits the verdict, or why the claim is not testable."""


def judge(name: str, statement: str, rule: str, test: Callable[[], Evidence], *notes: str) -> Claim:
    """Return the claim with the verdict that its test gives; one that cannot be tested says why, before the notes."""
    try:
        found = test()
    except (NotTestableError, UserError) as reason:
        return Claim(name, statement, rule, "not testable", notes=(str(reason), *notes))
    pro, contra = tuple(found.pro), tuple(found.contra)
    return Claim(name, statement, rule, found.verdict, pro, contra, (*found.remarks, *notes))


@dataclass(frozen=True, eq=False)
class CheckedClaims:
    """A study's claims held against one matrix."""

    matrix: Matrix | None
    """The accuracies; None where the study's own were asked for and it prints none."""
    claims: tuple[Claim, ...]
    """Every claim with its verdict."""
    caveats: Mapping[str, str] = field(default_factory=dict)
    """{name of a claim: what is known about the numbers behind it}; only for the study's own matrix."""
    scores: ScoreTable | None = None
    """Their xScores; None where no claim is about them."""


@dataclass(frozen=True)
class Disagreement:
    """One place where a study's printed number is not what its other tables, or its released code, give."""

    where: str
    """Table and cell, or section."""
    printed: str
    """What is printed there."""
    found: str
    """What follows instead."""
    basis: str
    """What it follows from."""


@dataclass(frozen=True)
class AuditTable:
    """A further table of an audit: text and numbers, for the report to lay out."""

    name: str
    """Id of the table."""
    caption: str
    """What it shows, with its n."""
    columns: tuple[str, ...]
    """Headings."""
    rows: tuple[tuple[str | float, ...], ...]
    """One entry for each heading."""


@dataclass(frozen=True, eq=False)
class StudySection:
    """A section of a study's report that only this study has."""

    name: str
    """Id of the section."""
    title: str
    """Its heading."""
    words: tuple[str, ...] = ()
    """Sentences before the tables."""
    tables: tuple[AuditTable, ...] = ()
    """Tables."""


@dataclass(frozen=True, eq=False)
class PublishedStudy:
    """One published study."""

    id: str
    """Id by which the command line knows it."""
    citation: str
    """Authors and year, or where it is published."""
    tables: str
    """Which of its tables stand here, as `Tables 1 to 5`."""
    matrix_name: str
    """How a report calls its matrix, as `Published Table 3`."""
    matrix: Callable[[], Matrix] | None
    """The matrix as printed; None where none is known."""
    check_claims: Callable[[str, float, AnchorsName], CheckedClaims]
    """Check the claims on a matrix (`published` or a path) with a lambda and the anchors of its grid or the study's."""
    disagreements: Callable[[], tuple[Disagreement, ...]]
    """Where it disagrees with itself and with its code."""
    audit_note: str
    """What a reader of the disagreements must know."""
    runs: str = "single runs"
    """What the printed numbers are."""
    result_is: str = "a single run"
    """What one of them is."""
    caveats: tuple[str, ...] = ()
    """Sentences on what its numbers cannot bear, for its report."""
    lam: float | None = None
    """The weight lambda that it scores with; None where it has no xScore."""
    costs: Callable[[], tuple[CostRow, ...]] | None = None
    """Costs as printed; None where it prints no multiply-adds."""
    elements: Callable[[], Mapping[str, Mapping[str, bool]]] | None = None
    """{architectural element: {model: has it}} as printed; None where it compares none."""
    element_notes: Callable[[], Mapping[str, tuple[str, ...]]] | None = None
    """{element: sentences on where the printed elements and the networks built here disagree}; None without elements.
    """
    domains: Callable[[], Mapping[str, str]] | None = None
    """{dataset: domain} as the study counts them; None where our datasets' own are meant."""
    imagenet: Callable[[], Mapping[str, float]] | None = None
    """{model: ImageNet-1k top-1 in percent} as printed; None where it prints none of its models' weights."""
    low_data: Callable[[], LowData] | None = None
    """Its results with fewer train images; None where there are none."""
    audit_tables: Callable[[], tuple[AuditTable, ...]] | None = None
    """Further tables of the audit; None where there are none."""
    sections: Callable[[], tuple[StudySection, ...]] | None = None
    """Sections of its report that only it has, its claims among them; None where there are none."""
    suite: str = ""
    """The packaged suite that trains under its protocol; "" where there is none."""
