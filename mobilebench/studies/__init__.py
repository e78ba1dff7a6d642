"""The published studies, each with its tables, its claims and what recomputing them finds.

A further study is one entry of `STUDIES` and a folder whose `study` module describes it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple, cast

from mobilebench.errors import UserError
from mobilebench.system.names import did_you_mean

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
    "which_backbone": _Entry(
        "mobilebench.studies.which_backbone.study:STUDY",
        "Which Backbone to Use: A Resource-efficient Domain Specific Comparison for Computer Vision (2024)",
    ),
    "real_world": _Entry(
        "mobilebench.studies.real_world.study:STUDY",
        "Does progress on ImageNet transfer to real-world datasets? (2023)",
    ),
}


def load_study(name: str) -> PublishedStudy:
    """Return the study of that id. Raises UserError with a near match and the list for a name there is none of."""
    if name not in STUDIES:
        hint = did_you_mean(name, STUDIES, 1) or "it is not in the list."
        raise UserError(f"there is no published study {name!r}; {hint} Studies: {', '.join(STUDIES)}")
    module, _, attribute = STUDIES[name].target.partition(":")
    return cast("PublishedStudy", getattr(importlib.import_module(module), attribute))
