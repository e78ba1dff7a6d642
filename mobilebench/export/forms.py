"""Which images an exported network takes: normalised floats, or bytes where the preprocessing is built in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from mobilebench.config.pixels import UNITS, shown, sides
from mobilebench.export.onnx_file import ExportError
from mobilebench.training.augment.crop import resize_centre

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from mobilebench.execution.model_file import ModelFile


class _FromBytes(nn.Module):
    """A network with its preprocessing: uint8 [N, H, W, C] -> logits [N, classes]."""

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        scale = 1 / (UNITS["uint8"] * torch.tensor(std, dtype=torch.float64))
        shift = torch.tensor(mean, dtype=torch.float64) / torch.tensor(std, dtype=torch.float64)
        self.register_buffer("scale", scale.float().view(1, -1, 1, 1))
        self.register_buffer("shift", -shift.float().view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of a batch of images."""
        plain = images.permute(0, 3, 1, 2).float()
        logits: Tensor = self.network(plain * self.get_buffer("scale") + self.get_buffer("shift"))
        return logits


@dataclass(frozen=True)
class ImageForm:
    """The images that a file of one network takes."""

    made: ModelFile
    from_bytes: bool = False
    """Whether the file takes bytes and normalises them itself."""

    def __post_init__(self) -> None:
        if self.from_bytes and self.made.dtype != "uint8":
            raise ExportError(
                f"{self.made.model} on {self.made.dataset} takes images of {self.made.dtype}; the preprocessing can be "
                "built in for images of 8 bits. Export it without --with-preprocessing, which takes normalised floats"
            )

    @property
    def words(self) -> str:
        """What the file takes, for its metadata."""
        height, width = sides(self.made.resolution)
        channels = len(self.made.mean)
        order = "RGB" if channels == 3 else f"{channels} channels"
        if self.from_bytes:
            return f"uint8 [N, {height}, {width}, {channels}] (NHWC, {order}, 0 to 255); it normalises them itself"
        unit = UNITS[self.made.dtype]
        scaled = "" if unit == 1 else f"divided by {unit}, then "
        return f"float32 [N, {channels}, {height}, {width}] (NCHW, {order}), {scaled}(x - mean) / std per channel"

    @property
    def resize(self) -> str:
        """How an image file becomes what the network takes, in words."""
        made = self.made
        return (
            f"to {shown(made.stored)} px ({made.fit}), then to {made.eval_resize} px, antialiased bilinear, and the "
            f"centre {shown(made.resolution)} px of it"
        )

    def module(self, network: nn.Module) -> nn.Module:
        """Return the network as it is exported: itself, or with its preprocessing."""
        return _FromBytes(network, self.made.mean, self.made.std).eval() if self.from_bytes else network

    def example(self) -> Tensor:
        """Return two black images."""
        height, width = sides(self.made.resolution)
        if self.from_bytes:
            return torch.zeros((2, height, width, len(self.made.mean)), dtype=torch.uint8)
        return torch.zeros((2, len(self.made.mean), height, width))

    def arrays(self, stored: NDArray[Any]) -> NDArray[Any]:
        """Return packed images [B, H, W, C] in the form that the file takes, by the way of the test images."""
        made = self.made
        views = resize_centre(torch.from_numpy(np.ascontiguousarray(stored)), made.eval_resize, made.resolution)
        if self.from_bytes:
            whole = (views * UNITS["uint8"]).round().clamp(0, 255).to(torch.uint8)
            return np.ascontiguousarray(whole.permute(0, 2, 3, 1).numpy())
        mean, std = (torch.tensor(values).view(1, -1, 1, 1) for values in (made.mean, made.std))
        return np.ascontiguousarray(((views - mean) / std).numpy())
