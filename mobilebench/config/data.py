"""Where a user's own images are: one entry of `data_sources` in params.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True)
class OwnData:
    """Your own images as a dataset: exactly one of `folder` and `csv`. Raises ValueError naming the key."""

    folder: str | None = None
    """FOLDER/<class>/<image>, split 80/20 by `data.split_seed`, or FOLDER/{train,test[,val]}/<class>/<image>, the split
    folders in any usual spelling (Train, training, validation ...)."""

    csv: str | None = None
    """A file with columns path,label[,split,group]. Without a split column, 20 % of each class are held out as test;
    a group stays whole."""

    root: str | None = None
    """The folder that the paths of the CSV start from; null for the CSV's own folder."""

    test: str | None = None
    """Name of the split folder, or value of the CSV's split column, that is the test part where it is not called so:
    `val` for ImageNet's layout; null for test."""

    max_megapixels: int = 90
    """Images of more than so many million pixels are refused, for a small file can hold billions."""

    hflip: bool = True
    """False where a mirrored image is no longer of its class."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        if (self.folder is None) == (self.csv is None):
            raise ValueError("data_sources: give exactly one of folder and csv")
        if self.root is not None and self.csv is None:
            raise ValueError("data_sources: root goes with csv only")
        if self.max_megapixels < 1:
            raise ValueError("data_sources: max_megapixels is at least 1")
