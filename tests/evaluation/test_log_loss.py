"""The log loss against torch's losses: alone here, because torch takes seconds to import."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from evaluation.made import drawn
from torch.nn import functional

from mobilebench.evaluation.metrics import METRICS
from mobilebench.evaluation.target import TARGETS

if TYPE_CHECKING:
    from mobilebench.evaluation.target import Target


@pytest.mark.parametrize("target", TARGETS)
def test_the_log_loss_is_the_loss_networks_are_trained_with(target: Target) -> None:
    p = drawn(target, 50, 7, scale=30)
    logits, targets = torch.tensor(p.logits).double(), torch.tensor(p.targets)
    if target == "multi_label":
        loss = functional.binary_cross_entropy_with_logits(logits, targets.double(), reduction="none").mean(dim=1)
    else:
        loss = functional.cross_entropy(logits, targets, reduction="none")
    np.testing.assert_allclose(p.log_loss, loss.numpy(), rtol=1e-12, atol=1e-12)
    assert METRICS["nll"].value(p) == pytest.approx(float(loss.mean()), rel=1e-12)
