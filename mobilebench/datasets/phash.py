"""Perceptual hashes of packed images and the pairs whose hashes nearly agree.

The hash is the sign pattern of a low-frequency discrete cosine transform of the grey image (pHash; C. Zauner,
Implementation and Benchmarking of Perceptual Image Hash Functions, 2010), here 256 bits instead of 64: enough to tell
lesions apart that all show a dark disc on light skin.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from mobilebench.system.progress import progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobilebench.datasets.spec import Pixels

SIDE, BAND = 64, 16
WORDS = BAND * BAND // 64
# Of 256 bits. Measured on 200 Imagenette and 200 HAM10000 images (median, 99th percentile): JPEG quality 50 changes 2-6
# and at most 16, half the size 10 and 20, a fifth brighter 4-6 and 24, a crop of 95 % 40 and 64. Among the 90 million
# pairs of Imagenette none is below 48: what is found is real, what was cropped is missed.
NEAR = 24
_BLOCK = 64

Hashes = npt.NDArray[np.uint64]


class Images(Protocol):
    """Images on disk, of which a slice is read: [N, H, W, C]."""

    def __len__(self) -> int: ...

    def __getitem__(self, key: slice, /) -> Pixels: ...


def hashes(images: Images, as_rgb: Callable[[Pixels], Pixels] = lambda images: images) -> Hashes:
    """Return the perceptual hash of each image [N, H, W, C] as uint64 [N, 4], lowest frequencies in word 0.

    as_rgb: makes uint8 [N, H, W, 3] of some of them.
    """
    starts = range(0, len(images), 256)
    out = np.empty((len(images), WORDS), np.uint64)
    with ThreadPoolExecutor() as pool, progress("hashing", len(images)) as advance:
        for start, block in zip(starts, pool.map(lambda s: _hash(as_rgb(images[s : s + 256])), starts), strict=True):
            out[start : start + len(block)] = block
            advance(len(block))
    return out


def _hash(images: npt.NDArray[np.uint8]) -> Hashes:
    from scipy.fft import dctn

    small = np.stack([_grey(image) for image in images])
    low = dctn(small, axes=(1, 2), norm="ortho")[:, :BAND, :BAND].reshape(len(images), -1)[:, _ORDER]
    low[:, 0] = 0  # mean brightness
    bits = low > np.median(low, axis=1, keepdims=True)
    return np.ascontiguousarray(np.packbits(bits, axis=1)).view(">u8").astype(np.uint64)


def _grey(image: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    grey = Image.fromarray(np.ascontiguousarray(image)).convert("L")
    return np.asarray(grey.resize((SIDE, SIDE), Image.Resampling.BOX), np.float32)


def _order() -> npt.NDArray[np.int64]:
    """Return coefficient numbers by rising frequency, so that the first 64 bits are the coarsest."""
    y, x = np.mgrid[:BAND, :BAND]
    return np.argsort((y + x).ravel(), kind="stable")


_ORDER = _order()


def near_pairs(codes: Hashes, limit: int = NEAR) -> npt.NDArray[np.int64]:
    """Return every pair of rows whose hashes differ in at most `limit` bits: int64 [P, 3] of (i, j, bits), i < j.

    Compares all pairs and misses none: where all words together differ in so few bits, one of them differs in at most
    a quarter of them, so only pairs that agree so closely in some word are looked at whole.
    """
    starts = range(0, len(codes), _BLOCK)
    found = [np.empty((0, 3), np.int64)]
    with ThreadPoolExecutor() as pool, progress("comparing", len(codes)) as advance:
        for pairs in pool.map(lambda start: _block_pairs(codes, start, limit), starts):
            found.append(pairs)
            advance(_BLOCK)
    return np.concatenate(found)


def _block_pairs(codes: Hashes, start: int, limit: int) -> npt.NDArray[np.int64]:
    block, rest = codes[start : start + _BLOCK], codes[start:]
    close = np.zeros((len(block), len(rest)), np.bool_)
    for word in range(WORDS):
        close |= np.bitwise_count(block[:, None, word] ^ rest[None, :, word]) <= limit // WORDS
    i, j = np.nonzero(close)
    i, j = i[j > i], j[j > i]
    bits = np.bitwise_count(block[i] ^ rest[j]).sum(axis=1, dtype=np.int64)
    kept = bits <= limit
    return np.stack([i[kept] + start, j[kept] + start, bits[kept]], axis=1).astype(np.int64)
