"""What is predicted of an image. The dataset says it; it decides the labels' shape, the loss and the default metric."""

from __future__ import annotations

from typing import Literal, get_args

Target = Literal["single_label", "ordinal", "multi_label"]
"""single_label: one class of several. ordinal: the same, and the classes' order has a meaning (grades 0 to 4).
multi_label: any number of classes, none included."""

TARGETS: tuple[Target, ...] = get_args(Target)
ONE_CLASS: frozenset[Target] = frozenset({"single_label", "ordinal"})
"""Targets where each image has exactly one class: its label is the class's number, its loss the cross-entropy."""

DEFAULT_METRIC: dict[Target, str] = {"single_label": "top1", "ordinal": "qwk", "multi_label": "map"}
"""The metric a dataset is read by where nothing else is asked for."""
