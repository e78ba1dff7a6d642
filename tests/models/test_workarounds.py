from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mobilebench import models
from mobilebench.models.workarounds import SubsampledPointwise, subsample_strided_pointwise


@pytest.mark.parametrize("stride", [2, (2, 1), 3])
@pytest.mark.parametrize("size", [8, 9])
def test_it_is_the_same_convolution(stride: int | tuple[int, int], size: int) -> None:
    plain = nn.Conv2d(3, 5, 1, stride)
    ours = subsample_strided_pointwise(copy.deepcopy(plain))
    assert isinstance(ours, SubsampledPointwise)
    images = torch.randn(4, 3, size, size)
    torch.testing.assert_close(ours(images), plain(images))
    for network in (plain, ours):
        network(images).square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, plain.weight.grad)
    assert ours.state_dict().keys() == plain.state_dict().keys()


@pytest.mark.parametrize(
    "conv", [nn.Conv2d(64, 8, 1, 2), nn.Conv2d(3, 8, 1), nn.Conv2d(3, 8, 3, 2), nn.Conv2d(3, 3, 1, 2, groups=3)]
)
def test_other_convolutions_are_left_alone(conv: nn.Conv2d) -> None:
    assert type(subsample_strided_pointwise(conv)) is nn.Conv2d


def test_mobileone_trains_on_two_threads() -> None:
    """Under PyTorch 2.15 the plain convolution of its stem breaks the heap here within a few steps."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        network = models.create("mobileone", 10).to(memory_format=torch.channels_last)
        assert any(isinstance(module, SubsampledPointwise) for module in network.modules())
        for _ in range(4):
            images = torch.randn(29, 3, 32, 32).to(memory_format=torch.channels_last)
            network(images).sum().backward()
    finally:
        torch.set_num_threads(threads)
