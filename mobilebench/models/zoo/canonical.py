"""The published designs behind seven of the paper's names, at the budget of 2.5 M parameters with ten classes.

The paper's networks of these names are other designs (see the registry), so its ranking may speak of its variants only.
Each function says which published network it starts from and what it scales; nothing else is touched, and the weights
start as the library starts them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import timm
import torchvision
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from timm.models.convnext import ConvNeXt
from timm.models.ghostnet import _create_ghostnet  # its stages are written nowhere else
from torchvision.models.efficientnet import EfficientNet, MBConvConfig

from mobilebench.models.zoo.paper import mobileone_config

if TYPE_CHECKING:
    from torch import nn


def convnext(num_classes: int) -> nn.Module:
    """Return timm's ConvNeXt-Atto (depths 2:2:6:2) with its widths 40/80/160/320 times 0.85."""
    widths = (34, 68, 136, 272)
    network: nn.Module = ConvNeXt(depths=(2, 2, 6, 2), dims=widths, conv_mlp=True, num_classes=num_classes)
    return network


def efficientnet(num_classes: int) -> nn.Module:
    """Return EfficientNet-B0 by its own compound rule at phi = -2: depth 1.2^-2, width 1.1^-2, resolution kept."""
    # expansion, kernel, stride, input channels, output channels, blocks: table 1 of the EfficientNet paper
    stages = (
        (1, 3, 1, 32, 16, 1),
        (6, 3, 2, 16, 24, 2),
        (6, 5, 2, 24, 40, 2),
        (6, 3, 2, 40, 80, 3),
        (6, 5, 1, 80, 112, 3),
        (6, 5, 2, 112, 192, 4),
        (6, 3, 1, 192, 320, 1),
    )
    settings = [MBConvConfig(*stage, width_mult=1.1**-2, depth_mult=1.2**-2) for stage in stages]
    network: nn.Module = EfficientNet(settings, dropout=0.2, stochastic_depth_prob=0.2, num_classes=num_classes)
    return network


def ghostnet(num_classes: int) -> nn.Module:
    """Return GhostNetV3, all sixteen bottlenecks, at width 0.55."""
    network: nn.Module = _create_ghostnet("ghostnetv3_050", width=0.55, version="v3", num_classes=num_classes)
    return network


def mobileone(num_classes: int) -> nn.Module:
    """Return MobileOne-S0 (four branches) with its widths 48/128/256/1024 times 0.75, rounded to 8.

    The budget is counted while training, as everywhere here; the deployed network has about a quarter of it.
    """
    network: nn.Module = ByobNet(mobileone_config((32, 96, 192, 768), branches=4), num_classes=num_classes)
    return network


def mobilevit(num_classes: int) -> nn.Module:
    """Return MobileViT-XS with its widths, all but the stem's, times 1.14, rounded to 8."""
    network: nn.Module = ByobNet(_mobilevit_config(), num_classes=num_classes)
    return network


def shufflenet(num_classes: int) -> nn.Module:
    """Return ShuffleNetV2 1.5x, unchanged."""
    network: nn.Module = torchvision.models.shufflenet_v2_x1_5(weights=None, num_classes=num_classes)
    return network


def tinynet(num_classes: int) -> nn.Module:
    """Return TinyNet-B, unchanged; its own input is 188 px, here it sees the protocol's."""
    network: nn.Module = timm.create_model("tinynet_b", num_classes=num_classes)
    return network


def _mobilevit_config() -> ByoModelCfg:
    """Return MobileViT-XS's stages: two of MBConv, then three of MBConv followed by 2x2-unfolded transformers."""
    hybrids = ((72, 112, 2), (88, 136, 4), (112, 168, 3))  # channels, transformer width, transformer layers
    stages: list[ByoBlockCfg | tuple[ByoBlockCfg, ...]] = [_mbconv(40, stride=1), _mbconv(56, stride=2, depth=3)]
    stages += [(_mbconv(channels, stride=2), _unfolded(*rest, channels=channels)) for channels, *rest in hybrids]
    return ByoModelCfg(
        blocks=tuple(stages),
        stem_chs=16,
        stem_type="3x3",
        stem_pool="",
        downsample="",
        act_layer="silu",
        num_features=440,
    )


def _mbconv(channels: int, *, stride: int, depth: int = 1) -> ByoBlockCfg:
    linear = {"bottle_in": True, "linear_out": True}
    return ByoBlockCfg(type="bottle", d=depth, c=channels, s=stride, gs=1, br=4.0, block_kwargs=linear)


def _unfolded(width: int, layers: int, *, channels: int) -> ByoBlockCfg:
    transformer = {"transformer_dim": width, "transformer_depth": layers, "patch_size": 2}
    return ByoBlockCfg(type="mobilevit", d=1, c=channels, s=1, block_kwargs=transformer)
