"""The packaged networks: the paper's eleven, the published designs behind the names that the paper changed, backbones.

The first two groups are of one budget of parameters and trained from scratch. A backbone is a network of its published
size, to start from pretrained weights, that neither timm nor torchvision has.
"""

from __future__ import annotations

from mobilebench.models.spec import ModelSpec

_PAPER = (
    ModelSpec(
        "convmixer",
        "ConvMixer",
        "ConvMixer-512/8, 5x5 kernels; patch 7 (the released code takes 14, 5 or 7 depending on the dataset)",
        "mobilebench.models.zoo.paper:convmixer",
        "paper",
        options={"patch_size": (7, 5, 14)},
    ),
    ModelSpec(
        "convnext",
        "ConvNeXt",
        "four ConvNeXt blocks, one a stage, widths 32/64/128/512; four fifths of its parameters lie in the last block",
        "mobilebench.models.zoo.paper:convnext",
        "paper",
        sibling="convnext_canonical",
    ),
    ModelSpec(
        "efficientnet",
        "EfficientNet",
        "EfficientNet-B0 without its stride-32 stages, last widths 192/256; variant b0 is the whole B0 (4.0 M)",
        "mobilebench.models.zoo.paper:efficientnet",
        "paper",
        options={"variant": ("2m", "b0")},
        sibling="efficientnet_canonical",
    ),
    ModelSpec("fbnet", "FBNet", "FBNet-C as published (3.6 M)", "mobilebench.models.zoo.paper:fbnet", "paper"),
    ModelSpec(
        "ghostnet",
        "GhostNet",
        "nine of GhostNetV3's sixteen bottlenecks, final map at stride 16; three training branches a convolution",
        "mobilebench.models.zoo.paper:ghostnet",
        "paper",
        sibling="ghostnet_canonical",
    ),
    ModelSpec(
        "mobilenet", "MobileNet", "MobileNetV2 1.0 as published", "mobilebench.models.zoo.paper:mobilenet", "paper"
    ),
    ModelSpec(
        "mobileone",
        "MobileOne",
        "MobileOne-S0 with two convolution branches instead of four; no squeeze-excite",
        "mobilebench.models.zoo.paper:mobileone",
        "paper",
        sibling="mobileone_canonical",
    ),
    ModelSpec(
        "mobilevit",
        "MobileViT",
        "the paper's own hybrid: MBConv and transformer encoders over all positions, no unfolding or fusion (4.7 M)",
        "mobilebench.models.zoo.paper:mobilevit",
        "paper",
        sibling="mobilevit_canonical",
    ),
    ModelSpec(
        "shufflenet",
        "ShuffleNet",
        "ShuffleNetV2, widths 192/360/600, without the channel shuffle",
        "mobilebench.models.zoo.paper:shufflenet",
        "paper",
        sibling="shufflenet_canonical",
    ),
    ModelSpec("starnet", "StarNet", "StarNet-S1 as published", "mobilebench.models.zoo.paper:starnet", "paper"),
    ModelSpec(
        "tinynet",
        "TinyNet",
        "EfficientNet-B0 at half its depth, full width and resolution; none of TinyNet A to E",
        "mobilebench.models.zoo.paper:tinynet",
        "paper",
        sibling="tinynet_canonical",
    ),
)

_CANONICAL = (
    ModelSpec(
        "convnext_canonical",
        "ConvNeXt",
        "ConvNeXt-Atto, depths 2:2:6:2, its widths times 0.85",
        "mobilebench.models.zoo.canonical:convnext",
        "canonical",
        sibling="convnext",
    ),
    ModelSpec(
        "efficientnet_canonical",
        "EfficientNet",
        "EfficientNet-B0 scaled by its own compound rule to phi = -2, resolution kept",
        "mobilebench.models.zoo.canonical:efficientnet",
        "canonical",
        sibling="efficientnet",
    ),
    ModelSpec(
        "ghostnet_canonical",
        "GhostNetV3",
        "GhostNetV3, all sixteen bottlenecks, width 0.55",
        "mobilebench.models.zoo.canonical:ghostnet",
        "canonical",
        minimum=33,
        sibling="ghostnet",
    ),
    ModelSpec(
        "mobileone_canonical",
        "MobileOne",
        "MobileOne-S0 with its four branches, its widths times 0.75",
        "mobilebench.models.zoo.canonical:mobileone",
        "canonical",
        sibling="mobileone",
    ),
    ModelSpec(
        "mobilevit_canonical",
        "MobileViT",
        "MobileViT-XS (2x2 unfolding, fusion convolution), its widths times 1.14",
        "mobilebench.models.zoo.canonical:mobilevit",
        "canonical",
        sibling="mobilevit",
    ),
    ModelSpec(
        "shufflenet_canonical",
        "ShuffleNetV2",
        "ShuffleNetV2 1.5x with its channel shuffle, as published",
        "mobilebench.models.zoo.canonical:shufflenet",
        "canonical",
        sibling="shufflenet",
    ),
    ModelSpec(
        "tinynet_canonical",
        "TinyNet",
        "TinyNet-B as published, at the protocol's resolution instead of 188 px",
        "mobilebench.models.zoo.canonical:tinynet",
        "canonical",
        sibling="tinynet",
    ),
)

_BACKBONES = (
    ModelSpec(
        "wavemix_192_16",
        "WaveMix",
        "WaveMix-192/16 as published (27.9 M with 1,000 classes), to be fine-tuned",
        "mobilebench.models.zoo.wavemix:WaveMix",
        "backbone",
        multiple=32,
    ),
)

PAPER_MODELS: tuple[str, ...] = tuple(spec.id for spec in _PAPER)
CANONICAL_MODELS: tuple[str, ...] = tuple(spec.id for spec in _CANONICAL)
BACKBONES: tuple[str, ...] = tuple(spec.id for spec in _BACKBONES)
MODELS: dict[str, ModelSpec] = {spec.id: spec for spec in (*_PAPER, *_CANONICAL, *_BACKBONES)}
