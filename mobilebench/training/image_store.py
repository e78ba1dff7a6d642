"""Where the packed images live: on the device when they fit, else as a memory map on the host."""

from __future__ import annotations

import logging
import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    from mobilebench.training.data import Split

_log = logging.getLogger(__name__)
_UPLOAD_ROWS = 4096


class Store:
    """The images and labels ([n], or [n, C] of several labels) of one split.

    `resident` says whether the images lie on the device.
    """

    def __init__(self, split: Split, device: torch.device, room: int = 0) -> None:
        """Uploads the split when it takes at most `room` bytes. Labels always lie on the device."""
        self._device = device
        self._images = _tensor(split.images)
        self._rows = torch.from_numpy(np.array(split.rows, dtype=np.int64))
        labels = split.labels[split.rows]
        self._labels = torch.from_numpy(labels.astype(np.int64 if labels.ndim == 1 else np.uint8)).to(device)
        self._on_device: Tensor | None = None
        if self.size <= room:
            self._upload()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def size(self) -> int:
        """Bytes of the split's images."""
        return len(self._rows) * self._images[0].numel() * self._images.itemsize

    @property
    def rows(self) -> NDArray[np.int64]:
        """The split's rows in the packed arrays, [n]."""
        return self._rows.numpy()

    @property
    def resident(self) -> bool:
        """Whether the images lie on the device."""
        return self._on_device is not None

    @property
    def home(self) -> torch.device:
        """Where `take` wants its places to be, so that no copy is needed between steps."""
        return torch.device("cpu") if self._on_device is None else self._device

    def evict(self) -> None:
        """Frees the device's copy; from now on images come from the host."""
        self._on_device = None

    def _upload(self) -> None:
        try:
            images = torch.empty((len(self), *self._images.shape[1:]), dtype=self._images.dtype, device=self._device)
            for part in torch.split(torch.arange(len(self)), _UPLOAD_ROWS):
                images[part[0] : part[-1] + 1] = self._images[self._rows[part]].to(self._device)
        except torch.OutOfMemoryError:
            _log.warning("%d MB of images do not fit on %s; they stay on the host", self.size >> 20, self._device)
        else:
            self._on_device = images

    def take(self, blocks: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """Stored images [B, H, W, C] and labels [B] or [B, C] on the device, per block of places (int64 on `home`)."""
        if self._on_device is not None:
            for places in blocks:
                yield self._on_device[places], self._labels[places]
        elif self._device.type == "cpu":
            for places in blocks:
                yield self._images[self._rows[places]], self._labels[places]
        else:
            yield from self._take_ahead(blocks)

    def _take_ahead(self, blocks: Iterable[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
        """From the host, a thread reading the next block into pinned memory while the device works on this one."""
        pin = self._device.type == "cuda"

        def read(places: Tensor) -> Tensor:
            images = self._images[self._rows[places]]
            return images.pin_memory() if pin else images

        with ThreadPoolExecutor(max_workers=1) as reader:
            waiting: deque[tuple[Tensor, Future[Tensor]]] = deque()
            for places in blocks:
                waiting.append((places, reader.submit(read, places)))
                if len(waiting) == 2:
                    yield self._arrived(*waiting.popleft())
            while waiting:
                yield self._arrived(*waiting.popleft())

    def _arrived(self, places: Tensor, images: Future[Tensor]) -> tuple[Tensor, Tensor]:
        labels = self._labels[places.to(self._device, non_blocking=True)]
        return images.result().to(self._device, non_blocking=True), labels


def _tensor(array: NDArray[Any]) -> Tensor:
    with warnings.catch_warnings():  # a read-only memory map is what we want: nothing here writes to images
        warnings.filterwarnings("ignore", message="The given NumPy array is not writ")
        return torch.from_numpy(array)
