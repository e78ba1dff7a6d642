"""What a trainer is given: packed images, their labels and which rows belong to which split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from mobilebench.config.pixels import UNITS, sides
from mobilebench.evaluation.target import ONE_CLASS
from mobilebench.training.errors import TrainingError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mobilebench.config.recipe import Recipe
    from mobilebench.evaluation.target import Target

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

Values = tuple[float, ...]
"""A number for each channel."""
Normalize = Literal["dataset", "imagenet", "half", "weights"]


@dataclass(frozen=True)
class Split:
    """One split of a packed dataset.

    images: [N, H, W, C] of bytes, 16-bit or 32-bit floats, may be a memory map and holds all splits; labels: class
    numbers [N], or 0 and 1 [N, C] where an image has any number of classes; rows: int64 [n], the row numbers that
    belong to this split. Raises TrainingError when the arrays do not fit each other.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64] | NDArray[np.uint8]
    rows: NDArray[np.int64]

    def __post_init__(self) -> None:
        shape = self.images.shape
        if self.images.dtype.name not in UNITS or len(shape) != 4:
            raise TrainingError(
                f"images are {self.images.dtype} {list(shape)}; expected {', '.join(UNITS)} [N, H, W, C]"
            )
        if self.labels.shape[:1] != shape[:1] or self.labels.ndim > 2:
            raise TrainingError(
                f"labels have shape {list(self.labels.shape)}; expected [{shape[0]}], one per image, or [{shape[0]}, C]"
            )
        if len(self.rows) and (self.rows.min() < 0 or self.rows.max() >= shape[0]):
            raise TrainingError(f"rows reach {self.rows.max()}; expected row numbers below {shape[0]}")

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of a stored image in pixels."""
        return int(self.images.shape[1]), int(self.images.shape[2])

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return int(self.images.shape[3])


@dataclass(frozen=True)
class TrainData:
    """A dataset as the loop sees it.

    train: what is learnt from; val: what an epoch may be chosen on, None where there is none; test: what is read at the
    end, None for a trial, which has no business with it. mean, std: per channel over the train split, in `UNITS`;
    hflip: whether a mirror image keeps its label; target: what is predicted; metric: id of the metric that epochs are
    read by, "" for the target's default; pretrained: mean and std that pretrained weights want, None where there are
    none; eval_resize: pixels that an image is resized to at evaluation where the recipe leaves that to the weights.
    """

    train: Split
    val: Split | None
    test: Split | None
    mean: Values
    std: Values
    num_classes: int
    hflip: bool = True
    target: Target = "single_label"
    metric: str = ""
    pretrained: tuple[Values, Values] | None = None
    eval_resize: int | None = None

    def __post_init__(self) -> None:
        for name, split in self.splits.items():
            if not len(split):
                raise TrainingError(f"the {name} split is empty; expected at least one image")
            labels = split.labels[split.rows]
            if self.target in ONE_CLASS:
                form, most = labels.ndim == 1, self.num_classes - 1
            else:
                form, most = labels.shape[1:] == (self.num_classes,), 1
            if not form:
                raise TrainingError(
                    f"the {name} split has labels of shape {list(labels.shape)}, which is not that of a {self.target} "
                    f"target with {self.num_classes} classes"
                )
            if labels.min() < 0 or labels.max() > most:
                raise TrainingError(
                    f"the {name} split has labels from {labels.min()} to {labels.max()}; expected 0 to {most}"
                )

    @property
    def splits(self) -> dict[str, Split]:
        """The splits that there are, by name."""
        found = {"train": self.train, "val": self.val, "test": self.test}
        return {name: split for name, split in found.items() if split is not None}

    def statistics(self, kind: Normalize) -> tuple[Values, Values]:
        """Mean and std that images are normalised with. Raises TrainingError as `statistics`."""
        return statistics(kind, self.mean, self.std, self.pretrained)

    def resized_to(self, recipe: Recipe) -> int:
        """Return the pixels that an image is resized to at evaluation. Raises TrainingError where nothing says it."""
        if recipe.eval_resize != "weights":
            return recipe.eval_resize or min(sides(recipe.resolution))
        if self.eval_resize is None:
            raise TrainingError("eval_resize is weights, and what pretrained weights want was not given")
        return self.eval_resize


def statistics(
    kind: Normalize, mean: Values, std: Values, pretrained: tuple[Values, Values] | None
) -> tuple[Values, Values]:
    """Mean and std per channel that images are normalised with.

    mean, std: those of the train split; pretrained: what pretrained weights want. Raises TrainingError where this is
    asked for and not known.
    """
    if kind == "weights":
        if pretrained is None:
            raise TrainingError("normalize is weights, and no mean and std of pretrained weights were given")
        return pretrained
    half = (0.5,) * len(mean)
    return {"dataset": (mean, std), "imagenet": IMAGENET, "half": (half, half)}[kind]
