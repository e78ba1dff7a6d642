"""What a trained network says of image files: classes with their probabilities."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from mobilebench.analysis.image_files import Unreadable, image_files
from mobilebench.config.pixels import sides
from mobilebench.datasets.packing.decode import Form, ImageError, decode
from mobilebench.errors import UserError
from mobilebench.evaluation.predictions import probabilities_of
from mobilebench.evaluation.target import ONE_CLASS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mobilebench.execution.classifier import TrainedModel
    from mobilebench.execution.model_file import ModelFile

BATCH = 32  # images that are read and answered at once
RGB = 3


class Network(Protocol):
    """A trained network that answers, whatever runs it."""

    @property
    def made(self) -> ModelFile:
        """What images it expects and what its logits mean."""

    def logits(self, stored: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return logits [N, C] of images [N, H, W, 3] as its data store them."""


@dataclass(frozen=True)
class TorchNetwork:
    """A finished run's network, run by PyTorch."""

    model: TrainedModel
    """As `load_model` returns it."""

    @property
    def made(self) -> ModelFile:
        """See `Network`."""
        return self.model.made

    def logits(self, stored: NDArray[np.uint8]) -> NDArray[np.float32]:
        """See `Network`."""
        import torch

        from mobilebench.execution.classifier import network_input

        with torch.inference_mode():
            found = self.model(network_input(stored, self.made).to(self.model.get_buffer("scale").device))
        return np.asarray(found.float().cpu().numpy())


class ClassProbability(NamedTuple):
    """A class and how probable the network takes it to be."""

    name: str
    probability: float
    """Softmax over the classes; where an image may have several labels, the class's own sigmoid."""


@dataclass(frozen=True)
class Answer:
    """What a network says of one image."""

    image: Path
    """The file."""
    said: tuple[str, ...]
    """The class of the largest logit; of several labels every class with a probability above 1/2, maybe none."""
    classes: tuple[ClassProbability, ...]
    """All classes, the most probable first."""


@dataclass(frozen=True)
class Answers:
    """What a network says of several images."""

    answers: tuple[Answer, ...]
    """In the order of the files."""
    unreadable: tuple[Unreadable, ...]
    """What was named and could not be read, with the reason."""


def answer_files(network: Network, names: Sequence[str]) -> Answers:
    """Return what a network says of image files, folders of them and patterns (`image_files`).

    The images go the way of the test images, and have the logits that these had. One that cannot be read is named among
    the others' answers. Raises UserError for a network of other than 8-bit RGB images, for logits that are not finite,
    and where no image at all can be read.
    """
    made = network.made
    if len(made.mean) != RGB or made.dtype != "uint8":
        raise UserError(
            f"{made.model} on {made.dataset} takes images of {len(made.mean)} channels of {made.dtype}; expected a "
            "network of 8-bit RGB images. Give it arrays from Python: `mobilebench.load_model`"
        )
    files, unreadable = image_files(names)
    answers: list[Answer] = []
    for first in range(0, len(files), BATCH):
        chunk, failed = _read(files[first : first + BATCH], made)
        unreadable += failed
        if chunk:
            answers += _answers(network, chunk)
    if not answers:
        raise UserError("no image could be read: " + "; ".join(f"{name}: {reason}" for name, reason in unreadable))
    return Answers(tuple(answers), tuple(unreadable))


def stored_picture(file: Path, made: ModelFile) -> NDArray[np.uint8]:
    """Return an image file as the network's data store it: uint8 [H, W, 3]. Raises ImageError."""
    image, _ = decode(file, Form(sides(made.stored), made.fit))
    return np.asarray(image)


def _read(files: Iterable[Path], made: ModelFile) -> tuple[dict[Path, NDArray[np.uint8]], list[Unreadable]]:
    read, unreadable = {}, []
    for file in files:
        try:
            read[file] = stored_picture(file, made)
        except ImageError as error:
            unreadable.append(Unreadable(str(file), str(error)))
    return read, unreadable


def _answers(network: Network, stored: dict[Path, NDArray[np.uint8]]) -> list[Answer]:
    made = network.made
    logits = network.logits(np.stack(list(stored.values())))
    if not np.isfinite(logits).all():
        raise UserError(
            f"{made.model} on {made.dataset} gives logits that are not finite; it has diverged: train it again with a "
            "smaller learning rate"
        )
    probabilities = probabilities_of(made.target, logits)
    return [_answer(made, *each) for each in zip(stored, logits, probabilities, strict=True)]


def _answer(made: ModelFile, file: Path, logits: NDArray[np.float32], probabilities: NDArray[np.float64]) -> Answer:
    order = np.argsort(-logits, kind="stable")
    said = order[:1] if made.target in ONE_CLASS else order[logits[order] > 0]
    classes = tuple(ClassProbability(made.classes[i], float(probabilities[i])) for i in order)
    return Answer(file, tuple(made.classes[i] for i in said), classes)
