"""Batch normalisation with its activation against PyTorch's own, in double precision."""

from __future__ import annotations

import copy
from shutil import which
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torchvision.ops import Conv2dNormActivation

from mobilebench.training.accel import native, norm
from mobilebench.training.accel.native import NoCompilerError
from mobilebench.training.accel.norm import fuse_norms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

needs_compiler = pytest.mark.skipif(which("g++") is None, reason="no g++ here")
LEAST = norm._least
ACTIVATIONS: dict[str, type[nn.Module]] = {
    "none": nn.Identity, "relu": nn.ReLU, "relu6": nn.ReLU6, "silu": nn.SiLU, "hardswish": nn.Hardswish,
}  # fmt: skip


@pytest.fixture(autouse=True)
def small_batches_too(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    monkeypatch.setattr(norm, "_least", lambda *_: 2)
    yield
    torch.set_num_threads(threads)


def pair(network: nn.Module) -> tuple[nn.Module, nn.Module]:
    """The same layers fused, in fp32, and as PyTorch has them, in fp64."""
    fused, truth = copy.deepcopy(network), copy.deepcopy(network).double()
    assert fuse_norms(fused) == 1
    return fused, truth


def results(network: nn.Module, batch: Tensor, slope: Tensor) -> dict[str, Tensor]:
    """Values, gradients and statistics after one step, in double precision."""
    images = batch.detach().clone().requires_grad_()
    out = network(images)
    torch.autograd.backward(out, slope)
    assert images.grad is not None
    assert out.is_contiguous(memory_format=torch.channels_last)
    grads = {f"{name}.grad": value.grad for name, value in network.named_parameters() if value.grad is not None}
    found = {"out": out, "images.grad": images.grad} | grads | dict(network.named_buffers())
    return {name: value.detach().double() for name, value in found.items()}


def drawn(channels: int, activation: str, generator: torch.Generator) -> nn.Sequential:
    norm = nn.BatchNorm2d(channels, momentum=0.3)
    with torch.no_grad():
        norm.weight.uniform_(-1, 2, generator=generator)
        norm.bias.uniform_(-1, 1, generator=generator)
    return nn.Sequential(norm, ACTIVATIONS[activation]())


WIDE = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
SHAPES = {
    "n": st.integers(2, 4), "channels": st.integers(1, 130), "side": st.integers(2, 17), "seed": st.integers(0, 99),
    "activation": st.sampled_from(sorted(ACTIVATIONS)), "threads": st.integers(1, 3),
}  # fmt: skip


@needs_compiler
@WIDE
@given(offset=st.floats(-10, 10), **SHAPES)
def test_values_gradients_and_running_statistics_are_those_of_pytorch(
    n: int, channels: int, side: int, offset: float, seed: int, activation: str, threads: int
) -> None:
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(seed)
    network = drawn(channels, activation, generator)
    fused, truth = pair(network)
    batch = torch.randn(n, channels, side, side, generator=generator).contiguous(memory_format=torch.channels_last)
    batch, slope = batch + offset, torch.randn(n, channels, side, side, generator=generator)
    expected = results(truth, batch.double(), slope.double())
    theirs, mine = results(network, batch, slope), results(fused, batch, slope)
    assert set(mine) == set(expected)
    spread = batch.double().std((0, 2, 3)).min()
    for name, value in expected.items():  # as exact as PyTorch's own fp32, which rounds too
        error, allowed = ((found[name] - value).abs().max() for found in (mine, theirs))
        assert error <= 10 * allowed + 1e-5 * (1 + abs(offset)) / spread * (1 + value.abs().max()), name


@needs_compiler
@WIDE
@given(**SHAPES)
def test_in_bf16_they_are_at_least_as_exact_as_pytorchs(
    n: int, channels: int, side: int, seed: int, activation: str, threads: int
) -> None:
    """Of images and slopes that bf16 has: PyTorch's rounds between the layers, here that is fp32."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(seed)
    network = drawn(channels, activation, generator)
    fused, truth = pair(network)
    batch = torch.randn(n, channels, side, side, generator=generator).contiguous(memory_format=torch.channels_last)
    batch, slope = batch.bfloat16(), torch.randn(n, channels, side, side, generator=generator).bfloat16()
    expected = results(truth, batch.double(), slope.double())
    mine = results(fused, batch, slope)
    for name, value in expected.items():
        error = (mine[name] - value).abs()
        if name in {"out", "images.grad"}:
            kept = name == "images.grad" and activation == "silu"  # rounded once more between the passes
            room = 2**-8 * (value.abs() + (value.abs().max() if kept else 0)) + 1e-4
            assert (error <= room).float().mean() > 0.99, name  # a kink may lie on either side
            assert error.max() <= 0.02 * (1 + value.abs().max()), name
        else:
            assert error.max() <= 1e-4 * (1 + value.abs().max()), name
    assert fused(batch).dtype == torch.bfloat16


@needs_compiler
def test_numbers_far_from_zero_keep_their_variance() -> None:
    fused, truth = pair(nn.Sequential(nn.BatchNorm2d(24)))
    batch = 1000 + torch.randn(4, 24, 40, 40).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fused(batch).double(), truth(batch.double()), rtol=0, atol=2e-3)


@needs_compiler
@pytest.mark.parametrize("activation", sorted(ACTIVATIONS))
def test_what_is_not_a_number_stays_so(activation: str) -> None:
    fused, _ = pair(nn.Sequential(nn.BatchNorm2d(16), ACTIVATIONS[activation]()))
    batch = torch.randn(2, 16, 8, 8).contiguous(memory_format=torch.channels_last)
    batch[0, 3, 2, 2] = torch.nan
    for dtype in (torch.float32, torch.bfloat16):
        assert torch.isnan(fused(batch.to(dtype))[:, 3]).all(), dtype
        assert not torch.isnan(fused(batch.to(dtype))[:, :3]).any(), dtype


@needs_compiler
@pytest.mark.parametrize("activation", ["relu", "silu"])
def test_timms_layer_is_fused_with_its_activation_and_keeps_its_state(activation: str) -> None:
    fused, truth = pair(BatchNormAct2d(24, act_layer=ACTIVATIONS[activation]))
    batch = torch.randn(8, 24, 5, 5).contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(fused(batch).double(), truth(batch.double()), rtol=1e-5, atol=1e-5)
    assert list(fused.state_dict()) == list(truth.state_dict())
    assert int(fused.num_batches_tracked) == 1


@needs_compiler
def test_layers_in_a_row_are_paired_in_sequences_of_any_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(
        Conv2dNormActivation(3, 8, activation_layer=nn.ReLU6),
        nn.BatchNorm2d(8),
        nn.BatchNorm2d(8),
        nn.SiLU(),
        nn.GELU(),
    )
    codes: list[int] = []
    own = norm._normalised
    monkeypatch.setattr(norm, "_normalised", lambda m, x, code: codes.append(code) or own(m, x, code))
    truth = copy.deepcopy(network).double()
    assert fuse_norms(network) == 3
    batch = torch.randn(2, 3, 9, 9).contiguous(memory_format=torch.channels_last)
    network, truth = (made.to(memory_format=torch.channels_last) for made in (network, truth))
    torch.testing.assert_close(network(batch).double(), truth(batch.double()), rtol=1e-4, atol=1e-4)
    assert codes == [2, 0, 3]
    assert isinstance(network[0], Conv2dNormActivation)
    assert list(network.state_dict()) == list(truth.state_dict())


@needs_compiler
def test_a_sequence_with_a_way_of_its_own_and_one_that_is_listened_to_are_left_alone() -> None:
    class Twice(nn.Sequential):
        def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
            return torch.as_tensor(super().forward(super().forward(input)))

    listened, seen = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU()), []
    listened[0].register_forward_hook(lambda _m, _i, out: seen.append(float(out.detach().min())))
    batch = torch.randn(2, 8, 6, 6).contiguous(memory_format=torch.channels_last)
    for network in (Twice(nn.BatchNorm2d(8), nn.ReLU()), listened):
        fused, truth = pair(network)
        torch.testing.assert_close(fused(batch).double(), truth(batch.double()), rtol=1e-4, atol=1e-4)
    assert min(seen) < 0


@needs_compiler
@pytest.mark.parametrize("where", ["eval", "contiguous", "double", "small", "no statistics"])
def test_elsewhere_it_is_pytorchs_own(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Sequential(nn.BatchNorm2d(24, track_running_stats=where != "no statistics"), nn.ReLU())
    batch = torch.randn(4, 24, 6, 6).contiguous(memory_format=torch.channels_last)
    fused = copy.deepcopy(network)
    fuse_norms(fused)
    monkeypatch.setattr(norm._Normalisation, "apply", None)
    if where == "eval":
        network.eval(), fused.eval()
    elif where == "contiguous":
        batch = batch.contiguous()
    elif where == "small":
        monkeypatch.setattr(norm, "_least", lambda *_: 10_000)
    elif where == "double":
        batch = batch.double()
        network.double(), fused.double()
    assert torch.equal(fused(batch), network(batch))


@needs_compiler
@pytest.mark.parametrize(
    ("channels", "activation", "dtype", "own"),
    [
        (24, "none", torch.float32, True),
        (32, "none", torch.float32, False),
        (32, "relu", torch.float32, True),
        (32, "none", torch.bfloat16, False),
        (32, "relu", torch.bfloat16, True),
        (96, "none", torch.bfloat16, True),
    ],
)
def test_where_pytorch_is_as_fast_it_is_pytorchs_own(
    monkeypatch: pytest.MonkeyPatch, channels: int, activation: str, dtype: torch.dtype, *, own: bool
) -> None:
    """At 112 px and batch 4: benchmarks/RESULTS.md has what each way takes."""
    monkeypatch.setattr(norm, "_least", LEAST)
    used: list[int] = []
    real = norm._normalised
    monkeypatch.setattr(norm, "_normalised", lambda m, x, code: used.append(code) or real(m, x, code))
    network = nn.Sequential(nn.BatchNorm2d(channels), ACTIVATIONS[activation]())
    fuse_norms(network)
    network(torch.zeros(4, channels, 112, 112, dtype=dtype).contiguous(memory_format=torch.channels_last))
    assert bool(used) is own


def test_a_machine_without_a_compiler_says_so_and_changes_nothing(hidden_compiler: Path) -> None:
    assert not list(hidden_compiler.iterdir())
    network = nn.Sequential(nn.BatchNorm2d(8), nn.ReLU())
    with pytest.raises(NoCompilerError, match="there is no g"):
        fuse_norms(network)
    assert type(network) is nn.Sequential
    assert type(network[0]) is nn.BatchNorm2d
    assert native.NoCompilerError is NoCompilerError
