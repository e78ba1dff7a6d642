"""Galaxy10 DECaLS: 17,736 colour images of galaxies at 256 px, in an HDF5 file. No official split: drawn 90/10."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mobilebench.datasets.acquire.listing import locate
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading, Source
from mobilebench.datasets.splits import drawn

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

CLASSES = (
    "Disturbed",
    "Merging",
    "Round Smooth",
    "In-between Round Smooth",
    "Cigar Shaped Smooth",
    "Barred Spiral",
    "Unbarred Tight Spiral",
    "Unbarred Loose Spiral",
    "Edge-on without Bulge",
    "Edge-on with Bulge",
)
_FILE = "Galaxy10_DECals.h5"


def read(raw: Path, policy: DataPolicy) -> Reading:
    """Take images and ans of the file, and hold out 10 % of each class, drawn by the policy's split_seed."""
    path = locate(raw, _FILE, f"{_FILE} itself") / _FILE
    import h5py

    try:
        with h5py.File(path) as file:
            images, labels = np.asarray(file["images"]), np.asarray(file["ans"])
    except (OSError, KeyError, ValueError, RuntimeError) as error:
        raise DataError(
            f"{path} is not the official file ({type(error).__name__}: {error}): fetch it again."
        ) from error
    sound = (
        images.dtype == np.uint8
        and (images.ndim, images.shape[-1:]) == (4, (3,))
        and labels.shape == images.shape[:1]
        and np.issubdtype(labels.dtype, np.integer)
        and len(labels) > 0
        and 0 <= int(labels.min()) <= int(labels.max()) < len(CLASSES)
    )
    if not sound:
        raise DataError(
            f"{path}: found images {images.dtype} {images.shape} and ans {labels.dtype} {labels.shape}; expected uint8"
            f" N x 256 x 256 x 3, and N whole numbers below {len(CLASSES)}. Fetch it again."
        )
    entries = [Entry(f"{i:05d}", label, "") for i, label in enumerate(labels.tolist())]
    return Reading(CLASSES, drawn(entries, 0.1, policy.split_seed), pixels=images)


SPEC = DatasetSpec(
    id="galaxy10",
    title="Galaxy10 DECaLS, galaxies, 90/10",
    domain="astronomy",
    classes=10,
    counts={"train": 15962, "test": 1774},
    licence="none stated",
    citation="H. Leung and J. Bovy, Galaxy10 DECaLS, 2021; images: DESI Legacy Surveys; labels: Galaxy Zoo",
    homepage="https://github.com/henrysky/Galaxy10",
    hflip=True,
    read=read,
    needs="h5py",
    # The SHA-256 is on the homepage; the address is the one that their package astroNN downloads from.
    sources=(
        Source(
            f"https://zenodo.org/records/10845026/files/{_FILE}",
            _FILE,
            sha256="19aefc477c41bb7f77ff07599a6b82a038dc042f889a111b0d4d98bb755c1571",
            archive=False,
        ),
    ),
    note="no official split: drawn by data.split_seed; preparing it takes 4 GB of memory",
)
