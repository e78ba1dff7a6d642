"""Class names as people write them: brought to one form, put in order, and those that are alike but for it found."""

from __future__ import annotations

import logging
import re
import unicodedata
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

from mobilebench.datasets.spec import DataError
from mobilebench.system.names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mobilebench.config.data import OwnData


_log = logging.getLogger(__name__)
_LONGEST = 100  # digits: more are no class number, and Python refuses to read thousands
_WHOLE = re.compile(rf"[+-]?\d{{1,{_LONGEST}}}")


def tidy(name: str) -> str:
    """Return a class name without blanks around it, in Unicode's composed form, as every machine should have it."""
    return unicodedata.normalize("NFC", name.strip())


def check_distinct(where: str, names: Iterable[str]) -> None:
    """Raise DataError when two names differ only in case, blanks, invisible characters or Unicode form.

    Two single letters may differ in case: they are classes of handwriting.
    """
    alike: defaultdict[str, set[str]] = defaultdict(set)
    for name in set(names):
        alike[_key(name)].add(name)
    twins = [sorted(group) for group in alike.values() if len(group) > 1]
    if twins:
        listed = "; ".join(" and ".join(ascii(name) for name in group) for group in sorted(twins)[:5])
        raise DataError(
            f"{where} has {len(twins)} classes spelled in more than one way: {listed}. Give each class one spelling, or"
            " names that differ in more than case, blanks and Unicode form."
        )


def listed_classes(own: OwnData) -> tuple[str, ...]:
    """Return the class names that one's own data is said to have, in their order; () where nothing is said."""
    return tuple(tidy(name) for name in own.class_names)


def check_known(own: OwnData, found: Iterable[tuple[str, str]]) -> None:
    """Raise DataError for the first name that is not in `classes`, where these are given.

    found: names in one form (`tidy`), each after the place that it stands in.
    """
    listed = listed_classes(own)
    known = frozenset(listed)
    for where, name in found if listed else ():
        if name not in known:
            hint = did_you_mean(name, listed) or f"they are {', '.join(listed[:20])}."
            raise DataError(
                f"{where}: label {name!r} is not one of the classes in data_sources; {hint} Correct the label, or add"
                " it to classes."
            )


def ordered(where: str, own: OwnData, names: Iterable[str]) -> tuple[str, ...]:
    """Return all class names in the order of their numbers, given those that the images have.

    As `classes` lists them; else whole numbers of a CSV and all grades by value, so that 10 follows 9, and others by
    name. Raises DataError where the order has a meaning and is not known.
    """
    found = set(names)
    if own.classes:
        return listed_classes(own)
    if own.target == "ordinal":
        return _grades(where, found)
    if own.csv and all(name.isdecimal() and len(name) < _LONGEST for name in found):
        return tuple(sorted(found, key=lambda name: (int(name), name)))
    return tuple(sorted(found))


def _grades(where: str, names: set[str]) -> tuple[str, ...]:
    if not all(_WHOLE.fullmatch(name) for name in names):
        raise DataError(
            f"{where}: the target is ordinal and the order of its classes is not known:"
            f" {', '.join(sorted(names)[:20])}. Write it into data_sources, lowest first, as in `classes: [none, mild,"
            " severe]`."
        )
    order = tuple(sorted(names, key=lambda name: (int(name), name)))
    for one, two in pairwise(order):
        if int(one) == int(two):
            raise DataError(f"{where}: {one!r} and {two!r} are the same grade: write it in one way.")
        if int(two) - int(one) > 1:
            _log.warning("%s: no image has a grade between %s and %s; they count as neighbours", where, one, two)
    return order


def _key(name: str) -> str:
    composed = unicodedata.normalize("NFC", name)
    seen = "".join(c for c in composed if not c.isspace() and unicodedata.category(c) not in {"Cf", "Cc"})
    return seen if len(seen) == 1 else unicodedata.normalize("NFC", seen.casefold())
