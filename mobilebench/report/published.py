"""Tables of the paper's audit: where it disagrees with itself and with its released code."""

from __future__ import annotations

from mobilebench.report.table import Table, number, text
from mobilebench.studies.beyond_imagenet import audit


def findings_table() -> Table:
    """Return every disagreement with what it follows from."""
    found = audit.findings()
    rows = tuple((text(f.where), text(f.printed), text(f.found), text(f.basis)) for f in found)
    caption = (
        f"{len(found)} disagreements. All accuracies of the paper are single runs. The released code may differ "
        "from what was run for the tables."
    )
    return Table("audit", caption, ("where", "printed", "found", "follows from"), rows)


def what_if_table() -> Table:
    """Return tinynet's place had it been trained on dogs like the others."""
    rows = tuple(
        (
            text(f"{100 * row.dogs:.2f}" + (" (as printed)" if row.dogs < 0.3 else "")),
            number(row.xscore),
            text(f"{row.rank} of 11"),
            number(row.proxy_rho, 2),
        )
        for row in audit.what_if()
    )
    caption = (
        "What if tinynet had been trained on dogs at the learning rate of its other datasets? Assumed accuracies, all "
        "other cells as printed, n = 11 models, single runs."
    )
    columns = ("tinynet on dogs (%)", "its xScore", "its rank", "Imagenette's Spearman with xScore")
    return Table("what_if", caption, columns, rows)
