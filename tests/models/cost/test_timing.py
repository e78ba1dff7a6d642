"""What the times of calls say. Nothing here waits for a clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from mobilebench.models.cost import timing
from mobilebench.models.cost.timing import WARM_UP, Timing, time_calls, time_network, timing_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn


def test_times_are_summed_up_in_milliseconds() -> None:
    found = timing_of([0.001 * value for value in (5, 1, 2, 3, 4)])
    assert found == Timing(median_ms=3.0, p90_ms=4.6, iqr_ms=2.0, mean_ms=3.0, n=5)
    assert found.unsteady
    assert not timing_of([0.001] * 5).unsteady
    with pytest.raises(ValueError, match="no call was timed"):
        timing_of([])


def test_calls_that_warm_up_do_not_count() -> None:
    called = []
    found = time_calls(lambda: called.append(None), 7)
    assert found.n == 7
    assert len(called) == WARM_UP + 7


def test_a_network_is_timed_with_its_threads_and_stays_as_it_was(built: Callable[..., nn.Module]) -> None:
    network, seen = built("shufflenet").train(), []
    before = torch.get_num_threads()
    hook = network.register_forward_pre_hook(
        lambda module, given: seen.append((*given[0].shape, torch.get_num_threads(), module.training))
    )
    found = time_network(network, 32, batch=2, threads=before + 1, runs=3)
    hook.remove()
    assert found.n == 3
    assert set(seen) == {(2, 3, 32, 32, before + 1, False)}
    assert torch.get_num_threads() == before
    assert network.training


def test_a_busy_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "cores", lambda: 4)
    monkeypatch.setattr(timing.os, "getloadavg", lambda: (3.0, 0, 0))
    assert "load 3.0 on 4 cores" in timing.busy()
    monkeypatch.setattr(timing.os, "getloadavg", lambda: (0.3, 9, 9))
    assert timing.busy() == ""
