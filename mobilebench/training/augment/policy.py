"""RandAugment and TrivialAugment, batched: images that drew the same kind of operation are treated together.

Operations and magnitudes are torchvision's (0.29, RandAugment and TrivialAugmentWide, nearest sampling, black fill).
Which image drew what is known on the host, so grouping needs no answer from the device.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from mobilebench.config.pixels import sides
from mobilebench.training.augment.color import blend_color

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilebench.config.pixels import Resolution

OPERATIONS = (
    "identity",
    "shear_x",
    "shear_y",
    "translate_x",
    "translate_y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)
BINS = 31
_SIGNED = np.array([name in OPERATIONS[1:10] for name in OPERATIONS])
_GEOMETRIC = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
# blend_color's numbers of the operations that are colour jitter's.
_COLOR = {"brightness": 0, "contrast": 1, "color": 2}


def magnitudes(size: Resolution, *, wide: bool) -> NDArray[np.float64]:
    """The magnitude of every operation in every bin [14, 31], unsigned; wide: TrivialAugmentWide's space.

    size: pixels along the image's sides. Shears are tangents, translations pixels, rotations degrees, posterize bits,
    solarize a threshold of 255; the colour operations and sharpness give 1 + m as the factor.
    """
    steps = np.linspace(0.0, 1.0, BINS)
    high, broad = sides(size)
    shear, angle, colour = (0.99, 135.0, 0.99) if wide else (0.3, 30.0, 0.9)
    shifts = {"translate_x": 32.0, "translate_y": 32.0}
    if not wide:
        shifts = {"translate_x": 150 / 331 * broad, "translate_y": 150 / 331 * high}
    table = np.zeros((len(OPERATIONS), BINS))
    for name in OPERATIONS[1:10]:
        reach = {"s": shear, "t": shifts.get(name, 0.0), "r": angle}[name[0]] if name in _GEOMETRIC else colour
        table[OPERATIONS.index(name)] = reach * steps
    bits = 6 if wide else 4
    table[OPERATIONS.index("posterize")] = 8 - np.round(np.arange(BINS) / ((BINS - 1) / bits))
    table[OPERATIONS.index("solarize")] = 255 * (1 - steps)
    return table


def draw_randaugment(
    rng: np.random.Generator, n: int, size: Resolution, count: int, magnitude: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Operations [n, count] and signed magnitudes [n, count] of torchvision's RandAugment(count, magnitude)."""
    return _draw(rng, magnitudes(size, wide=False), np.full((n, count), magnitude))


def draw_trivialaugment(
    rng: np.random.Generator, n: int, size: Resolution
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Operations [n, 1] and signed magnitudes [n, 1] of torchvision's TrivialAugmentWide()."""
    return _draw(rng, magnitudes(size, wide=True), rng.integers(0, BINS, size=(n, 1)))


def _draw(
    rng: np.random.Generator, table: NDArray[np.float64], bins: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    operations = rng.integers(0, len(OPERATIONS), size=bins.shape)
    sign = np.where(_SIGNED[operations] & (rng.random(bins.shape) < 0.5), -1.0, 1.0)
    return operations, (sign * table[operations, bins]).astype(np.float32)


def apply_policy(images: Tensor, operations: Tensor, amounts: Tensor) -> Tensor:
    """Applies each image's operations in turn to float [B, 3, H, W] in [0, 1].

    operations: integers [B, k] and amounts: signed magnitudes [B, k], both on the CPU.
    """
    images = images.contiguous()
    for operation, amount in zip(operations.unbind(1), amounts.unbind(1), strict=True):
        for name, chosen in _groups(operation):
            places = _sent(chosen, images.device)
            images[places] = _apply(name, images[places], operation[chosen], amount[chosen])
    return images


def _groups(operation: Tensor) -> list[tuple[str, Tensor]]:
    """The kinds of operation that occur and the images of each; geometric ones are one kind, blends another."""
    groups: dict[str, list[int]] = {}
    for image, number in enumerate(operation.tolist()):
        name = OPERATIONS[number]
        kind = "geometric" if name in _GEOMETRIC else "color" if name in _COLOR else name
        groups.setdefault(kind, []).append(image)
    groups.pop("identity", None)
    return [(kind, torch.tensor(members)) for kind, members in groups.items()]


def _apply(kind: str, images: Tensor, operation: Tensor, amount: Tensor) -> Tensor:
    device = images.device
    if kind == "geometric":
        matrices = inverse_matrices(operation, amount, (images.shape[-2], images.shape[-1]))
        return transform(images, _sent(matrices, device))
    if kind == "color":
        blends = torch.tensor([_COLOR[OPERATIONS[number]] for number in operation.tolist()])
        return blend_color(images, _sent(blends, device), 1 + _sent(amount, device))
    per_image = _sent(amount, device).view(-1, 1, 1, 1)
    if kind == "sharpness":
        return sharpness(images, 1 + per_image)
    if kind == "posterize":
        step = torch.exp2(8 - per_image)
        return torch.floor(_levels(images) / step) * step / 255
    if kind == "solarize":
        return torch.where(_levels(images) >= per_image, 1 - images, images)
    return autocontrast(images) if kind == "autocontrast" else equalize(images)


def _sent(drawn: Tensor, device: torch.device) -> Tensor:
    """What was drawn, on the device, without waiting for it: a small tensor of the host is copied aside at once."""
    return drawn.to(device, non_blocking=True)


def _levels(images: Tensor) -> Tensor:
    """The 256 levels that these operations are defined on, as floats."""
    return torch.round(images * 255)


def inverse_matrices(operation: Tensor, amount: Tensor, size: Resolution) -> Tensor:
    """Maps [n, 2, 3] from output to input pixels, both measured from the image's centre, for geometric operations.

    Shears keep the top left corner, the others the centre; translations are whole pixels, towards zero.
    """
    matrices = torch.zeros(len(amount), 2, 3, dtype=torch.float64)
    matrices[:, 0, 0] = matrices[:, 1, 1] = 1
    for matrix, number, m in zip(matrices, operation.tolist(), amount.double().tolist(), strict=True):
        name = OPERATIONS[number]
        if name == "rotate":
            cos, sin = math.cos(math.radians(m)), math.sin(math.radians(m))
            matrix[:, :2] = torch.tensor([[cos, -sin], [sin, cos]])
        else:
            row = 0 if name.endswith("_x") else 1
            if name.startswith("translate"):
                matrix[row, 2] = -int(m)
            else:
                matrix[row, 1 - row] = m
                matrix[row, 2] = m * sides(size)[row] / 2
    return matrices.float()


def transform(images: Tensor, matrices: Tensor) -> Tensor:
    """Nearest-pixel sampling of [B, C, H, W] through `inverse_matrices`, black outside."""
    high, wide = images.shape[-2:]
    rows, columns = (torch.arange(size, device=images.device) - (size - 1) / 2 for size in (high, wide))
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    places = torch.stack([x, y, torch.ones_like(x)], dim=-1).view(1, -1, 3)
    half = _sent(torch.tensor([wide / 2, high / 2]), images.device)
    grid = places.expand(len(images), -1, -1).bmm(matrices.transpose(1, 2) / half)
    return functional.grid_sample(
        images, grid.view(-1, high, wide, 2), mode="nearest", padding_mode="zeros", align_corners=False
    )


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Away from (factor > 1) or towards a 3x3 smoothing; the one-pixel border is kept. factor: [B, 1, 1, 1]."""
    kernel = torch.ones(3, 1, 3, 3, device=images.device)
    kernel[:, :, 1, 1] = 5
    smooth = images.clone()
    smooth[..., 1:-1, 1:-1] = functional.conv2d(images, kernel / 13, groups=3)
    return torch.lerp(smooth, images, factor).clamp_(0, 1)


def autocontrast(images: Tensor) -> Tensor:
    """Stretches each channel of each image to [0, 1]; a flat channel is kept."""
    low = images.amin(dim=(2, 3), keepdim=True)
    span = images.amax(dim=(2, 3), keepdim=True) - low
    return torch.where(span > 0, (images - low) / torch.where(span > 0, span, 1.0), images)


def equalize(images: Tensor) -> Tensor:
    """Histogram equalisation of each channel of each image over 256 levels; the last occupied level does not count."""
    batch, channels = images.shape[:2]
    levels = _levels(images).long().view(batch * channels, -1)
    histogram = torch.zeros(batch * channels, 256, dtype=torch.long, device=images.device)
    histogram.scatter_add_(1, levels, torch.ones_like(levels))
    place = torch.arange(256, device=images.device)
    last = torch.where(histogram > 0, place, 0).amax(dim=1, keepdim=True)
    step = (levels.shape[1] - histogram.gather(1, last)) // 255
    below = histogram.cumsum(dim=1) - histogram
    table = torch.where(step > 0, (below + step // 2) // step.clamp(min=1), place).clamp_(0, 255)
    return (table.gather(1, levels).float() / 255).view_as(images)
