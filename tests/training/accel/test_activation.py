"""Activations out of place: the same bits, no copies; a stranger's network is left alone."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from mobilebench.models import PAPER_MODELS, create
from mobilebench.training.accel.activation import disable_inplace


class Careless(nn.Module):
    """Relies on its activation overwriting its input."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act = act

    def forward(self, x: Tensor) -> Tensor:
        y = x * 1
        return self.act(y) * 0 + y


def gradients(model: nn.Module, images: Tensor) -> list[Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        torch.autograd.backward(model(images).square().sum())
    return [p.grad for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("model_id", PAPER_MODELS)
def test_no_network_of_the_paper_copies_and_all_keep_their_gradients(model_id: str) -> None:
    torch.manual_seed(0)
    model = create(model_id, 3)
    changed = copy.deepcopy(model)
    disable_inplace(changed)
    needing_input = (nn.SiLU, nn.ReLU6, nn.Hardswish)
    assert not any(module.inplace for module in changed.modules() if isinstance(module, needing_input))
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    for mine, theirs in zip(gradients(changed, images), gradients(model, images), strict=True):
        assert torch.equal(mine, theirs)


def test_autograd_keeps_the_input_itself() -> None:
    model = nn.Sequential(nn.Identity(), nn.SiLU(inplace=True))
    disable_inplace(model)
    hidden = torch.randn(4, requires_grad=True) * 1
    assert model(hidden).grad_fn._saved_self.data_ptr() == hidden.data_ptr()


@pytest.mark.parametrize("act", [nn.SiLU(inplace=True), nn.Sequential(nn.SiLU(inplace=True), nn.Identity())])
def test_a_strangers_network_keeps_its_function(act: nn.Module) -> None:
    model, images = Careless(act), torch.randn(2, 3)
    expected = model(images)
    disable_inplace(model)
    assert torch.equal(model(images), expected)
