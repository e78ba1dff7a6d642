"""The gradient of depthwise kernels against PyTorch's own, in double precision, and where PyTorch's is left alone."""

from __future__ import annotations

import copy
from shutil import which
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from mobilebench.training.accel import depthwise
from mobilebench.training.accel.depthwise import use_fast_gradients
from mobilebench.training.accel.native import NoCompilerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FP32, BF16 = torch.float32, torch.bfloat16
needs_compiler = pytest.mark.skipif(which("g++") is None, reason="no g++ here")


@pytest.fixture(autouse=True)
def small_batches_too(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    monkeypatch.setattr(depthwise, "_LEAST", 0)
    monkeypatch.setattr(depthwise, "_LEAST_OF_THREE", 0)
    yield
    torch.set_num_threads(threads)


def layer(channels: int, kernel: int, **settings: Any) -> nn.Conv2d:
    return nn.Conv2d(channels, channels, kernel, groups=channels, **({"padding": kernel // 2} | settings))


def step(conv: nn.Module, batch: Tensor, slope: Tensor) -> dict[str, Tensor]:
    """The values and gradients of one step, in double precision."""
    images = batch.detach().clone().requires_grad_()
    out = conv(images)
    torch.autograd.backward(out, slope)
    assert images.grad is not None
    grads = {name: value.grad for name, value in conv.named_parameters() if value.grad is not None}
    return {name: value.detach().double() for name, value in {"out": out, "images": images.grad, **grads}.items()}


def last(*shape: int, seed: int = 0) -> Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return values.contiguous(memory_format=torch.channels_last)


@needs_compiler
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=st.integers(1, 5), channels=st.integers(1, 41), height=st.integers(1, 13), width=st.integers(1, 21),
    kernel=st.sampled_from([5, 7, 9]), stride=st.sampled_from([1, 2]), bias=st.booleans(), threads=st.integers(1, 3),
)  # fmt: skip
def test_values_and_gradients_are_those_of_pytorch(
    n: int, channels: int, height: int, width: int, kernel: int, stride: int, bias: bool, threads: int
) -> None:
    torch.set_num_threads(threads)
    mine = layer(channels, kernel, stride=stride, bias=bias)
    truth = copy.deepcopy(mine).double()
    assert use_fast_gradients(mine, FP32) == 1
    batch = last(n, channels, height, width)
    slope = last(*mine(batch).shape, seed=1)
    expected, found = step(truth, batch.double(), slope.double()), step(mine, batch, slope)
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert found[name].shape == value.shape
        assert (found[name] - value).abs().max() <= 2e-6 * (1 + n * height * width) ** 0.5 * kernel, name


@needs_compiler
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    n=st.integers(1, 3), channels=st.integers(1, 41), height=st.integers(1, 13), width=st.integers(1, 21),
    kernel=st.sampled_from([3, 5, 7, 9]), stride=st.sampled_from([1, 2]), bias=st.booleans(), threads=st.integers(1, 3),
)  # fmt: skip
def test_under_autocast_they_are_those_of_pytorch_but_for_the_rounding_of_bf16(
    n: int, channels: int, height: int, width: int, kernel: int, stride: int, bias: bool, threads: int
) -> None:
    """In double precision, of images, weights and slopes that bf16 has: what is left is the rounding of results."""
    torch.set_num_threads(threads)
    mine = layer(channels, kernel, stride=stride, bias=bias)
    with torch.no_grad():
        for value in mine.parameters():
            value.copy_(value.bfloat16())
    truth = copy.deepcopy(mine).double()
    assert use_fast_gradients(mine, BF16) == 1
    batch = last(n, channels, height, width).bfloat16()
    with torch.autocast("cpu", BF16):
        slope = last(*mine(batch).shape, seed=1).bfloat16()
        found = step(mine, batch, slope)
    expected = step(truth, batch.double(), slope.double())
    assert set(found) == set(expected)
    assert mine.weight.grad is not None
    assert mine.weight.grad.dtype == torch.float32
    for name, value in expected.items():
        rounded = {"out", "images"}  # of the other gradients the sums are in fp32
        room = 2**-8 * value.abs() if name in rounded else 0
        assert ((found[name] - value).abs() <= room + 4e-6 * (1 + n * height * width) ** 0.5 * kernel).all(), name


@needs_compiler
def test_infinite_and_undefined_gradients_stay_what_they_are_in_bf16() -> None:
    conv = layer(16, 3, stride=2, bias=False)
    use_fast_gradients(conv, BF16)
    batch, slope = last(1, 16, 9, 9).bfloat16(), torch.zeros(1, 16, 5, 5, dtype=BF16)
    slope[0, 0, 2, 2], slope[0, 1, 2, 2] = torch.inf, torch.nan
    with torch.autocast("cpu", BF16):
        found = step(conv, batch, slope.contiguous(memory_format=torch.channels_last))["images"][0]
    assert torch.isinf(found[0, 3:6, 3:6]).all()
    assert torch.isnan(found[1, 3:6, 3:6]).all()
    assert not found[2:].any()


@needs_compiler
def test_padding_same_is_the_same() -> None:
    mine, truth = layer(8, 5, padding="same"), layer(8, 5)
    truth.load_state_dict(mine.state_dict())
    assert use_fast_gradients(mine, FP32) == 1
    batch, slope = last(2, 8, 12, 12), last(2, 8, 12, 12, seed=1)
    expected = step(truth, batch, slope)
    for name, value in step(mine, batch, slope).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-4, atol=1e-4)


@needs_compiler
def test_frozen_weights_get_no_gradient() -> None:
    conv = layer(8, 5)
    use_fast_gradients(conv, FP32)
    conv.weight.requires_grad_(requires_grad=False)
    assert set(step(conv, last(2, 8, 12, 12), last(2, 8, 12, 12, seed=1))) == {"out", "images", "bias"}


@needs_compiler
@pytest.mark.parametrize("dtype", [FP32, BF16])
def test_a_graph_of_torch_compile_holds_it(dtype: torch.dtype) -> None:
    conv = layer(8, 5, stride=2)
    truth = copy.deepcopy(conv).double()
    use_fast_gradients(conv, dtype)
    graph = torch.compile(conv, backend="aot_eager", fullgraph=True)
    batch, slope = last(2, 8, 12, 12).bfloat16(), last(2, 8, 6, 6, seed=1).bfloat16()
    images = batch.to(dtype).clone().requires_grad_()
    with torch.autocast("cpu", BF16, enabled=dtype == BF16):
        torch.autograd.backward(graph(images), slope.to(dtype))
    expected = step(truth, batch.double(), slope.double())
    assert conv.weight.grad is not None
    assert images.grad is not None
    room = 1e-4 if dtype == FP32 else 1e-2  # the truth's weights are not rounded
    torch.testing.assert_close(conv.weight.grad.double(), expected["weight"], rtol=room, atol=room)
    torch.testing.assert_close(images.grad.double(), expected["images"], rtol=room, atol=room)


@pytest.mark.parametrize(
    "conv",
    [
        layer(8, 3), layer(8, 11), layer(8, 5, padding=1), layer(8, 5, dilation=2), layer(8, 5, stride=3),
        layer(8, 5, padding_mode="reflect"), nn.Conv2d(8, 16, 5, groups=8, padding=2), nn.Conv2d(8, 8, 5, padding=2),
        nn.Conv2d(8, 8, (1, 5), groups=8, padding=(0, 2)),
    ],
)  # fmt: skip
def test_other_layers_are_left_alone(conv: nn.Conv2d) -> None:
    assert use_fast_gradients(nn.Sequential(conv), FP32) == 0
    assert type(conv) is nn.Conv2d


def test_a_layer_with_plain_numbers_is_left_alone() -> None:
    conv = layer(8, 5)
    conv.stride = 1  # type: ignore[assignment] # PyTorch takes it
    assert use_fast_gradients(conv, FP32) == 0


@needs_compiler
@pytest.mark.parametrize("where", ["eval", "contiguous", "double", "fp16", "small"])
def test_elsewhere_it_is_pytorchs_own(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    conv = layer(8, 5)
    theirs = copy.deepcopy(conv)
    use_fast_gradients(conv, FP32)
    monkeypatch.setattr(depthwise._Convolution, "apply", None)
    batch = last(2, 8, 12, 12)
    if where == "eval":
        conv.eval()
    elif where == "contiguous":
        batch = batch.contiguous()
    elif where == "double":
        batch, conv, theirs = batch.double(), conv.double(), theirs.double()
    elif where == "small":
        monkeypatch.setattr(depthwise, "_LEAST", 10**9)
    with torch.autocast("cpu", torch.float16, enabled=where == "fp16"):
        assert torch.equal(conv(batch), theirs(batch))


@needs_compiler
def test_what_there_is_no_code_for_is_refused() -> None:
    images = last(1, 8, 5, 5)
    with pytest.raises(ValueError, match="no code for kernels of 11"):
        depthwise.depthwise_weight_grad(images, images, 11, 1)
    low = images.bfloat16()
    with pytest.raises(ValueError, match="no code for kernels of 11"):
        depthwise.depthwise_input_grad(low, torch.zeros(8, 1, 11, 11), 9, 9)
    with pytest.raises(ValueError, match=r"expected \(1, 8, 4, 4\), torch.bfloat16"):
        depthwise.depthwise_input_grad(low, torch.zeros(8, 1, 5, 5), 8, 8)
    with pytest.raises(ValueError, match="both fp32 or both bf16"):
        depthwise.depthwise_weight_grad(images, low, 5, 1)
    with pytest.raises(ValueError, match=r"expected \(1, 8, 3, 3\)"):
        depthwise.depthwise_weight_grad(images, images, 5, 2)
    with pytest.raises(ValueError, match="both fp32 or both bf16"):
        depthwise.depthwise_weight_grad(images.double(), images.double(), 5, 1)


@needs_compiler
def test_the_default_dtype_does_not_matter() -> None:
    images, slope = last(2, 8, 9, 9), last(2, 8, 9, 9, seed=1)
    expected = depthwise.depthwise_weight_grad(images, slope, 5, 1)
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.equal(depthwise.depthwise_weight_grad(images, slope, 5, 1), expected)
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("trouble", ["absent", "broken"])
def test_a_machine_that_cannot_compile_it_says_why(trouble: str, hidden_compiler: Path) -> None:
    compiler = hidden_compiler / "g++"
    if trouble == "broken":
        compiler.write_text("#!/bin/sh\necho 'unknown machine' >&2\nexit 1\n")
        compiler.chmod(0o755)
    conv = layer(8, 5)
    with pytest.raises(NoCompilerError, match="there is no g" if trouble == "absent" else "unknown machine"):
        use_fast_gradients(conv, FP32)
    assert type(conv) is nn.Conv2d
