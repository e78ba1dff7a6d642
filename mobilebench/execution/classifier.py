"""Trained networks that take plain images: what `register` makes versions of, and what `load_model` returns."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from mobilebench import models
from mobilebench.config.pixels import UNITS, sides
from mobilebench.datasets.packing.decode import stored_image
from mobilebench.errors import UserError
from mobilebench.execution.exported import read_safetensors
from mobilebench.execution.network import as_trained
from mobilebench.models.channels import RGB, with_channels
from mobilebench.models.fingerprint import fingerprint
from mobilebench.models.weights.start import find_head
from mobilebench.training import checkpoint
from mobilebench.training.augment.crop import resize_centre

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mobilebench.execution.model_file import ModelFile

Images = Tensor | Image.Image | Sequence[Image.Image]


class Classifier(nn.Module):
    """A trained network that normalises its input itself: float32 [N, C, R, R], RGB in [0, 1] -> logits [N, K]."""

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("scale", (1 / torch.tensor(std)).view(1, -1, 1, 1))
        self.register_buffer("shift", -(torch.tensor(mean) / torch.tensor(std)).view(1, -1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of a batch of images."""
        logits: Tensor = self.network(images * self.get_buffer("scale") + self.get_buffer("shift"))
        return logits


class TrainedModel(Classifier):
    """A finished run's network in eval mode. It takes images as they are and returns logits [N, classes].

    Images are a float tensor [N, 3, R, R] in [0, 1] with R = `resolution`, one PIL image, or several of any size. A PIL
    image goes the way of the test images: to the form that is stored, as the data's policy says, then to R. A network
    for other than 8-bit RGB takes tensors only, [N, C, R, R], whole numbers divided by the largest of their kind.
    """

    def __init__(self, network: nn.Module, made: ModelFile, run_id: str | None) -> None:
        super().__init__(network, made.mean, made.std)
        self.made = made
        """What its `model.json` says: how it is built, what images it expects and what its logits mean."""
        self._channels = len(made.mean)
        self._form = f"[N, {self._channels}, {', '.join(map(str, sides(made.resolution)))}]"
        self.run_id = run_id
        """MLflow's id of its run; None for a folder that is of no delivered journal."""
        self.classes = made.classes
        """Class names in the order of the logits."""
        self.resolution = made.resolution
        """Side in pixels of the images that it takes, or their height and width."""
        self.metric = made.metric
        """Id of the metric that its dataset is read by."""
        self.model, self.dataset, self.seed = made.model, made.dataset, made.seed

    def forward(self, images: Images) -> Tensor:
        """Return the logits [N, classes]. Raises UserError for images of another form."""
        if not isinstance(images, Tensor):
            return super().forward(self.preprocess(images))
        if not images.is_floating_point() or images.ndim != 4 or images.shape[1] != self._channels:
            unit = UNITS[self.made.dtype]
            form = f"{self.made.dtype} becomes that with `images.float() / {unit}`"
            raise UserError(
                f"images are {images.dtype} {list(images.shape)}; expected floats {self._form}"
                f"{'' if unit == 1 else f' in [0, 1]. {form}'}"
            )
        return super().forward(images)

    def preprocess(self, images: Image.Image | Sequence[Image.Image]) -> Tensor:
        """Return PIL images as the tensor float32 [N, 3, R, R] in [0, 1] that the network takes.

        Raises UserError for what is no PIL image.
        """
        several = [images] if isinstance(images, Image.Image) else list(images)
        wrong = next((image for image in several if not isinstance(image, Image.Image)), None)
        if wrong is not None or not several:
            found = "none" if wrong is None else f"a {type(wrong).__name__}"
            raise UserError(f"expected a float tensor [N, 3, R, R] in [0, 1] or PIL images; found {found}")
        made, home = self.made, self.get_buffer("scale").device
        if self._channels != RGB or made.dtype != "uint8":
            raise UserError(
                f"{made.model} on {made.dataset} takes images of {self._channels} channels of {made.dtype}, which no "
                f"PIL image has; give it a float tensor {self._form}"
            )
        stored = np.stack([np.asarray(stored_image(image, sides(made.stored), made.fit)) for image in several])
        return network_input(stored, made).to(home)


def network_input(stored: NDArray[np.uint8], made: ModelFile) -> Tensor:
    """Return stored images [N, H, W, 3] as the test images come to a network: float32 [N, 3, R, R] in [0, 1]."""
    return resize_centre(torch.from_numpy(stored), made.eval_resize, made.resolution)


def classifier(made: ModelFile, weights: Path) -> Classifier:
    """Return a network with its weights, in eval mode; raises as `network_of`."""
    return Classifier(network_of(made, weights), made.mean, made.std).eval()


def trained_model(made: ModelFile, weights: Path, run_id: str | None) -> TrainedModel:
    """Return a finished run's network in eval mode; raises as `network_of`.

    Warns where its code is no longer that of the run: the weights fit, and the logits may be others.
    """
    network = _drawn(made)
    if made.network and fingerprint(made.model_id or made.model, network) != made.network:
        warnings.warn(
            f"the code of {made.model} is not what {made.cell.name} was trained with; its logits may differ from the "
            "run's",
            stacklevel=3,
        )
    return TrainedModel(_with_weights(network, made, weights), made, run_id).eval()


def network_of(made: ModelFile, weights: Path) -> nn.Module:
    """Return the network with the weights of a file.

    Raises UserError where the file is missing, damaged or of another network, and where none of the name is known.
    """
    return _with_weights(_drawn(made), made, weights)


def _drawn(made: ModelFile) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        return models.create(made.model_id or made.model, len(made.classes), **made.options)


def _with_weights(network: nn.Module, made: ModelFile, weights: Path) -> nn.Module:
    is_of_torch = weights.suffix != ".safetensors"  # the file of a run that a version before this one trained
    state = checkpoint.load(weights) if is_of_torch else read_safetensors(weights)
    if state is None:
        raise UserError(f"there are no weights at {weights}")
    size = made.size
    network = with_channels(network, size.channels, size[:2], pretrained=False)  # its filters are replaced below
    if made.knn:
        head = find_head(made.model_id or made.model, len(made.classes), made.options).names
        network = as_trained(network, head, made.knn, len(made.classes), made.target)
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{weights} does not fit {made.model} as it is built here ({reason}); use the version of its package that "
            "the run was trained with"
        ) from None
    return network
