"""Batched augmentation on the device: all draws of an epoch are made on the host first, then applied batch by batch."""

from mobilebench.training.augment.pipeline import Augmenter, Draws

__all__ = ["Augmenter", "Draws"]
