"""What the networks of a grid were pretrained on, and on which of its datasets that makes a result say less."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from mobilebench.models.weights.pretraining import overlap

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mobilebench.runs.records import Record

SCRATCH = "none"


def pretraining_of(records: Iterable[Record]) -> dict[str, str]:
    """Return what each model was pretrained on, in words, SCRATCH for none; {} where all are from scratch.

    A model that starts otherwise on some datasets has each of its starts, with a semicolon between them.
    """
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        found[record.model][record.pretrained_on or ("unknown" if record.weights else SCRATCH)] = None
    pretrained = {model: "; ".join(words) for model, words in found.items()}
    return pretrained if set(pretrained.values()) - {SCRATCH} else {}


def overlaps(records: Iterable[Record]) -> tuple[str, ...]:
    """Return a sentence for each dataset and pretraining where the weights may know the dataset's images."""
    models: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for record in records:
        if words := overlap(record.pretrained_on, record.images_from, record.dataset):
            models[words][record.model] = None
    return tuple(f"{', '.join(names)}: {words}." for words, names in models.items())
