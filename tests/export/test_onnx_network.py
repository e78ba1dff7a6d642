"""An ONNX file answers images as the network in PyTorch does, from what it says of itself alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

import onnx
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn

from mobilebench.analysis.answers import TorchNetwork, answer_files
from mobilebench.cli import main
from mobilebench.config.pixels import shown
from mobilebench.execution.classifier import TrainedModel
from mobilebench.execution.model_file import ModelFile, read_model_file
from mobilebench.export.forms import ImageForm
from mobilebench.export.onnx_file import ExportError, write_module
from mobilebench.export.onnx_network import OnnxNetwork

IMAGES = "source/test"


class Tiny(nn.Module):
    """One convolution and a head for two classes: quickly exported, and far from saying the same of every image."""

    def __init__(self) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv, self.head = nn.Conv2d(3, 8, 3), nn.Linear(8, 2)

    def forward(self, images: Tensor) -> Tensor:
        return 8 * self.head(self.conv(images).relu().mean((2, 3)))


class Made(NamedTuple):
    """A network in PyTorch, and as files."""

    network: TorchNetwork
    files: Path


def said_of(made: ModelFile) -> dict[str, str]:
    """Return the metadata of an exported file."""
    plain = ("model", "dataset", "seed", "target", "metric", "eval_resize", "fit")
    lists = {key: json.dumps(getattr(made, key)) for key in ("classes", "mean", "std")}
    sizes = {key: shown(getattr(made, key)) for key in ("resolution", "stored")}
    return {key: str(getattr(made, key)) for key in plain} | lists | sizes


@pytest.fixture(scope="module")
def made(trained_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A network for the images of the trained grid, which are stored at 16 px and taken at 32, as two files."""
    (said,) = trained_folder.glob(".mobilebench/cells/starnet.blobs.0-*/artifacts/model.json")
    model, folder, network = read_model_file(said), tmp_path_factory.mktemp("onnx"), Tiny().eval()
    for from_bytes in (False, True):
        form = ImageForm(model, from_bytes)
        path = folder / ("bytes.onnx" if from_bytes else "floats.onnx")
        write_module(form.module(network), path, form.example(), said_of(model))
    return Made(TorchNetwork(TrainedModel(network, model, None).eval()), folder)


@pytest.mark.parametrize(("name", "off_by"), [("floats", 1e-5), ("bytes", 1e-2)])
def test_a_file_says_of_images_what_the_network_says(made: Made, trained: Path, name: str, off_by: float) -> None:
    network = OnnxNetwork(made.files / f"{name}.onnx")
    assert network.made == ModelFile(**vars(made.network.made) | {"options": {}, "network": ""})
    of_file, of_torch = (answer_files(each, [IMAGES]).answers for each in (network, made.network))
    assert len(of_file) == len(of_torch) == 32
    for a, b in zip(of_file, of_torch, strict=True):
        assert a.image == b.image
        assert dict(a.classes) == pytest.approx(dict(b.classes), abs=off_by)
    assert len({round(answer.classes[0].probability, 2) for answer in of_torch}) > 4


def test_predict_takes_a_file(made: Made, trained: Path) -> None:
    done = CliRunner().invoke(main, ["predict", str(made.files / "floats.onnx"), "source/test/dark", "--json"])
    found = json.loads(done.stdout)
    assert (found["model"], found["dataset"], len(found["answers"])) == ("starnet", "blobs", 16)


def test_a_file_that_does_not_say_enough_is_refused(made: Made, project: Path) -> None:
    model = onnx.load(made.files / "floats.onnx")
    for said in ("classes", "fit"):
        (place,) = (i for i, entry in enumerate(model.metadata_props) if entry.key == said)
        del model.metadata_props[place]
        onnx.save(model, "less.onnx")
        with pytest.raises(ExportError, match=r"less\.onnx does not say what its network expects and means: it has no"):
            OnnxNetwork(Path("less.onnx"))
    with pytest.raises(ExportError, match=r"there is no file gone\.onnx"):
        OnnxNetwork(Path("gone.onnx"))
    done = CliRunner().invoke(main, ["predict", "gone.onnx", "x.png"])
    assert (done.exit_code, "there is no file gone.onnx" in done.stderr) == (2, True)
