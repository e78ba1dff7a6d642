"""Which train images a derived dataset has: stratified by class, seeded, the smaller draw inside the larger.

Images stand in an order that the seed and their names fix, so images added to a dataset of one's own leave the order of
the others. A draw is a beginning of one sequence made of that order; therefore draws with one seed are nested.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from fractions import Fraction
from typing import TYPE_CHECKING, NamedTuple

from mobilebench.datasets.labels import class_numbers
from mobilebench.datasets.spec import ClassLabel, DataError
from mobilebench.datasets.splits import NONE

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mobilebench.config.data import DerivedData


class _Unit(NamedTuple):
    """What is taken whole: one image, or all train images of a group."""

    members: tuple[int, ...]
    """Positions of its images."""

    classes: Counter[int]
    """Images of each class; those of no class under NONE."""


def draw(
    labels: Sequence[ClassLabel],
    names: Sequence[str],
    groups: Sequence[str],
    settings: DerivedData,
    classes: Sequence[str],
) -> list[int]:
    """Return the positions, ascending, of the train images that a derived dataset has.

    labels, names, groups: of each train image of the parent; a group of "" is none. classes: the classes' names.

    `train_fraction` and `max_train` begin with an image of every class and then give each class its share, in the
    sequence of the Webster (Sainte-Laguë) method: unlike largest remainders, it never gives a class fewer images when
    more are drawn. A group counts for its most frequent class; where images have several classes, it counts for the
    rarest of them, as an image does. Groups are whole: `train_fraction` comes as near to its number of images as they
    allow, `max_train` never above.

    `per_class` takes in rounds, rarest class first, one image (or group) more of each class that has too few yet.
    Images of no class are a class too, of which so many are taken as there are.

    Raises DataError for an amount that the classes cannot give.
    """
    units = _units(labels, names, groups, settings.seed)
    sizes = _counted(labels)
    if settings.per_class is not None:
        _check_per_class(sizes, settings.per_class, classes)
        wanted = {number: min(settings.per_class, images) for number, images in sizes.items()}
        return _images(units, _at_least(units, wanted, sizes))
    first = _at_least(units, {number: 1 for number in sizes if number != NONE}, sizes)
    several = any(isinstance(label, tuple) for label in labels)
    rest = _by_share(units, first, [_stratum(unit, sizes, several=several) for unit in units])
    if settings.max_train is None:
        return _images(units, _nearest(units, first, rest, share(settings.train_fraction or 0, len(labels))))
    least = len(_images(units, first))
    if least > settings.max_train:
        raise DataError(
            f"max_train is {settings.max_train}, but one image or whole group of every class are {least} images; give"
            " that or more"
        )
    return _images(units, _at_most(units, first, rest, settings.max_train))


def share(fraction: float, images: int) -> int:
    """Return how many images a fraction of them is, rounded down; 0.29 of 100 is 29, as it is written."""
    return math.floor(Fraction(repr(float(fraction))) * images)


def _units(labels: Sequence[ClassLabel], names: Sequence[str], groups: Sequence[str], seed: int) -> list[_Unit]:
    """Return the units in the order that the seed and their names give."""
    members: defaultdict[tuple[str, str, int], list[int]] = defaultdict(list)
    for i, (name, group) in enumerate(zip(names, groups, strict=True)):
        members[("group", group, 0) if group else ("image", name, i)].append(i)

    def place(unit: tuple[str, str, int]) -> tuple[bytes, int]:
        kind, name, number = unit
        return hashlib.sha256(f"{seed}\t{kind}\t{name}".encode()).digest(), number

    return [
        _Unit(tuple(members[unit]), _counted(labels[i] for i in members[unit])) for unit in sorted(members, key=place)
    ]


def _counted(labels: Iterable[ClassLabel]) -> Counter[int]:
    return Counter(number for label in labels for number in class_numbers(label) or (NONE,))


def _images(units: Sequence[_Unit], taken: Iterable[int]) -> list[int]:
    return sorted(i for unit in taken for i in units[unit].members)


def _at_least(units: Sequence[_Unit], wanted: Mapping[int, int], sizes: Mapping[int, int]) -> list[int]:
    """Return the units, in the order they are taken, that have at least so many images of each class."""
    having: defaultdict[int, list[int]] = defaultdict(list)
    for unit, (_, classes) in enumerate(units):
        for number in classes:
            having[number].append(unit)
    waiting = {number: iter(having[number]) for number in wanted}
    taken: dict[int, None] = {}
    have: Counter[int] = Counter()
    rarest_first = sorted(wanted, key=lambda number: (sizes[number], number))
    for goal in range(1, max(wanted.values(), default=0) + 1):
        for number in rarest_first:
            if have[number] < min(goal, wanted[number]):
                unit = next(unit for unit in waiting[number] if unit not in taken)
                taken[unit] = None
                have.update(units[unit].classes)
    return list(taken)


def _stratum(unit: _Unit, sizes: Mapping[int, int], *, several: bool) -> int:
    if several:
        return min(unit.classes, key=lambda number: (number == NONE, sizes[number], number))
    return min(unit.classes, key=lambda number: (-unit.classes[number], number))


def _by_share(units: Sequence[_Unit], first: Sequence[int], strata: Sequence[int]) -> list[int]:
    """Return the units but the first ones in a sequence of which every beginning has the strata's shares of images."""
    begun = set(first)
    queues: defaultdict[int, list[int]] = defaultdict(list)
    for unit in [*first, *(unit for unit in range(len(units)) if unit not in begun)]:
        queues[strata[unit]].append(unit)
    sequence: list[tuple[float, int]] = []
    for queue in queues.values():
        before, images = 0, sum(len(units[unit].members) for unit in queue)
        for unit in queue:
            size = len(units[unit].members)
            sequence.append(((before + size / 2) / images, unit))
            before += size
    return [unit for _, unit in sorted(sequence) if unit not in begun]


def _nearest(units: Sequence[_Unit], first: Sequence[int], rest: Sequence[int], wanted: int) -> list[int]:
    """Return the first units and of the rest those that bring the number of images nearer to what is wanted."""
    taken, images = list(first), len(_images(units, first))
    for unit in rest:
        size = len(units[unit].members)
        if images + size / 2 > wanted:
            break
        taken.append(unit)
        images += size
    return taken


def _at_most(units: Sequence[_Unit], first: Sequence[int], rest: Sequence[int], wanted: int) -> list[int]:
    """Return the first units and of the rest as many as there is room for."""
    taken, images = list(first), len(_images(units, first))
    for unit in rest:
        images += len(units[unit].members)
        if images > wanted:
            break
        taken.append(unit)
    return taken


def _check_per_class(sizes: Mapping[int, int], wanted: int, classes: Sequence[str]) -> None:
    short = [f"{name} {sizes.get(number, 0)}" for number, name in enumerate(classes) if sizes.get(number, 0) < wanted]
    if short:
        raise DataError(
            f"per_class is {wanted}, and {len(short)} of {len(classes)} classes have fewer train images:"
            f" {', '.join(short[:5])}{', ...' if len(short) > 5 else ''}. Give a smaller number, or train_fraction"
        )
