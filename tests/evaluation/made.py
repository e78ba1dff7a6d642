"""Predictions that tests make: from logits, of networks that are right about as often as trained ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mobilebench.evaluation.predictions import Predictions

if TYPE_CHECKING:
    from mobilebench.evaluation.target import Target


def names(n: int) -> np.ndarray:
    return np.array([f"test/{i}.png" for i in range(n)], dtype=np.str_)


def predictions(target: Target, targets: Any, logits: Any) -> Predictions:
    """Of literal numbers."""
    values = np.asarray(logits, dtype=np.float32)
    return Predictions.of_logits(target, np.asarray(targets), values, names(len(values)))


def drawn(
    target: Target, n: int, classes: int, seed: int = 0, *, scale: float = 2.0, ties: bool = False
) -> Predictions:
    """Of random truth, some classes rarer than others or absent, and logits that know something of it."""
    rng = np.random.default_rng([seed, n, classes])
    logits = rng.normal(size=(n, classes))
    if target == "multi_label":
        truth = (rng.random((n, classes)) < rng.uniform(0, 0.6, classes)).astype(np.int64)
        logits += truth - 0.5
    else:
        truth = rng.choice(classes, size=n, p=rng.dirichlet(np.full(classes, 2.0)))
        logits[np.arange(n), truth] += 1
    return predictions(target, truth, np.round(logits * scale) if ties else logits * scale)
