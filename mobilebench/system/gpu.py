"""The NVIDIA card of this machine, asked of its driver: without PyTorch, which takes seconds to import."""

from __future__ import annotations

import ctypes
import os

_LONGEST = 96  # characters of a name, NVML_DEVICE_NAME_V2_BUFFER_SIZE


def card_name(number: int = 0) -> str:
    """Return the name of a card, as PyTorch calls it; "" where there is none, or CUDA_VISIBLE_DEVICES shows none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    cards = None if visible is None else [part.strip() for part in visible.split(",")]
    if cards is not None and number >= len(cards):
        return ""
    card = str(number) if cards is None else cards[number]
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        handle, name = ctypes.c_void_p(), ctypes.create_string_buffer(_LONGEST)
        if library.nvmlInit_v2():
            return ""
        if card.isdecimal():
            refused = library.nvmlDeviceGetHandleByIndex_v2(int(card), ctypes.byref(handle))
        else:  # GPU-...; "" and -1, which show none, are no card's
            refused = library.nvmlDeviceGetHandleByUUID(card.encode(), ctypes.byref(handle))
        if refused:
            return ""
        return "" if library.nvmlDeviceGetName(handle, name, _LONGEST) else name.value.decode(errors="replace")
    except (OSError, AttributeError):
        return ""
