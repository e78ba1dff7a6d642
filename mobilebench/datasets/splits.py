"""Splits that no official list fixes: drawn once from a seed, stratified by class, whole groups kept together.

Images of several classes are stratified by the rarest of their classes.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from mobilebench.datasets.labels import class_numbers
from mobilebench.datasets.spec import ClassLabel, DataError, Entry

if TYPE_CHECKING:
    from collections.abc import Sequence


NONE = -1  # the stratum of images without a class


def holdout(
    labels: Sequence[ClassLabel], *, fraction: float, seed: int, groups: Sequence[str] | None = None
) -> set[int]:
    """Return the positions to hold out: about `fraction` of each class, drawn with `seed`.

    With groups, whole groups are held out and `fraction` is of each class's groups; a group counts for its most
    frequent label ("" is no group: such an image stands alone). Raises DataError when a class is too small to share.

    An image of several classes counts for the one of them that the fewest images (or groups) here have, a group for
    the rarest class of all its images; those without a class are a stratum too. Strata too small to share are put
    together, the smallest first. Every class keeps an image (or group) that is not held out.
    """
    units: defaultdict[tuple[str, object], list[int]] = defaultdict(list)
    for i in range(len(labels)):
        group = groups[i] if groups else ""
        units["group" if group else "image", group or i].append(i)
    members = list(units.values())
    if any(isinstance(label, tuple) for label in labels):
        classes = [{number for i in member for number in class_numbers(labels[i])} for member in members]
        held = _held_of_several(classes, fraction=fraction, seed=seed)
    else:
        majority = [Counter(labels[i] for i in member).most_common(1)[0][0] for member in members]
        _, held = draw(range(len(members)), majority, fraction=fraction, seed=seed)
    return {i for unit in held for i in members[unit]}


def _held_of_several(classes: Sequence[set[int]], *, fraction: float, seed: int) -> list[int]:
    """Return the units to hold out, given the classes of each."""
    sizes = Counter(number for some in classes for number in some)
    strata = [min(some, key=lambda number: (sizes[number], number), default=NONE) for some in classes]
    _, held = draw(range(len(classes)), _shareable(strata, fraction), fraction=fraction, seed=seed)
    left = sizes - Counter(number for unit in held for number in classes[unit])
    for number in sorted(sizes, key=lambda number: (sizes[number], number)):
        if not left[number]:  # nothing could be learned of it
            back = min(unit for unit in held if number in classes[unit])
            held.remove(back)
            left.update(classes[back])
    if not held:
        raise DataError(
            f"cannot hold out {fraction:.0%} of {len(classes)} images or groups: in the rest a class would have none."
            " Use a larger dataset or another fraction."
        )
    return held


def _shareable(strata: Sequence[int], fraction: float) -> list[int]:
    """Return the strata, small ones put together until each has two units and both parts have room for all."""
    held = math.ceil(fraction * len(strata))
    room = min(held, len(strata) - held)
    sizes = Counter(strata)
    into = {stratum: stratum for stratum in sizes}
    while len(sizes) > 1 and (len(sizes) > room or min(sizes.values()) < 2):
        small, next_one = sorted(sizes, key=lambda stratum: (sizes[stratum], stratum))[:2]
        sizes[next_one] += sizes.pop(small)
        into = {stratum: next_one if to == small else to for stratum, to in into.items()}
    return [into[stratum] for stratum in strata]


def draw(
    items: Sequence[int], labels: Sequence[ClassLabel], *, fraction: float, seed: int
) -> tuple[list[int], list[int]]:
    """Return `items` as scikit-learn's train_test_split shuffles and parts them: the rest, and about `fraction`.

    labels: one class per item; both parts are stratified by them. Raises DataError when a class is too small to share.
    """
    from sklearn.model_selection import train_test_split

    try:
        rest, held = train_test_split(items, test_size=fraction, stratify=labels, random_state=seed)
    except ValueError as error:
        smallest = min(Counter(labels).values(), default=0)
        raise DataError(
            f"cannot hold out {fraction:.0%} of {len(labels)} images or groups in {len(set(labels))} classes, the"
            f" smallest of which has {smallest} ({error}). Use a larger dataset or another fraction."
        ) from error
    return list(rest), list(held)


def drawn(entries: Sequence[Entry], fraction: float, seed: int, *, by_group: bool = True) -> list[Entry]:
    """Return the entries with about `fraction` of each class in test and the others in train.

    by_group: whether groups are kept whole, and the fraction is of them. Raises DataError as `holdout` does.
    """
    groups = [entry.group for entry in entries] if by_group else None
    test = holdout([entry.label for entry in entries], fraction=fraction, seed=seed, groups=groups)
    return [entry._replace(split="test" if i in test else "train") for i, entry in enumerate(entries)]


def cut_val(entries: Sequence[Entry], fraction: float, seed: int) -> list[Entry]:
    """Return the entries with about `fraction` of train moved to val, stratified, groups kept whole.

    Test is left alone. A dataset that already has a validation part keeps that one.
    """
    train = [i for i, entry in enumerate(entries) if entry.split == "train"]
    if fraction == 0 or any(entry.split == "val" for entry in entries):
        return list(entries)
    labels = [entries[i].label for i in train]
    groups = [entries[i].group for i in train]
    held = {train[k] for k in holdout(labels, fraction=fraction, seed=seed, groups=groups)}
    return [entry._replace(split="val") if i in held else entry for i, entry in enumerate(entries)]


def manifest_digest(entries: Sequence[Entry]) -> str:
    """Return the sha256 (hex) of which path is in which split, whatever the order of the entries."""
    lines = sorted(f"{entry.path}\t{entry.split}\n" for entry in entries)
    return hashlib.sha256("".join(lines).encode()).hexdigest()
