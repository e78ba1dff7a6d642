"""Class names as people write them: brought to one form, and those that are alike but for it found."""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from typing import TYPE_CHECKING

from mobilebench.datasets.spec import DataError

if TYPE_CHECKING:
    from collections.abc import Iterable


def tidy(name: str) -> str:
    """Return a class name without blanks around it, in Unicode's composed form, as every machine should have it."""
    return unicodedata.normalize("NFC", name.strip())


def check_distinct(where: str, names: Iterable[str]) -> None:
    """Raise DataError when two names differ only in case, blanks, invisible characters or Unicode form.

    Two single letters may differ in case: they are classes of handwriting.
    """
    alike: defaultdict[str, set[str]] = defaultdict(set)
    for name in names:
        alike[_key(name)].add(name)
    twins = [sorted(group) for group in alike.values() if len(group) > 1]
    if twins:
        listed = "; ".join(" and ".join(ascii(name) for name in group) for group in sorted(twins)[:5])
        raise DataError(
            f"{where} has {len(twins)} classes spelled in more than one way: {listed}. Give each class one spelling, or"
            " names that differ in more than case, blanks and Unicode form."
        )


def _key(name: str) -> str:
    composed = unicodedata.normalize("NFC", name)
    seen = "".join(c for c in composed if not c.isspace() and unicodedata.category(c) not in {"Cf", "Cc"})
    return seen if len(seen) == 1 else unicodedata.normalize("NFC", seen.casefold())
