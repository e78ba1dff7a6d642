"""MIT Indoor-67: indoor scenes, 80 train and 20 test images a class by the authors' lists."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.datasets.acquire.listing import locate
from mobilebench.datasets.acquire.split_lists import lines
from mobilebench.datasets.spec import DataError, DatasetSpec, Entry, Reading, Source

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import DataPolicy

_LISTS = {"TrainImages.txt": "train", "TestImages.txt": "test"}


def read(raw: Path, _policy: DataPolicy) -> Reading:
    """List Images/<class>/<image> as TrainImages.txt and TestImages.txt say; the tar holds more images than they do."""
    root = locate(raw, "TrainImages.txt", "TrainImages.txt and TestImages.txt beside the folder Images")
    listed = [(name, split) for file, split in _LISTS.items() for name in lines(root / file)]
    odd = [name for name, _ in listed if name.count("/") != 1]
    if odd:
        raise DataError(f"{root}: the lists hold {odd[0]!r}, expected <class>/<image>; fetch them again.")
    images = locate(raw, f"Images/{listed[0][0]}", "indoorCVPR_09.tar unpacked (Images/<class>/<image>)")
    classes = tuple(sorted({name.partition("/")[0] for name, _ in listed}))
    number = {name: i for i, name in enumerate(classes)}
    entries = [Entry(name, number[name.partition("/")[0]], split) for name, split in listed]
    return Reading(classes, entries, images / "Images")


SPEC = DatasetSpec(
    id="indoor67",
    title="MIT Indoor-67, indoor scenes",
    domain="scene",
    classes=67,
    counts={"train": 5360, "test": 1340},
    licence="none stated",
    citation="A. Quattoni and A. Torralba, Recognizing Indoor Scenes, CVPR 2009",
    homepage="https://web.mit.edu/torralba/www/indoor.html",
    hflip=True,
    read=read,
    sources=(
        Source("http://groups.csail.mit.edu/vision/LabelMe/NewImages/indoorCVPR_09.tar", "indoorCVPR_09.tar"),
        Source("http://web.mit.edu/torralba/www/TrainImages.txt", "TrainImages.txt", archive=False),
        Source("http://web.mit.edu/torralba/www/TestImages.txt", "TestImages.txt", archive=False),
    ),
)
