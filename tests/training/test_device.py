"""A CUDA device without one: what the process is set to. What a card does with it is in test_gpu.py."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch

from mobilebench.analysis.named_runs import CODE
from mobilebench.models.zoo.mobilevit import SelfAttention
from mobilebench.system.provenance import device_tags
from mobilebench.training import TrainingError
from mobilebench.training.device import pick_device, set_precision

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def cards(monkeypatch: pytest.MonkeyPatch) -> list[torch.device]:
    """A machine with two cards; the devices that were made the present one."""
    made: list[torch.device] = []
    present = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 2, current_device=lambda: 0, set_device=made.append
    )
    monkeypatch.setattr(torch, "cuda", present)
    monkeypatch.setattr(torch, "empty", lambda *_, device: None)
    return made


@pytest.mark.parametrize(("name", "number"), [("auto", 0), ("cuda", 0), ("cuda:0", 0), ("cuda:1", 1)])
def test_a_card_has_its_number_and_is_the_present_one(name: str, number: int, cards: list[torch.device]) -> None:
    device = pick_device(name)
    assert (device.type, device.index) == ("cuda", number)
    assert cards == [device]


def test_a_card_that_is_not_there_is_told(cards: list[torch.device]) -> None:
    with pytest.raises(TrainingError, match=r"'cuda:2', which is not there.*this machine has cpu, cuda:0, cuda:1"):
        pick_device("cuda:2")
    assert cards == []


@pytest.fixture
def flags() -> Iterator[None]:
    """Flags that a user has set otherwise; put back afterwards."""
    before = (
        torch.backends.cudnn.allow_tf32,
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.benchmark,
    )
    _set(allow=False, matmuls=True, benchmark=True)
    yield
    _set(*before)


def _set(allow: bool, matmuls: bool, benchmark: bool) -> None:
    torch.backends.cudnn.allow_tf32 = allow
    torch.backends.cuda.matmul.allow_tf32 = matmuls
    torch.backends.cudnn.benchmark = benchmark


def test_precision_on_a_card_is_the_protocols_and_a_tag_of_the_run(
    flags: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Some Card")
    card, names = torch.device("cuda:1"), ("tf32_convolutions", "tf32_matmuls", "cudnn_benchmark")
    set_precision(torch.device("cpu"))
    assert [device_tags(card)[name] for name in names] == ["false", "true", "true"]
    set_precision(card)
    tags = device_tags(card)
    assert [tags[name] for name in names] == ["true", "false", "false"]
    assert (tags["device"], tags["gpu"]) == ("cuda:1", "Some Card")
    assert not set(names) & device_tags(torch.device("cpu")).keys()
    assert set(names) <= set(CODE)  # what `compare` says of two runs


def test_attention_in_bf16_keeps_half_of_what_it_keeps_in_fp32() -> None:
    """With dropout no fused kernel of a CPU takes it, and PyTorch's own way is made for all scores in fp32."""
    set_precision(torch.device("cpu"))
    torch.manual_seed(0)
    attention, tokens = SelfAttention(16).train(), torch.randn(2, 300, 16)
    kept = {}
    for dtype in (torch.float32, torch.bfloat16):
        saved: dict[int, int] = {}

        def keep(tensor: torch.Tensor, saved: dict[int, int] = saved) -> torch.Tensor:
            saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        torch.manual_seed(1)
        low = torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), low:
            kept[dtype] = attention(tokens), sum(saved.values())
    (exact, whole), (rough, half) = kept[torch.float32], kept[torch.bfloat16]
    assert half < 0.6 * whole
    torch.testing.assert_close(rough.float(), exact, atol=0.02, rtol=0.05)
