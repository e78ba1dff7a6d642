"""Which techniques of this folder a training uses on this machine, and why, in words."""

from __future__ import annotations

import math
from dataclasses import dataclass
from shutil import which
from typing import TYPE_CHECKING

import torch

from mobilebench.config.pixels import sides

if TYPE_CHECKING:
    from mobilebench.config.recipe import Recipe
    from mobilebench.config.runtime import Runtime

# What compiling costs against what it saves, both measured, gives the size of a recipe from which it pays. Of the whole
# recipe, not of what is left of it, so that a resumed run computes with the same kernels as before.
# A network on a GPU: training steps.
_NETWORK_STEPS = 20_000
# On a CPU pixels into the network count: a network takes 15 to 270 s and saves, in the mean, 60 ns per pixel.
_NETWORK_PIXELS = 8e9
# The colour jitter takes about 20 s and saves about 30 ns per pixel.
_COLOUR_PIXELS = 4e9
# Gradients of depthwise kernels take 5 s and save, where a network has any, 10 to 150 ns per pixel, in bf16 over 200.
_DEPTHWISE_PIXELS, _DEPTHWISE_PIXELS_BF16 = 1e9, 1e8
# Batch normalisation takes 5 s and saves, where it is the faster one, 20 to 50 ns per pixel.
_NORM_PIXELS = 3e8


@dataclass(frozen=True)
class AccelerationPlan:
    """Which techniques are used, none by default, and why."""

    reasons: tuple[str, ...]
    """The decisions in words."""
    compile_network: bool = False
    """Whether torch.compile makes the network."""
    compile_colour: bool = False
    """Whether torch.compile makes the colour jitter and the normalisation."""
    own_depthwise: bool = False
    """Whether depthwise kernels learn from the gradients in `depthwise`."""
    dtype: torch.dtype = torch.float32
    """That of images between layers."""
    fuse_norms: bool = False
    """Whether batch normalisations are computed as in `norm`, in a network that isn't compiled."""
    keep_freed_memory: bool = False
    """Whether the host keeps freed memory between steps, as in `allocator`."""
    graph: bool = False
    """Whether a CUDA graph replays the step."""


def make_plan(recipe: Recipe, runtime: Runtime, device: torch.device, steps: int) -> AccelerationPlan:
    """Decides for `steps` training steps in the whole recipe."""
    if runtime.path == "plain":
        return AccelerationPlan(("plain path: torchvision per image, eager fp32",))
    if runtime.acceleration == "off":
        return AccelerationPlan(("acceleration off, as asked: eager PyTorch",))
    pixels = steps * recipe.batch_size * math.prod(sides(recipe.resolution))
    network, why_network = _network(runtime, device, steps, pixels)
    colour, why_colour = _colour(recipe, runtime, device, pixels)
    on_cpu = device.type == "cpu"
    low = recipe.precision == "bf16"
    large = runtime.acceleration == "on" or pixels >= (_DEPTHWISE_PIXELS_BF16 if low else _DEPTHWISE_PIXELS)
    return AccelerationPlan(
        reasons=(why_network, why_colour),
        compile_network=network,
        compile_colour=colour,
        own_depthwise=large and on_cpu,
        dtype=torch.bfloat16 if low else torch.float32,
        fuse_norms=on_cpu and (runtime.acceleration == "on" or pixels >= _NORM_PIXELS),
        keep_freed_memory=on_cpu,
        graph=device.type == "cuda",
    )


def _network(runtime: Runtime, device: torch.device, steps: int, pixels: int) -> tuple[bool, str]:
    if device.type == "cuda":
        return _decide("network", runtime, device, "steps", steps, _NETWORK_STEPS)
    return _decide("network", runtime, device, "pixels", pixels, _NETWORK_PIXELS)


def _colour(recipe: Recipe, runtime: Runtime, device: torch.device, pixels: int) -> tuple[bool, str]:
    if runtime.acceleration == "auto" and not any(recipe.augment.color_jitter):
        return False, "colour eager: the recipe has no colour jitter"
    return _decide("colour", runtime, device, "pixels", pixels, _COLOUR_PIXELS)


def _decide(
    what: str, runtime: Runtime, device: torch.device, unit: str, size: float, pays_from: float
) -> tuple[bool, str]:
    if runtime.acceleration == "on":
        return True, f"{what} compiled: as asked"
    if size < pays_from:
        return False, f"{what} eager: {size:.1e} {unit}, compiling pays from {pays_from:.1e}"
    if device.type == "mps" or (device.type == "cpu" and not (which("g++") or which("clang++"))):
        return False, f"{what} eager: no compiler for {device.type}"
    return True, f"{what} compiled: {size:.1e} {unit}, pays from {pays_from:.1e}"
