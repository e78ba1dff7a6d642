"""What a finished run says of its network beside its weights, so that both can be used without the project."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from mobilebench.config.parsing import parse
from mobilebench.config.pixels import InputSize, PixelType, Resolution, input_size, sides
from mobilebench.config.pretrained import Neighbours  # noqa: TC001 - read when model.json is
from mobilebench.config.recipe import Fit  # noqa: TC001 - read when model.json is
from mobilebench.config.suite import Cell
from mobilebench.errors import UserError
from mobilebench.evaluation.metrics import metric_of
from mobilebench.evaluation.target import Target  # noqa: TC001 - likewise
from mobilebench.system.files import read_text
from mobilebench.training.data import Values, statistics

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.recipe import Recipe
    from mobilebench.datasets.packing.packed import Meta
    from mobilebench.tracking.offline import CellTracker
    from mobilebench.training.data import TrainData

WEIGHTS, MODEL = "model.safetensors", "model.json"
ALL_WEIGHTS = (WEIGHTS, "model.pt")  # the second is what versions before this one wrote, with torch.save


@dataclass(frozen=True)
class ModelFile:
    """How a network is built, what images it expects and what its logits mean: the content of model.json."""

    model: str
    dataset: str
    seed: int
    options: dict[str, Any]
    """`model_options` of the recipe it was built with."""
    network: str
    """Its fingerprint; "" in a run of a version that took none."""
    classes: tuple[str, ...]
    """Class names in the order of the logits."""
    resolution: Resolution
    """Side in pixels of the images that the network takes, or [height, width]."""
    eval_resize: int
    """Side in pixels that a stored image is resized to before its centre is cut out; of a rectangle the shorter one."""
    stored: Resolution
    """Side in pixels of the stored image, or [height, width]."""
    fit: Fit
    """How an image becomes the stored one, as in `DataPolicy`."""
    mean: tuple[float, ...]
    """Per channel, of images in [0, 1] (floats as they are); likewise `std`."""
    std: tuple[float, ...]
    target: Target
    metric: str
    model_id: str = ""
    """What the network is built as, where `model` is a name of the suite's own."""
    knn: Neighbours | None = None
    """The rule of a classifier by nearest neighbours on the network without its head."""
    dtype: PixelType = "uint8"
    """The kind of number of the stored images."""

    @property
    def size(self) -> InputSize:
        """The images that the network takes."""
        return input_size(self.resolution, len(self.mean))

    @property
    def cell(self) -> Cell:
        """The cell the network was trained for."""
        return Cell(self.model, self.dataset, self.seed)

    def to_json(self) -> str:
        """Return the text of model.json."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False) + "\n"


def describe(cell: Cell, recipe: Recipe, meta: Meta, network: str) -> ModelFile:
    """Return what there is to say of a cell's network. network: its fingerprint."""
    wanted = wanted_by_weights(recipe.network_of(cell.model), recipe)
    mean, std = statistics(recipe.normalize, meta.mean, meta.std, wanted.statistics)
    resized = wanted.eval_resize if recipe.eval_resize == "weights" else recipe.eval_resize
    return ModelFile(
        cell.model, cell.dataset, cell.seed, dict(recipe.model_options), network, meta.classes,
        recipe.resolution, resized or min(sides(recipe.resolution)), _resolution(meta.shape[1:3]), meta.policy.fit,
        mean, std, meta.target, metric_of(meta.metric, meta.target).id, recipe.network or "",
        recipe.knn, meta.dtype,
    )  # fmt: skip


def weights_in(folder: Path) -> Path | None:
    """Return the weights among the artifacts of a run, whichever version wrote them; None where there are none."""
    return next((path for name in ALL_WEIGHTS if (path := folder / name).is_file()), None)


def stored_weights(tracker: CellTracker, run_id: str, folder: Path) -> Path | None:
    """Fetch the weights of a run into a folder and return their path, None where the store has none of it."""
    found = (tracker.artifact(run_id, name, folder) for name in ALL_WEIGHTS)
    return next((path for path in found if path is not None), None)


def _resolution(size: tuple[int, int]) -> Resolution:
    """Return one number of a square, as model.json of before there were rectangles has it."""
    return size[0] if size[0] == size[1] else size


class Wanted(NamedTuple):
    """What pretrained weights want of images, as far as the recipe leaves it to them; None for the rest."""

    statistics: tuple[Values, Values] | None = None
    """Mean and std."""
    eval_resize: int | None = None
    """Pixels that an image is resized to at evaluation."""


def wanted_by_weights(model_id: str, recipe: Recipe) -> Wanted:
    """Return what the weights that a model's id names want of images. Raises WeightsError where nothing says it."""
    if "weights" not in {recipe.normalize, recipe.eval_resize}:
        return Wanted()
    from mobilebench.models.weights.preprocessing import preprocessing

    said = preprocessing(model_id)
    return Wanted(
        (said.mean, said.std) if recipe.normalize == "weights" else None,
        said.eval_resize(recipe.resolution) if recipe.eval_resize == "weights" else None,
    )


def with_wanted(data: TrainData, model_id: str, recipe: Recipe) -> TrainData:
    """Return a dataset for the trainer of a network, with what its weights want. Raises as `wanted_by_weights`."""
    wanted = wanted_by_weights(model_id, recipe)
    return replace(data, pretrained=wanted.statistics, eval_resize=wanted.eval_resize)


def read_model_file(path: Path) -> ModelFile:
    """Return the content of a model.json. Raises FileNotFoundError, and UserError where it is damaged."""
    try:
        return parse(ModelFile, json.loads(read_text(path, "the JSON of a trained network")), f"{path}: ")
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); expected the JSON that a finished run keeps") from None
