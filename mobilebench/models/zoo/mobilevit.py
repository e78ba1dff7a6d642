"""The network the paper calls MobileViT: its own hybrid of MBConv blocks and plain transformer encoders.

It is not the published MobileViT (that one is `mobilevit_canonical`): attention runs over all HxW positions at
once, there is no unfolding into patches, no position code and no fusion convolution; the three paths of a block are
summed.
"""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn import functional

STEM = 32
HEADS = 4
ENCODERS = 2  # encoder layers in each hybrid block
DROPOUT = 0.1
EXPANSION = 4
FEATURES = 512


def _conv_bn_act(inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(outputs),
        nn.SiLU(inplace=True),
    )


class MBConv(nn.Module):
    """Expand 4x, 3x3 depthwise, project; with a residual where the shape stays."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        hidden = inputs * EXPANSION
        self.expand = _conv_bn_act(inputs, hidden, 1)
        self.depthwise = _conv_bn_act(hidden, hidden, 3, stride=stride, groups=hidden)
        self.project = nn.Conv2d(hidden, outputs, 1, bias=False)
        self.norm = nn.BatchNorm2d(outputs)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, inputs, H, W] to [N, outputs, H / stride, W / stride]."""
        y: Tensor = self.norm(self.project(self.depthwise(self.expand(x))))
        return x + y if self.residual else y


class SelfAttention(nn.Module):
    """Multi-head self-attention with the weights and the initialisation of `nn.MultiheadAttention`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.qkv.weight)
        nn.init.zeros_(self.qkv.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [N, L, width] to [N, L, width]."""
        heads = self.qkv(x).unflatten(-1, (3, HEADS, -1)).permute(2, 0, 3, 1, 4)  # [3, N, heads, L, width / heads]
        dropout = DROPOUT if self.training else 0.0
        query, key, value = heads.unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value, dropout_p=dropout)
        result: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return result


class EncoderLayer(nn.Module):
    """A post-norm transformer encoder layer, the function of `nn.TransformerEncoderLayer(batch_first=True)`.

    Written out because PyTorch's own class switches to a fused kernel in eval mode, which operation counters do not see
    and which rounds differently from training.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = SelfAttention(width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(DROPOUT), nn.Linear(2 * width, width)
        )
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        """Map tokens [N, L, width] to [N, L, width]."""
        x = self.norm1(x + self.dropout(self.attention(x)))
        result: Tensor = self.norm2(x + self.dropout(self.feed_forward(x)))
        return result


class HybridBlock(nn.Module):
    """Input + 3x3 convolution + (reduce, encode all positions as tokens, expand) of that convolution."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.local = _conv_bn_act(channels, channels, 3)
        self.reduce = _conv_bn_act(channels, width, 1)
        layer = EncoderLayer(width)
        # nn.TransformerEncoder, which the paper's network uses, starts all its layers as copies of one.
        self.encoders = nn.Sequential(*(copy.deepcopy(layer) for _ in range(ENCODERS)))
        self.expand = _conv_bn_act(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map [N, channels, H, W] to the same shape."""
        local = self.local(x)
        reduced = self.reduce(local)
        tokens = self.encoders(reduced.flatten(2).transpose(1, 2))  # [N, H * W, width]
        mixed = tokens.transpose(1, 2).unflatten(2, reduced.shape[2:]).contiguous()
        result: Tensor = x + local + self.expand(mixed)
        return result


class MobileViT(nn.Module):
    """The paper's MobileViT: five MBConv stages, a hybrid block at strides 8, 16 and 32, 512 features."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.stem = _conv_bn_act(3, STEM, 3, stride=2)
        self.stages = nn.Sequential(
            MBConv(STEM, 64, stride=1),
            MBConv(64, 128, stride=2),
            MBConv(128, 128, stride=1),
            MBConv(128, 128, stride=2),
            HybridBlock(128, 144),
            MBConv(128, 256, stride=2),
            HybridBlock(256, 192),
            MBConv(256, 256, stride=2),
            HybridBlock(256, 240),
        )
        self.features = _conv_bn_act(256, FEATURES, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(FEATURES, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map images [N, 3, H, W] to logits [N, num_classes]."""
        y = self.features(self.stages(self.stem(x)))
        result: Tensor = self.head(self.pool(y).flatten(1))
        return result
