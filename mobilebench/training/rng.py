"""All randomness: generators made from (seed, epoch, purpose), so that no run depends on what ran before it."""

from __future__ import annotations

from contextlib import contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Iterator


def derived_seed(seed: int, epoch: int, purpose: str) -> int:
    """A 63-bit seed hashed from its three arguments; changing any one gives an unrelated stream."""
    digest = blake2b(f"{seed}/{epoch}/{purpose}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, epoch: int, purpose: str) -> np.random.Generator:
    """The host generator of one purpose in one epoch. Drawn on the host so that every device sees the same draws."""
    return np.random.Generator(np.random.PCG64(derived_seed(seed, epoch, purpose)))


@contextmanager
def network_rng(seed: int, epoch: int, device: torch.device) -> Iterator[None]:
    """Seeds torch's global generators (dropout, stochastic depth) for one epoch and restores them afterwards."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derived_seed(seed, epoch, "network"))
        yield
