"""A network as one ONNX file: the same function for any number of images, or a refusal that leaves nothing behind."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mobilebench import models
from mobilebench.export.onnx_file import OPSET, ExportError, Session, export_onnx, onnx_session, read_metadata
from mobilebench.models.cost.counts import deployed

SIDE = 16

Images = NDArray[np.float32]
Written = tuple[nn.Module, Path, Session]


class Toy(nn.Module):
    """A network of two layers with something between them."""

    def __init__(self, odd: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.odd = odd
        self.head = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.odd(self.stem(images)).mean((2, 3)))


class Eigen(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images * torch.linalg.eigvals(images[:, 0, :4, :4]).real[:, :1, None, None]


class Brighter(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images if images.sum() > 0 else -images


class Repeated(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.reshape(2, 4, -1, images.shape[3])


def written(network: nn.Module, path: Path, **metadata: str) -> Session:
    export_onnx(network, path, channels=3, side=SIDE, metadata=metadata)
    return onnx_session(path)


def logits(network: nn.Module, images: Images) -> Images:
    with torch.no_grad():
        return np.asarray(network.eval()(torch.from_numpy(images)))


def some_images(n: int, side: int = SIDE) -> Images:
    return np.random.default_rng(0).normal(size=(n, 3, side, side)).astype(np.float32)


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Written:
    torch.manual_seed(0)
    network = Toy(nn.ReLU())
    network(torch.from_numpy(some_images(8)))  # statistics of batch norm other than those it is made with
    path = tmp_path_factory.mktemp("toy") / "toy.onnx"
    return network, path, written(network, path, classes='["a", "b"]')


@pytest.mark.parametrize("n", [1, 2, 5])
def test_any_number_of_images_gives_the_networks_logits(toy: Written, n: int) -> None:
    network, _, session = toy
    images = some_images(n)
    assert np.abs(session(images) - logits(network, images)).max() < 1e-5


def test_the_network_stays_in_the_mode_it_was_in(toy: Written, tmp_path: Path) -> None:
    network = Toy(nn.Identity()).train()
    written(network, tmp_path / "x.onnx")
    assert all(module.training for module in network.modules())


def test_the_file_is_one_and_says_what_it_was_given_and_no_path(toy: Written) -> None:
    _, path, _ = toy
    assert [file.name for file in path.parent.iterdir()] == ["toy.onnx"]
    assert read_metadata(path) == {"classes": '["a", "b"]'}
    model = onnx.load(path)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", OPSET)]
    assert b".py" not in path.read_bytes()  # the exporter's traces of where each operator came from


def test_rectangles_and_other_channels(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(2, 3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    export_onnx(network, tmp_path / "x.onnx", channels=2, side=(8, 12), metadata={})
    images = np.ones((3, 2, 8, 12), np.float32)
    assert np.allclose(onnx_session(tmp_path / "x.onnx")(images), logits(network, images), atol=1e-6)


def test_training_branches_are_folded(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = models.create("mobileone", 4).eval()
    session = written(network, tmp_path / "x.onnx")
    held = sum(np.prod(tensor.dims) for tensor in onnx.load(tmp_path / "x.onnx").graph.initializer)
    folded, whole = (sum(part.numel() for part in net.parameters()) for net in (deployed(network), network))
    assert held == pytest.approx(folded, rel=0.01)  # equal biases of zeros are kept once
    assert held < 0.95 * whole
    images = some_images(2)
    expected = logits(network, images)
    assert np.abs(session(images) - expected).max() < 1e-4 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (Eigen(), r"aten\.linalg_eig\.default in its layer odd has no counterpart in opset 18"),
        (Brighter(), r"Toy cannot be exported: .*data-dependent.*, in line \d+ of test_onnx_file\.py"),
        (Repeated(), r"any number of images"),
    ],
)
def test_what_the_exporter_cannot_take_is_named_and_leaves_nothing(odd: nn.Module, said: str, tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=said):
        written(Toy(odd), tmp_path / "x.onnx")
    assert list(tmp_path.iterdir()) == []


def test_what_returns_no_logits_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match=r"Conv2d returns \[N, 4, 14, 14\] for N images; expected \[N, classes\]"):
        written(nn.Conv2d(3, 4, 3), tmp_path / "x.onnx")


def test_a_file_that_is_replaced_stays_when_the_new_one_fails(tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(b"earlier")
    with pytest.raises(ExportError):
        written(Toy(Brighter()), path)
    assert path.read_bytes() == b"earlier"


def test_files_that_are_none_are_refused(tmp_path: Path, toy: Written) -> None:
    with pytest.raises(ExportError, match="there is no file"):
        onnx_session(tmp_path / "x.onnx")
    (tmp_path / "x.onnx").write_bytes(toy[1].read_bytes()[:500])
    with pytest.raises(ExportError, match="cannot be read by ONNX Runtime"):
        onnx_session(tmp_path / "x.onnx")
    with pytest.raises(ExportError, match="cannot be read as an ONNX file"):
        read_metadata(tmp_path / "x.onnx")


def test_images_of_another_form_are_refused(toy: Written) -> None:
    with pytest.raises(ExportError, match=r"takes tensor\(float\) \['N', 3, 16, 16\], given were float64"):
        toy[2](some_images(2).astype(np.float64))
    with pytest.raises(ExportError, match=r"given were float32 \[2, 3, 8, 8\]"):
        toy[2](some_images(2, 8))
