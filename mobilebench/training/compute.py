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

    from mobilebench.training.recipe import Recipe
    from mobilebench.training.runtime import Runtime

# torch.compile of the network is left to GPUs: on a CPU it takes a minute or two and gains about a tenth.
# Of the whole recipe, not of what is left of it, so that a resumed run computes with the same kernels as before.
_COMPILE_STEPS = 20_000
# Pixels through the colour jitter from which compiling it pays on a CPU (about 20 s, saves about 30 ns per pixel).
_COMPILE_PIXELS = 4e9


@dataclass(frozen=True)
class Plan:
    """What was decided.

    compile_network, compile_colour: whether torch.compile is used; graph: whether a CUDA graph replays the step; bf16:
    whether the network runs under autocast; reasons: the decisions in words.
    """

    compile_network: bool
    compile_colour: bool
    graph: bool
    bf16: bool
    reasons: tuple[str, ...]


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


def make_plan(recipe: Recipe, runtime: Runtime, device: torch.device, steps: int) -> Plan:
    """Decides for `steps` training steps in the whole recipe. Raises TrainingError for bf16 on the plain path."""
    if runtime.path == "plain":
        if recipe.precision != "fp32":
            raise TrainingError(f"runtime.path plain is fp32, the recipe's precision {recipe.precision}; use path fast")
        why = "plain path: torchvision per image, eager fp32"
        return Plan(compile_network=False, compile_colour=False, graph=False, bf16=False, reasons=(why,))
    network, why_network = _network(runtime, device, steps)
    colour, why_colour = _colour(recipe, runtime, device, steps)
    reasons = [why_network, why_colour]
    if recipe.precision == "bf16" and not has_bf16(device):
        reasons.append(f"bf16 is emulated: {device.type} here has no bf16 arithmetic, fp32 would be faster")
    bf16 = recipe.precision == "bf16"
    return Plan(network, colour, graph=device.type == "cuda", bf16=bf16, reasons=tuple(reasons))


def _network(runtime: Runtime, device: torch.device, steps: int) -> tuple[bool, str]:
    if runtime.compile != "auto":
        return runtime.compile == "on", f"network {'compiled' if runtime.compile == 'on' else 'eager'}: as asked"
    if device.type != "cuda":
        return False, f"network eager: compiling does not pay on {device.type}"
    pays = steps >= _COMPILE_STEPS
    return pays, f"network {'compiled' if pays else 'eager'}: {steps} steps, pays from {_COMPILE_STEPS}"


def _colour(recipe: Recipe, runtime: Runtime, device: torch.device, steps: int) -> tuple[bool, str]:
    if runtime.compile != "auto":
        return runtime.compile == "on", f"colour {'compiled' if runtime.compile == 'on' else 'eager'}: as asked"
    pixels = steps * recipe.batch_size * recipe.resolution**2
    if not any(recipe.augment.color_jitter) or pixels < _COMPILE_PIXELS:
        return False, f"colour eager: {pixels:.1e} pixels, compiling pays from {_COMPILE_PIXELS:.1e}"
    if device.type == "mps" or (device.type == "cpu" and not (which("g++") or which("clang++"))):
        return False, f"colour eager: no compiler for {device.type}"
    return True, f"colour compiled: {pixels:.1e} pixels, pays from {_COMPILE_PIXELS:.1e}"


def has_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 arithmetic of its own."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))
    return True


def autocast(plan: Plan, device: torch.device) -> AbstractContextManager[Any]:
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
