"""The eleven networks as the paper's released code builds them, from timm and torchvision classes where these exist.

Nine come out of a library; the two that no library has are `mobilevit.py` and `shufflenet.py`. Parameter counts are
pinned to the integer by the tests.
"""

from __future__ import annotations

import timm
import torchvision
from timm.models._efficientnet_builder import decode_arch_def
from timm.models.byobnet import ByoBlockCfg, ByobNet, ByoModelCfg
from timm.models.convmixer import ConvMixer
from timm.models.convnext import ConvNeXt
from timm.models.efficientnet import EfficientNet
from timm.models.ghostnet import GhostNet
from torch import nn
from torchvision.models.efficientnet import EfficientNet as TorchvisionEfficientNet
from torchvision.models.efficientnet import MBConvConfig
from torchvision.models.shufflenetv2 import ShuffleNetV2

from mobilebench.models.zoo.mobilevit import MobileViT
from mobilebench.models.zoo.shufflenet import Unshuffled


def default_init(network: nn.Module) -> nn.Module:
    """Draw all convolution and linear weights anew as PyTorch does by default, and return the network.

    For networks whose released code sets no initialisation while timm's class of the same function does.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.reset_parameters()
    return network


def convmixer(num_classes: int, patch_size: int = 7) -> nn.Module:
    """Return ConvMixer-512/8 with 5x5 kernels."""
    network: nn.Module = ConvMixer(512, 8, kernel_size=5, patch_size=patch_size, num_classes=num_classes)
    return network


def convnext(num_classes: int) -> nn.Module:
    """Return four ConvNeXt blocks, one a stage."""
    return default_init(
        ConvNeXt(depths=(1, 1, 1, 1), dims=(32, 64, 128, 512), ls_init_value=1e-6, num_classes=num_classes)
    )


def efficientnet(num_classes: int, variant: str = "2m") -> nn.Module:
    """Return the paper's cut EfficientNet (`2m`) or the whole EfficientNet-B0 (`b0`)."""
    if variant == "b0":
        network: nn.Module = torchvision.models.efficientnet_b0(weights=None, num_classes=num_classes)
        return network
    # expansion, kernel, stride, input channels, output channels, blocks
    stages = (
        (1, 3, 1, 32, 16, 1),
        (6, 3, 2, 16, 24, 2),
        (6, 5, 2, 24, 40, 2),
        (6, 3, 2, 40, 80, 3),
        (6, 5, 1, 80, 192, 3),
        (6, 3, 1, 192, 256, 1),
    )
    settings = [MBConvConfig(*stage) for stage in stages]
    cut: nn.Module = TorchvisionEfficientNet(settings, dropout=0.2, stochastic_depth_prob=0.2, num_classes=num_classes)
    return cut


def fbnet(num_classes: int) -> nn.Module:
    """Return FBNet-C."""
    network: nn.Module = timm.create_model("fbnetc_100", num_classes=num_classes)
    return network


def ghostnet(num_classes: int) -> nn.Module:
    """Return nine of GhostNetV3's sixteen bottlenecks; the released code leaves its dropout out."""
    # kernel, expanded channels, output channels, squeeze-excite ratio, stride
    stages: list[list[list[int | float]]] = [
        [[3, 16, 16, 0, 1]],
        [[3, 48, 24, 0, 2]],
        [[3, 72, 24, 0, 1]],
        [[5, 72, 40, 0.25, 2]],
        [[5, 120, 40, 0.25, 1]],
        [[3, 240, 80, 0, 2]],
        [[3, 184, 80, 0, 1], [3, 240, 160, 0.25, 1]],
        [[5, 720, 192, 0.25, 1]],
    ]
    network: nn.Module = GhostNet(stages, num_classes=num_classes, width=1.0, drop_rate=0.0, version="v3")
    return network


def mobilenet(num_classes: int) -> nn.Module:
    """Return MobileNetV2 1.0."""
    network: nn.Module = torchvision.models.mobilenet_v2(weights=None, num_classes=num_classes)
    return network


def mobileone_config(widths: tuple[int, ...], branches: int) -> ByoModelCfg:
    """Return timm's configuration of a MobileOne of S0's depths (2, 8, 10, 1) with these stage widths.

    A stage is `depth` pairs of a 3x3 depthwise block and a 1x1 block, all over-parameterised with `branches` branches.
    """
    stages: list[tuple[ByoBlockCfg, ...]] = []
    inputs = stem = min(64, widths[0])
    for depth, outputs in zip((2, 8, 10, 1), widths, strict=True):
        stage = []
        for _ in range(depth):
            extra = {"num_conv_branches": branches}
            stage.append(ByoBlockCfg(type="one", d=1, c=inputs, gs=1, block_kwargs=extra))
            stage.append(ByoBlockCfg(type="one", d=1, c=outputs, gs=0, block_kwargs={"kernel_size": 1, **extra}))
            inputs = outputs
        stages.append(tuple(stage))
    return ByoModelCfg(blocks=tuple(stages), stem_type="one", stem_chs=stem)


def mobileone(num_classes: int) -> nn.Module:
    """Return MobileOne-S0 with two convolution branches in its blocks."""
    return default_init(ByobNet(mobileone_config((48, 128, 256, 1024), branches=2), num_classes=num_classes))


def mobilevit(num_classes: int) -> nn.Module:
    """Return the paper's own hybrid, see `mobilevit.py`."""
    return MobileViT(num_classes)


def shufflenet(num_classes: int) -> nn.Module:
    """Return the paper's ShuffleNetV2 without shuffle, see `shufflenet.py`."""
    widths = [64, 192, 360, 600, 1024]
    network: nn.Module = ShuffleNetV2([4, 8, 4], widths, num_classes=num_classes, inverted_residual=Unshuffled)
    return network


def starnet(num_classes: int) -> nn.Module:
    """Return StarNet-S1."""
    network: nn.Module = timm.create_model("starnet_s1", num_classes=num_classes)
    return network


def tinynet(num_classes: int) -> nn.Module:
    """Return EfficientNet-B0 at half its depth."""
    stages = [
        ["ds_r1_k3_s1_e1_c16_se0.25"],
        ["ir_r2_k3_s2_e6_c24_se0.25"],
        ["ir_r2_k5_s2_e6_c40_se0.25"],
        ["ir_r3_k3_s2_e6_c80_se0.25"],
        ["ir_r3_k5_s1_e6_c112_se0.25"],
        ["ir_r4_k5_s2_e6_c192_se0.25"],
        ["ir_r1_k3_s1_e6_c320_se0.25"],
    ]
    blocks = decode_arch_def(stages, depth_multiplier=0.5, depth_trunc="round")  # type: ignore[no-untyped-call]  # timm
    network: nn.Module = EfficientNet(
        blocks, num_features=1280, stem_size=32, fix_stem=True, act_layer=nn.SiLU, num_classes=num_classes
    )
    return network
