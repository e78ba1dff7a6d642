"""The published studies, each with its tables, its claims and what recomputing them finds.

A further study is one entry of `STUDIES` and a folder whose `study` module describes it.
"""

from __future__ import annotations

import difflib
import importlib
from typing import TYPE_CHECKING, NamedTuple, cast

from mobilebench.errors import UserError

if TYPE_CHECKING:
    from mobilebench.studies.study import PublishedStudy


class _Entry(NamedTuple):
    """Where a study is described (`module:attribute`), and its title, so that listing them imports none."""

    target: str
    title: str


STUDIES = {
    "beyond_imagenet": _Entry(
        "mobilebench.studies.beyond_imagenet.study:STUDY",
        "Beyond ImageNet: Understanding Cross-Dataset Robustness of Lightweight Vision Models (2025)",
    ),
}


def load_study(name: str) -> PublishedStudy:
    """Return the study of that id. Raises UserError with a near match and the list for a name there is none of."""
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=1, cutoff=0.4)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UserError(f"there is no published study {name!r}.{hint} Studies: {', '.join(STUDIES)}")
    module, _, attribute = STUDIES[name].target.partition(":")
    return cast("PublishedStudy", getattr(importlib.import_module(module), attribute))
