"""Networks for images of other than three channels: the layers that read the image are made for as many as there are.

With pretrained weights by timm's rule (`timm.models.adapt_input_conv`): for one channel the sum over red, green and
blue, for others their filters in turn, scaled by 3 / channels. So an image whose channels all show the same gives what
it gave as grey RGB. Without, the filters are drawn anew, with a spread that keeps the variance of what they give.
"""

from __future__ import annotations

import math

import torch
from torch import nn

from mobilebench.config.pixels import InputSize
from mobilebench.models.cost.counts import evaluating, forward
from mobilebench.models.spec import ModelError

RGB = 3


def with_channels(network: nn.Module, channels: int, size: tuple[int, int], *, pretrained: bool) -> nn.Module:
    """Return the network, its first layers changed in place so that it takes images of so many channels.

    size: height and width of an image that it takes. pretrained: whether its filters mean red, green and blue. Drawn
    filters come from torch's global generator. Raises ModelError for a network that reads images otherwise than by
    convolutions.
    """
    if channels == RGB:
        return network
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.in_channels == RGB and layer.groups == 1:
            _adapt(layer, channels, pretrained=pretrained)
    try:
        with evaluating(network), torch.no_grad():
            forward(network, 2, InputSize(*size, channels))
    except ModelError as error:
        raise ModelError(
            f"{type(network).__name__} cannot be made to take images of {channels} channels ({error}): its first layer "
            "is no convolution of three channels. Take another network for this dataset"
        ) from None
    return network


def _adapt(layer: nn.Conv2d, channels: int, *, pretrained: bool) -> None:
    """Change a convolution in place, so that its class stays, whatever a library made of it."""
    from timm.models import adapt_input_conv

    old = layer.weight
    if pretrained:
        new = adapt_input_conv(channels, old.detach())
    else:
        spread = float(old.detach().float().std()) * math.sqrt(RGB / channels)
        new = torch.empty(old.shape[0], channels, *old.shape[2:], dtype=old.dtype, device=old.device)
        new.normal_(0, spread)
    layer.weight = nn.Parameter(new, requires_grad=old.requires_grad)
    layer.in_channels = channels
