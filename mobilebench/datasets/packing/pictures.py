"""Packed images of any channels and numbers as people and perceptual hashes see them: 8-bit RGB."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mobilebench.config.pixels import UNITS

if TYPE_CHECKING:
    import numpy.typing as npt

    from mobilebench.datasets.packing.packed import Meta
    from mobilebench.datasets.spec import Pixels

SPREAD = 2.0  # standard deviations on either side of the mean that are told apart: about 95 % of a normal's values


def pictures(images: Pixels, meta: Meta) -> npt.NDArray[np.uint8]:
    """Return images [N, H, W, C] of a dataset as uint8 [N, H, W, 3].

    Bytes keep their values. Others are stretched, alike in every image: black is two standard deviations of the train
    split below its mean, white two above. The channels shown are those of the spec's `rgb`, else the first three; of
    fewer the last one again.
    """
    chosen = meta.storage.get("rgb") or [min(channel, meta.channels - 1) for channel in range(3)]
    if meta.dtype == "uint8":
        return images if list(chosen) == [0, 1, 2] and meta.channels == 3 else images[..., chosen]
    mean, std = (np.array(values)[chosen] * UNITS[meta.dtype] for values in (meta.mean, meta.std))
    low, span = mean - SPREAD * std, np.maximum(2 * SPREAD * std, np.finfo(np.float32).tiny)
    levels = (images[..., chosen].astype(np.float64) - low) / span * 255
    return np.rint(np.clip(levels, 0, 255)).astype(np.uint8)
