"""Splits that no official list fixes: drawn once from a seed, stratified by class, whole groups kept together."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from mobilebench.datasets.spec import DataError, Entry

if TYPE_CHECKING:
    from collections.abc import Sequence


def holdout(labels: Sequence[int], *, fraction: float, seed: int, groups: Sequence[str] | None = None) -> set[int]:
    """Return the positions to hold out: about `fraction` of each class, drawn with `seed`.

    With groups, whole groups are held out and `fraction` is of each class's groups; a group counts for its most
    frequent label ("" is no group: such an image stands alone). Raises DataError when a class is too small to share.
    """
    units: defaultdict[tuple[str, object], list[int]] = defaultdict(list)
    for i in range(len(labels)):
        group = groups[i] if groups else ""
        units["group" if group else "image", group or i].append(i)
    members = list(units.values())
    majority = [Counter(labels[i] for i in member).most_common(1)[0][0] for member in members]
    _, held = draw(range(len(members)), majority, fraction=fraction, seed=seed)
    return {i for unit in held for i in members[unit]}


def draw(items: Sequence[int], labels: Sequence[int], *, fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Return `items` as scikit-learn's train_test_split shuffles and parts them: the rest, and about `fraction`.

    labels: one per item; both parts are stratified by them. Raises DataError when a class is too small to share.
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
