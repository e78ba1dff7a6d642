"""Folded batch normalisation against PyTorch's own, in double precision."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from timm.layers.norm_act import BatchNormAct2d
from torch import nn

from mobilebench.training.accel import batchnorm
from mobilebench.training.accel.batchnorm import fold_batch_norms


@pytest.fixture(autouse=True)
def small_batches_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batchnorm, "_LEAST", 2)


def pair(norm: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The same layer folded, in fp32, and as PyTorch has it, in fp64."""
    folded, truth = copy.deepcopy(norm), copy.deepcopy(norm).double()
    fold_batch_norms(folded)
    return folded, truth


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=st.integers(2, 4), channels=st.integers(1, 130), side=st.integers(2, 17),
    offset=st.floats(-10, 10), seed=st.integers(0, 99),
)  # fmt: skip
def test_values_gradients_and_running_statistics_are_those_of_pytorch(
    n: int, channels: int, side: int, offset: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    norm = nn.BatchNorm2d(channels, momentum=0.3)
    with torch.no_grad():
        norm.weight.uniform_(-1, 2, generator=generator)
        norm.bias.uniform_(-1, 1, generator=generator)
    folded, truth = pair(norm)
    batch = torch.randn(n, channels, side, side, generator=generator).contiguous(memory_format=torch.channels_last)
    batch, slope = batch + offset, torch.randn(n, channels, side, side, generator=generator)
    expected = results(truth, batch.double(), slope.double())
    theirs, mine = results(norm, batch, slope), results(folded, batch, slope)
    spread = batch.double().std((0, 2, 3)).min()
    for name, value in expected.items():  # as exact as PyTorch's own fp32, which rounds too
        error, allowed = ((found[name] - value).abs().max() for found in (mine, theirs))
        assert error <= 10 * allowed + 1e-5 * (1 + abs(offset)) / spread * (1 + value.abs().max()), name


def results(norm: nn.Module, batch: torch.Tensor, slope: torch.Tensor) -> dict[str, torch.Tensor]:
    """Values, gradients and statistics after one step, in double precision."""
    images = batch.detach().clone().requires_grad_()
    out = norm(images)
    torch.autograd.backward(out, slope)
    assert images.grad is not None
    assert out.is_contiguous(memory_format=torch.channels_last)
    grads = {f"{name}.grad": value.grad for name, value in norm.named_parameters() if value.grad is not None}
    found = {"out": out, "images.grad": images.grad} | grads | dict(norm.named_buffers())
    return {name: value.detach().double() for name, value in found.items()}


def test_timms_layer_keeps_its_activation_and_its_state() -> None:
    folded, truth = pair(BatchNormAct2d(24, act_layer=nn.ReLU))
    batch = torch.randn(8, 24, 5, 5).contiguous(memory_format=torch.channels_last)
    out = folded(batch)
    assert out.min() == 0
    torch.testing.assert_close(out.double(), truth(batch.double()), rtol=1e-5, atol=1e-5)
    assert list(folded.state_dict()) == list(truth.state_dict())
    assert int(folded.num_batches_tracked) == 1


@pytest.mark.parametrize("where", ["eval", "contiguous", "double", "many channels", "small"])
def test_elsewhere_it_is_pytorchs_own(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    norm = nn.BatchNorm2d(160 if where == "many channels" else 24)
    batch = torch.randn(4, norm.num_features, 6, 6).contiguous(memory_format=torch.channels_last)
    folded = copy.deepcopy(norm)
    fold_batch_norms(folded)
    if where == "eval":
        norm.eval(), folded.eval()
    elif where == "contiguous":
        batch = batch.contiguous()
    elif where == "small":
        monkeypatch.setattr(batchnorm, "_LEAST", 10_000)
    elif where == "double":
        batch = batch.double()
        norm.double(), folded.double()
    assert torch.equal(folded(batch), norm(batch))
