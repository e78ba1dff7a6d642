"""Strided 1x1 convolutions computed on the pixels they read: the same function, without a fault of the CPU kernel.

The backward pass of PyTorch 2.15's oneDNN kernel writes outside its buffers for a 1x1 convolution with a stride, three
input channels, channels-last memory and two or more threads (MobileOne's stem): the process dies, or trains on damaged
memory. Seen with glibc's malloc checks; not with 16 or more input channels, without the stride or with one thread.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

FEW_CHANNELS = 16


class SubsampledPointwise(nn.Conv2d):
    """A 1x1 convolution with a stride, as subsampling followed by one without."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - PyTorch's name of the argument
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        down, right = self.stride
        return functional.conv2d(input[:, :, ::down, ::right], self.weight, self.bias)


def subsample_strided_pointwise(network: nn.Module) -> nn.Module:
    """Turn the affected convolutions of a network, in place, into SubsampledPointwise; return the network.

    Parameters, their names and the settings of the module stay as they are.
    """
    for module in network.modules():
        if type(module) is nn.Conv2d and _is_affected(module):
            module.__class__ = SubsampledPointwise
    return network


def _is_affected(conv: nn.Conv2d) -> bool:
    plain = conv.kernel_size == (1, 1) and conv.padding == (0, 0) and conv.groups == 1
    return plain and max(conv.stride) > 1 and conv.in_channels < FEW_CHANNELS
