"""An optimiser's state from another device, and how it goes on computing as is decided for its own."""

from __future__ import annotations

import copy
import warnings

import pytest
import torch
from torch import nn

from mobilebench.config.recipe import Recipe
from mobilebench.training.finetune import Group
from mobilebench.training.optim import Rates, load_state, make_optimizer


def stepped(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> torch.optim.Optimizer:
    for _ in range(2):
        parameter.grad = torch.ones_like(parameter)
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("kind", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("saved_plain", [True, False])
def test_a_state_from_elsewhere_leaves_the_flags_alone(kind: str, saved_plain: bool) -> None:
    weight = nn.Parameter(torch.ones(4))
    parts = [Group([weight], 1.0)]
    (phase,) = Recipe(optimizer=kind).plan
    device = torch.device("cpu")
    saved = stepped(make_optimizer(parts, phase, device, plain=saved_plain), weight).state_dict()
    own = make_optimizer(parts, phase, device, plain=not saved_plain)
    if kind != "sgd":
        own.param_groups[0]["capturable"] = True  # as on a CUDA device
    own.param_groups[0]["lr"] = rate = torch.tensor(0.25)
    before = {key: value for key, value in own.param_groups[0].items() if key != "params"}
    given = copy.deepcopy(saved)
    load_state(own, given)
    assert {key: value for key, value in own.param_groups[0].items() if key != "params"} == before
    assert own.param_groups[0]["lr"] is rate
    assert given["param_groups"] == saved["param_groups"]
    moments = {"adam": "exp_avg", "adamw": "exp_avg", "sgd": "momentum_buffer"}
    for key in {moments[kind], "step"} & saved["state"][0].keys():
        assert torch.equal(own.state[weight][key], saved["state"][0][key])
    rates = Rates(own, parts)
    rates.set(0.5)
    assert own.param_groups[0]["lr"] is rate
    assert float(rate) == 0.5


def test_a_state_of_other_groups_is_refused() -> None:
    first, second = (nn.Parameter(torch.ones(2)) for _ in range(2))
    (phase,) = Recipe().plan
    one, two = (
        make_optimizer(parts, phase, torch.device("cpu"), plain=False)
        for parts in ([Group([first], 1.0)], [Group([first], 1.0), Group([second], 0.5)])
    )
    with pytest.raises(ValueError, match=r"(longer|shorter) than"):
        load_state(two, one.state_dict())


def test_steps_before_a_capture_give_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's text, as it warns on a card; the rate stays here, where there is none."""
    monkeypatch.setattr(torch, "tensor", lambda rate, device: float(rate))
    (phase,) = Recipe().plan
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        make_optimizer([Group([nn.Parameter(torch.ones(2))], 1.0)], phase, torch.device("cuda:0"), plain=False)
        warnings.warn(
            "This instance was constructed with capturable=True or some of all the param_groups came with "
            "capturable=True, but step() is running without CUDA graph capture. If you never intend to",
            stacklevel=1,
        )
        warnings.warn("another", stacklevel=1)
    assert [str(warning.message) for warning in said] == ["another"]
