"""The device a cell trains on and the precision it computes with there."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from mobilebench.training.errors import TrainingError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.runtime import Runtime


def check_device(name: str) -> None:
    """Raise TrainingError, which says what is there, unless the device of runtime.device is. Takes no memory on it."""
    kind, _, number = name.partition(":")
    there = ["cpu"]
    if torch.cuda.is_available():
        there += [f"cuda:{index}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        there.append("mps")
    if kind != "auto" and (f"{kind}:{number or 0}" if kind == "cuda" else name) not in there:
        why = "" if kind != "cuda" or torch.version.cuda else " (this PyTorch is built without CUDA)"
        raise TrainingError(
            f"runtime.device is {name!r}, which is not there{why}; this machine has {', '.join(there)}. Set "
            "runtime.device to one of these, or to auto"
        )


def devices_of(name: str) -> list[str]:
    """The devices that cells are shared out to under runtime.device: all CUDA cards for `auto` and `cuda`, else one."""
    cards = torch.cuda.device_count() if name in {"auto", "cuda"} and torch.cuda.is_available() else 0
    return [f"cuda:{index}" for index in range(cards)] if cards > 1 else [name]


def take_share(runtime: Runtime) -> None:
    """Keep this process to its part of a CUDA card's memory, where cells of several processes share the card.

    A cluster's scheduler counts parts of cards and enforces none.
    """
    sharers = runtime.cells_per_device or 1
    if sharers > 1 and runtime.device.startswith("cuda"):
        torch.cuda.set_per_process_memory_fraction(1 / sharers, torch.device(runtime.device).index)


def pick_device(name: str) -> torch.device:
    """The torch device of runtime.device; a CUDA one with its number, and from now on the process's present one.

    Raises TrainingError when it is not there.
    """
    check_device(name)
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        if device.type == "cuda":  # streams, graphs and libraries go by the present device, not by a tensor's
            device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
            torch.cuda.set_device(device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:  # torch asserts when it was built without the backend
        reason = str(error).splitlines()[0]
        raise TrainingError(f"runtime.device {name!r} cannot be used: {reason}. Use auto, cpu, cuda or mps") from error
    return device


def set_precision(device: torch.device) -> None:
    """Sets how a device computes, for the process.

    A CUDA device in fp32: convolutions in TF32, matrix products in fp32, PyTorch's defaults, as the protocols say,
    whatever was set before. cuDNN chooses its kernels without trying them, so that a run that goes on has those of its
    beginning. A CPU in bf16: attention with dropout keeps its scores in bf16, not in fp32.
    """
    if device.type == "cpu":
        torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(enabled=True)  # a CPU's too, for all its name
    if device.type == "cuda":
        torch.backends.cudnn.allow_tf32 = True
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.benchmark = False


def check_precision(recipe: Recipe, runtime: Runtime, device: torch.device) -> list[str]:
    """What a user should know about the recipe's precision here. Raises TrainingError for bf16 on the plain path."""
    if recipe.precision == "fp32":
        return []
    if runtime.path == "plain":
        raise TrainingError(f"runtime.path plain is fp32, the recipe's precision {recipe.precision}; use path fast")
    if has_bf16(device):
        return []
    return [f"bf16 is emulated: {device.type} here has no bf16 arithmetic, fp32 would be faster"]


def has_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 arithmetic of its own."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        able: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
        return bool(able.get("avx512_bf16") or able.get("amx_bf16") or able.get("bf16"))
    return True


def autocast(recipe: Recipe, device: torch.device) -> AbstractContextManager[Any]:
    """bf16 autocast where the recipe asks for it; without the weight cache, which a CUDA graph cannot replay."""
    if recipe.precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16, cache_enabled=False)
