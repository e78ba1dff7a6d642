"""Table 1, the best three of each domain and overall: which way of aggregating the other tables gives it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.scoring.aggregation import TITLES, in_domains, overall
from mobilebench.studies.study import AuditTable, Disagreement
from mobilebench.studies.which_backbone import published as reference

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mobilebench.scoring.aggregation import Aggregate
    from mobilebench.scoring.matrix import Matrix


def _without_table_8() -> Matrix:
    table = reference.matrix()
    of_text = [name for name in table.datasets if name not in {"food101", "rsna_pneumonia"}]
    return table.select(datasets=of_text)


def disagreements() -> Iterator[Disagreement]:
    """Yield the columns of Table 1 that mean results, or no way of aggregating at all, do not give."""
    domains, printed = reference.domains(), reference.winners()
    found = in_domains(_without_table_8(), domains)
    for domain, ways in found.items():
        by_mean = ways[0]
        if not _agree(by_mean, printed[domain]):
            others = [TITLES[way.id] for way in ways[1:] if _agree(way, printed[domain])]
            instead = f"; {' and '.join(others)} gives what is printed here, not of every domain" if others else ""
            yield Disagreement(
                f"Table 1, {domain}", ", ".join(printed[domain]),
                f"{_named(by_mean)} by the {TITLES['mean_result']}{instead}",
                "Tables 4 to 6",
            )  # fmt: skip
    ways = overall(_without_table_8(), domains, lam=0.5)
    if not any(_agree(way, printed[reference.OVERALL]) for way in ways):
        yield Disagreement(
            "Table 1, overall", ", ".join(printed[reference.OVERALL]),
            "none of " + "; ".join(f"{_named(way)} by {TITLES[way.id]}" for way in ways)
            + ". Counting how often a model is named in the six other columns of Table 1 gives what is printed: "
            + ", ".join(f"{model} {count}" for model, count in _counted()[:3]),
            "Tables 4 to 6",
        )  # fmt: skip


def _counted() -> list[tuple[str, int]]:
    """How often each model is named in the columns of Table 1 for domains, most often first."""
    named = [model for domain, row in reference.winners().items() if domain != reference.OVERALL for model in row]
    return sorted(((model, named.count(model)) for model in dict.fromkeys(named)), key=lambda entry: -entry[1])


def table() -> AuditTable:
    """Return every way of aggregating beside what Table 1 prints."""
    domains, printed = reference.domains(), reference.winners()
    rows: list[tuple[str, ...]] = []
    for label, table in (("Tables 4 to 6", _without_table_8()), ("and Table 8", reference.matrix())):
        for domain, ways in in_domains(table, domains).items():
            if label == "Tables 4 to 6" or domain in {"natural", "medical"}:  # the two that Table 8 adds to
                rows += [(domain, label, TITLES[way.id], _named(way), _verdict(way, printed[domain])) for way in ways]
    for label, table in (("Tables 4 to 6", _without_table_8()), ("and Table 8", reference.matrix())):
        rows += [
            ("overall", label, TITLES[way.id], _named(way), _verdict(way, printed[reference.OVERALL]))
            for way in overall(table, domains)
        ]
    counted = ", ".join(f"{model} ({count})" for model, count in _counted()[:3])
    agree = tuple(model for model, _ in _counted()[:3]) == printed[reference.OVERALL]
    rows.append(("overall", "Table 1", "how often a column of Table 1 names it", counted, "yes" if agree else "no"))
    caption = (
        "Which way of aggregating gives the best three of Table 1 (equal ones joined by =): the paper names none. n = "
        "11 models; 17 datasets in Tables 4 to 6, 19 with food101 and rsna_pneumonia of Table 8. xScore: lambda 0.5."
    )
    return AuditTable("table_1", caption, ("domain", "of", "way", "its best three", "as printed"), tuple(rows))


def _named(way: Aggregate) -> str:
    return ", ".join(" = ".join(models) for models in way.best())


def _agree(way: Aggregate, printed: Sequence[str]) -> bool:
    return way.best() == tuple((model,) for model in printed)


def _verdict(way: Aggregate, printed: Sequence[str]) -> str:
    if _agree(way, printed):
        return "yes"
    first = way.best(1)[0]
    return "its first" if first == (printed[0],) else "its first, with others" if printed[0] in first else "no"
