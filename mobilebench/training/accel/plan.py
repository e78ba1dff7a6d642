"""How the network's step is carried out on this machine: what is decided, and why, in words."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from shutil import which
from typing import TYPE_CHECKING, Any

import torch

from mobilebench.training.errors import TrainingError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import nn

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
# The gradient of large depthwise kernels takes 2 s and saves, where a network has any, 10 to 150 ns per pixel.
_DEPTHWISE_PIXELS = 1e9


@dataclass(frozen=True)
class AccelerationPlan:
    """What was decided.

    reasons: the decisions in words. compile_network, compile_colour: whether torch.compile is used. own_depthwise:
    whether large depthwise kernels learn from `depthwise`'s gradient. graph: whether a CUDA graph replays the step.
    bf16: whether the network runs under autocast.
    """

    reasons: tuple[str, ...]
    compile_network: bool = False
    compile_colour: bool = False
    own_depthwise: bool = False
    graph: bool = False
    bf16: bool = False


def pick_device(name: str) -> torch.device:
    """The torch device of runtime.device. Raises TrainingError when it is not there."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts when it was built without the backend
        reason = str(error).splitlines()[0]
        raise TrainingError(f"runtime.device {name!r} cannot be used: {reason}. Use auto, cpu, cuda or mps") from error
    return device


def make_plan(recipe: Recipe, runtime: Runtime, device: torch.device, steps: int) -> AccelerationPlan:
    """Decides for `steps` training steps in the whole recipe. Raises TrainingError for bf16 on the plain path."""
    if runtime.path == "plain":
        if recipe.precision != "fp32":
            raise TrainingError(f"runtime.path plain is fp32, the recipe's precision {recipe.precision}; use path fast")
        why = "plain path: torchvision per image, eager fp32"
        return AccelerationPlan((why,))
    pixels = steps * recipe.batch_size * recipe.resolution**2
    network, why_network = _network(runtime, device, steps, pixels)
    colour, why_colour = _colour(recipe, runtime, device, pixels)
    reasons = [why_network, why_colour]
    if recipe.precision == "bf16" and not has_bf16(device):
        reasons.append(f"bf16 is emulated: {device.type} here has no bf16 arithmetic, fp32 would be faster")
    bf16 = recipe.precision == "bf16"
    wanted = runtime.compile == "on" or (runtime.compile == "auto" and pixels >= _DEPTHWISE_PIXELS)
    own_depthwise = wanted and device.type == "cpu" and not bf16
    return AccelerationPlan(tuple(reasons), network, colour, own_depthwise, graph=device.type == "cuda", bf16=bf16)


def _network(runtime: Runtime, device: torch.device, steps: int, pixels: int) -> tuple[bool, str]:
    if device.type == "cuda":
        return _decide("network", runtime, device, "steps", steps, _NETWORK_STEPS)
    return _decide("network", runtime, device, "pixels", pixels, _NETWORK_PIXELS)


def _colour(recipe: Recipe, runtime: Runtime, device: torch.device, pixels: int) -> tuple[bool, str]:
    if runtime.compile == "auto" and not any(recipe.augment.color_jitter):
        return False, "colour eager: the recipe has no colour jitter"
    return _decide("colour", runtime, device, "pixels", pixels, _COLOUR_PIXELS)


def _decide(
    what: str, runtime: Runtime, device: torch.device, unit: str, size: float, pays_from: float
) -> tuple[bool, str]:
    if runtime.compile != "auto":
        return runtime.compile == "on", f"{what} {'compiled' if runtime.compile == 'on' else 'eager'}: as asked"
    if size < pays_from:
        return False, f"{what} eager: {size:.1e} {unit}, compiling pays from {pays_from:.1e}"
    if device.type == "mps" or (device.type == "cpu" and not (which("g++") or which("clang++"))):
        return False, f"{what} eager: no compiler for {device.type}"
    return True, f"{what} compiled: {size:.1e} {unit}, pays from {pays_from:.1e}"


def has_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 arithmetic of its own."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))
    return True


def autocast(plan: AccelerationPlan, device: torch.device) -> AbstractContextManager[Any]:
    """bf16 autocast where the plan says so; without the weight cache, which a CUDA graph cannot replay."""
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False) if plan.bf16 else nullcontext()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is a full device or host."""
    return isinstance(error, (torch.OutOfMemoryError, MemoryError)) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def make_optimizer(model: nn.Module, recipe: Recipe, device: torch.device, *, plain: bool) -> torch.optim.Optimizer:
    """The recipe's optimiser with torch's defaults (betas .9, .999; SGD momentum .9); fused on the fast path."""
    settings: dict[str, Any] = {"lr": recipe.lr, "weight_decay": recipe.weight_decay}
    settings |= {"foreach": False} if plain else {"fused": True}
    graphed = device.type == "cuda" and not plain
    if graphed:  # a CUDA graph reads the learning rate from the device
        settings["lr"] = torch.tensor(recipe.lr, device=device)
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(model.parameters(), momentum=0.9, **settings)
    if graphed:
        settings["capturable"] = True
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer]
    optimizer: torch.optim.Optimizer = kind(model.parameters(), **settings)
    return optimizer
