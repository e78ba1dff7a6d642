"""Where a user's own images are: one entry of `data_sources` in params.yaml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from mobilebench.evaluation.metrics import MetricError, get_metric, metrics_for
from mobilebench.evaluation.target import Target  # noqa: TC001 - pydantic needs the name at run time

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

    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid", "strict": True}

    def __post_init__(self) -> None:
        if (self.folder is None) == (self.csv is None):
            raise ValueError("data_sources: give exactly one of folder and csv")
        if self.root is not None and self.csv is None:
            raise ValueError("data_sources: root goes with csv only")
        if self.max_megapixels < 1:
            raise ValueError("data_sources: max_megapixels is at least 1")
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
