"""Checks of `benchmarks.gpu check` of what a card has to bear: no room, images on the host, a capture that fails."""

from __future__ import annotations

import gc
from dataclasses import replace

import torch
from torch import Tensor

from benchmarks.gpu_check_cells import BATCH, REST, SAME, Small, apart, deterministic, losses, run, small_data
from benchmarks.gpu_check_numbers import Found, at_most, not_here
from benchmarks.gpu_steps import MIB
from mobilebench.training.memory import free_unused

MOST = 4096  # cells on one device: the share of each has no room for images
_WORKING, _ONCE = 1024 * MIB, 700 * MIB  # what a process may take beside what it holds, and what a step takes of it


class Looks(Small):
    """Asks the device for a number in its step, which cannot be captured."""

    def forward(self, images: Tensor) -> Tensor:
        """As Small; 2 times as much."""
        logits = super().forward(images)
        return logits * (2.0 if bool(torch.isfinite(logits.detach()).all()) else 1.0)


class Hungry(Small):
    """Takes most of what there is for its third training batch, then the same again; for the fourth it once."""

    calls = 0

    def forward(self, images: Tensor) -> Tensor:
        """As Small."""
        self.calls += self.training and len(images) == BATCH
        taken = [self._take(images)] if self.training and self.calls in {3, 4} else []
        logits = super().forward(images)
        if taken and self.calls == 3:
            taken.append(self._take(images))
        return logits

    def _take(self, images: Tensor) -> Tensor:
        return torch.empty(_ONCE, dtype=torch.uint8, device=images.device)


def from_host(device: torch.device) -> Found:
    """Images that stay on the host, read ahead by a thread, against the same on the card."""
    if device.type != "cuda":
        return not_here("images are on the host")
    threads = torch.get_num_threads()
    with deterministic():
        near, two = run(device, Small())
        away, one = run(device, Small(), cells=MOST)
    torch.set_num_threads(threads)  # of so many cells each has one
    places = [next(d for d in trainer.decisions if d.startswith("images: ")) for trainer in (away, near)]
    found = at_most(SAME, apart(losses(one), losses(two)), "losses' relative difference", images=places)
    return (
        found if "memory-mapped" in places[0] and "memory-mapped" not in places[1] else replace(found, verdict="fail")
    )


def leftovers(device: torch.device) -> Found:
    """What a finished training leaves on the card, without a garbage collection: MiB beyond what libraries keep."""
    if device.type != "cuda":
        return not_here("no memory of a device")

    def held() -> int:
        run(device, Small(), data=small_data(side=96))
        return torch.cuda.memory_allocated(device)

    first = held()
    gc.disable()
    try:
        left = (held() - first) / MIB
    finally:
        gc.enable()
    free_unused(device)
    return at_most(1.0, left, "MiB left", reserved_mib=torch.cuda.memory_reserved(device) / MIB)


def full_card(device: torch.device) -> Found:
    """A card that is full within an epoch: images leave it, and the epoch starts again with all the room there was."""
    if device.type != "cuda":
        return not_here("no memory of a device")
    free_unused(device)
    total = torch.cuda.mem_get_info(device)[1]
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved(device) + _WORKING) / total, device)
    try:
        with deterministic():
            trainer, one = run(device, Hungry())
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, device)
    with deterministic():
        _, two = run(device, Small(), acceleration="off")
    given_up = [decision for decision in trainer.decisions if "full" in decision]
    found = at_most(SAME, apart(losses(one), losses(two)), "losses' relative difference", given_up=given_up)
    recovered = len(given_up) == 1 and given_up[0].startswith("images: moved")
    return found if recovered and trainer.captured else replace(found, verdict="fail")


def failed_capture(device: torch.device) -> Found:
    """A step that cannot be captured goes on eagerly with the seed's masks, and the next training is captured."""
    if device.type != "cuda":
        return not_here("no CUDA graph")
    with deterministic():
        trainer, one = run(device, Looks())
        _, two = run(device, Looks(), acceleration="off")
        after, _ = run(device, Small())
    said = [decision for decision in trainer.decisions if "could not be captured" in decision]
    found = at_most(SAME, apart(losses(one), losses(two)), "losses' relative difference", given_up=said)
    return found if said and after.captured == [REST, BATCH] else replace(found, verdict="fail")
