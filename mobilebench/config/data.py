"""An entry of `data_sources` in params.yaml: where a user's own images are, or which part of another set to take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Discriminator, Tag

from mobilebench.config.pixels import PixelType  # noqa: TC001 - pydantic needs the name at run time
from mobilebench.evaluation.metrics import MetricError, get_metric, metrics_for
from mobilebench.evaluation.target import Target  # noqa: TC001 - pydantic needs the name at run time

Domain = Literal[
    "natural",
    "fine-grained",
    "texture",
    "surface defect",
    "remote sensing",
    "plant",
    "astronomy",
    "medical",
    "scene",
    "camera trap",
    "handwriting",
    "generated",
]
"""What images are of: datasets of one domain are read together where results are shown by domain."""

MOST_CHANNELS = 1024  # hyperspectral sensors have a few hundred; more is a slip

SEPARATOR = "|"
"""What stands between the classes in a label of several."""


@dataclass(frozen=True)
class OwnData:
    """Your own images as a dataset: exactly one of `folder` and `csv`. Raises ValueError naming the key."""

    folder: str | None = None
    """FOLDER/<class>/<image>, split 80/20 by `data.split_seed`, or FOLDER/{train,test[,val]}/<class>/<image>, the split
    folders in any usual spelling (Train, training, validation ...)."""

    csv: str | None = None
    """A file with columns path,label[,split,group]. Without a split column, 20 % of each class are held out as test;
    a group stays whole. Of a multi_label target, a label is `a|b|c`, empty for no class; or there is no column `label`,
    and every further column is a class, 0 or 1 in each line."""

    root: str | None = None
    """The folder that the paths of the CSV start from; null for the CSV's own folder."""

    test: str | None = None
    """Name of the split folder, or value of the CSV's split column, that is the test part where it is not called so:
    `val` for ImageNet's layout; null for test."""

    max_megapixels: int = 90
    """Images of more than so many million pixels are refused, for a small file can hold billions."""

    hflip: bool = True
    """False where a mirrored image is no longer of its class."""

    target: Target = "single_label"
    """What is predicted of an image. ordinal: one class, and their order has a meaning. multi_label: any number of
    classes, none included; it needs a CSV."""

    classes: tuple[str | int, ...] | None = None
    """All classes in their order; another one in the images is refused. null for those that the images have, whole
    numbers in a CSV by value, others by name. An ordinal target needs it where its classes are not whole numbers."""

    metric: str | None = None
    """Id of the metric that this data is read by where nothing else is asked for; null for the target's default."""

    images_from: str | None = None
    """The collection that the images come from, where networks are pretrained on it: `ImageNet`. Training and report
    then name the weights that know these images; no result changes by it."""

    channels: int = 3
    """Channels of the images; files of others than 3 are TIFF, .npy or what Pillow reads with so many channels."""

    dtype: PixelType = "uint8"
    """The kind of number of their pixels; uint16 and float32 are stored as they are, nothing is scaled."""

    domain: Domain | None = None
    """The domain that the images belong to where results are shown by domain; null for none. No result changes by it.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        if (self.folder is None) == (self.csv is None):
            raise ValueError("data_sources: give exactly one of folder and csv")
        if self.root is not None and self.csv is None:
            raise ValueError("data_sources: root goes with csv only")
        if self.max_megapixels < 1:
            raise ValueError("data_sources: max_megapixels is at least 1")
        if not 1 <= self.channels <= MOST_CHANNELS:
            raise ValueError(f"data_sources: channels is {self.channels}; allowed: 1 to {MOST_CHANNELS}")
        if self.target == "multi_label" and self.csv is None:
            raise ValueError(
                "data_sources: target multi_label goes with csv only, for in a folder each image has one class: list"
                " the images in a CSV whose label is a|b|c, or which has one 0/1 column a class"
            )
        if self.classes is not None:
            self._check_classes(self.class_names)
        if self.metric is not None:
            self._check_metric(self.metric)

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names in `classes`, without blanks around them; () where it is not given."""
        return tuple(str(name).strip() for name in self.classes or ())

    def _check_classes(self, names: tuple[str, ...]) -> None:
        twice = sorted({name for name in names if names.count(name) > 1})
        if len(names) < 2 or twice or "" in names:
            wrong = f"{twice[0]!r} more than once" if twice else "an empty name" if "" in names else f"{len(names)}"
            raise ValueError(f"data_sources: classes has {wrong}; expected two names or more, each once")
        if self.target == "multi_label" and any(SEPARATOR in name for name in names):
            raise ValueError(f"data_sources: a class of a multi_label target cannot have {SEPARATOR} in its name")

    def _check_metric(self, name: str) -> None:
        try:
            metric = get_metric(name)
        except MetricError as error:
            raise ValueError(f"data_sources: metric: {error}") from None
        if self.target not in metric.targets:
            allowed = ", ".join(metric.id for metric in metrics_for(self.target))
            raise ValueError(
                f"data_sources: metric {name} is not for a {self.target} target; for it there are {allowed}"
            )


@dataclass(frozen=True)
class DerivedData:
    """A dataset that has fewer train images than another, its parent, and the parent's val and test.

    Exactly one of `train_fraction`, `per_class` and `max_train`. Raises ValueError naming the key.
    """

    of: str
    """Id of the parent: a built-in dataset, or own images in `data_sources`."""

    train_fraction: float | None = None
    """This share of the parent's train images, rounded down, stratified by class; above 0, at most 1. At least one
    image of each class is kept."""

    per_class: int | None = None
    """So many train images of each class; 1 or more. With groups or several labels an image, at least so many."""

    max_train: int | None = None
    """At most so many of the parent's train images, stratified by class; 1 or more."""

    seed: int = 0
    """Seed of the draw. With the same seed, the smaller of two sets lies inside the larger."""

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        given = [key for key in ("train_fraction", "per_class", "max_train") if getattr(self, key) is not None]
        if len(given) != 1:
            raise ValueError(
                f"data_sources: of {self.of} has {' and '.join(given) or 'no amount'}; give exactly one of"
                " train_fraction, per_class and max_train"
            )
        if self.train_fraction is not None and not 0 < self.train_fraction <= 1:
            raise ValueError(f"data_sources: train_fraction is {self.train_fraction}; allowed: 0 < fraction <= 1")
        for key in ("per_class", "max_train"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ValueError(f"data_sources: {key} is {value}; allowed: 1 or more")
        if self.seed < 0:
            raise ValueError(f"data_sources: seed is {self.seed}; allowed: 0 or more")

    @property
    def amount(self) -> str:
        """What is taken, as it is written: `train_fraction 0.1`."""
        return next(
            f"{key} {value}"
            for key in ("train_fraction", "per_class", "max_train")
            if (value := getattr(self, key)) is not None
        )


def _kind(entry: Any) -> str:
    """Return which kind of entry was meant, so that errors are about that one alone."""
    is_derived = "of" in entry if isinstance(entry, dict) else isinstance(entry, DerivedData)
    return "DerivedData" if is_derived else "OwnData"


DataSource = Annotated[
    Annotated[OwnData, Tag("OwnData")] | Annotated[DerivedData, Tag("DerivedData")], Discriminator(_kind)
]
"""One entry of `data_sources`. The tags are names of classes, which error messages leave out of a key."""
