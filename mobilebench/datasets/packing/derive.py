"""From a packed dataset to one with fewer train images, which has rows of the parent's images and no pixels itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.datasets.labels import class_numbers, row_labels
from mobilebench.datasets.less_data import draw, share
from mobilebench.datasets.packing.moments import moments, of_rows
from mobilebench.datasets.packing.packed import (
    INDEX,
    LABELS,
    META,
    ROWS,
    Meta,
    Parent,
    content_digest,
    index_text,
)
from mobilebench.datasets.spec import SPLITS, DataError, Entry
from mobilebench.datasets.splits import manifest_digest

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.data import DerivedData
    from mobilebench.datasets.packing.packed import Int64s, Packed


def derive(dataset_id: str, parent: Packed, settings: DerivedData, identity: str, folder: Path) -> Meta:
    """Write the files of a derived dataset into `folder`, meta.json last. Its mean and std are of its own train images.

    identity: `packing_identity` of it. Raises DataError for an amount that the parent's classes cannot give.
    """
    train = parent.rows("train")
    some = _drawn(dataset_id, parent, settings, train)
    rows = np.sort(np.concatenate([some, parent.rows("val"), parent.rows("test")]))
    index = [parent.index[row] for row in rows]
    array, labels = parent.arrays(rows)[0], parent.labels[rows]
    text = index_text(index).encode()
    shape = (len(rows), *parent.meta.shape[1:])
    mean, std = moments(of_rows(array, some), parent.meta.dtype)
    splits = [line.split for line in index]
    meta = replace(
        parent.meta,
        id=dataset_id,
        counts={split: splits.count(split) for split in SPLITS},
        mean=mean,
        std=std,
        digest=content_digest(shape, parent.meta.classes, labels, text, parent.meta.dtype),
        split_digest=manifest_digest([Entry(*line[:4]) for line in index]),
        identity=identity,
        official=False,
        shape=shape,
        # How many of the images were enlarged is known of all of the parent's together only.
        storage={key: value for key, value in parent.meta.storage.items() if key != "enlarged"},
        provenance={**parent.meta.provenance, "drawn": _said(parent, settings, train, some)},
        parent=Parent(parent.meta.id, parent.meta.digest, len(train)),
    )
    np.save(folder / ROWS, rows)
    np.save(folder / LABELS, labels)
    (folder / INDEX).write_bytes(text)
    (folder / META).write_text(meta.to_json(), encoding="utf-8")
    return meta


def _drawn(dataset_id: str, parent: Packed, settings: DerivedData, train: Int64s) -> Int64s:
    """Return the rows of the parent's train images that are drawn, ascending."""
    lines = [parent.index[row] for row in train]
    try:
        places = draw(
            [line.label for line in lines],
            [line.path for line in lines],
            [line.group for line in lines],
            settings,
            parent.meta.classes,
        )
    except DataError as error:
        raise DataError(f"data_sources.{dataset_id}, of {parent.meta.id}: {error}.") from error
    return train[places]


def _said(parent: Packed, settings: DerivedData, train: Int64s, some: Int64s) -> str:
    """Return in words what was drawn, and of which classes there are more than their share."""
    how = f"{settings.amount}, seed {settings.seed}"
    said = f"{len(some):,} of the {len(train):,} train images of {parent.meta.id} ({how})"
    if any(parent.index[row].group for row in train):
        said += ", groups whole"
    if settings.per_class is not None:
        return said
    wanted = settings.max_train or share(settings.train_fraction or 0, len(train))
    whole, part = (
        Counter(number for label in row_labels(parent.labels[rows]) for number in class_numbers(label))
        for rows in (train, some)
    )
    kept = [
        parent.meta.classes[number]
        for number in sorted(part)
        if part[number] == 1 and whole[number] * wanted < len(train)
    ]
    if kept:
        said += f"; of {len(kept)} classes one image, more than their share: {', '.join(kept[:5])}"
        said += ", ..." if len(kept) > 5 else ""
    return said
