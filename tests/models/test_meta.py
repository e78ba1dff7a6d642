"""Networks without values: the same shapes as with them, and the sizes they take."""

import re

import pytest
import torch

from mobilebench import models
from mobilebench.models import meta
from mobilebench.models.meta import create_on_meta, size_problem


@pytest.fixture(autouse=True)
def forgotten() -> None:
    meta._tried.cache_clear()


@pytest.mark.parametrize("model_id", ["starnet", "torchvision:regnet_y_400mf", "timm:resnet10t"])
def test_shapes_are_those_of_the_network_with_values(model_id: str) -> None:
    state = torch.get_rng_state()
    shapes = [(name, value.shape) for name, value in create_on_meta(model_id, 3, {}).state_dict().items()]
    assert torch.equal(state, torch.get_rng_state())
    built = models.create(model_id, 3)
    assert shapes == [(name, value.shape) for name, value in built.state_dict().items()]
    assert all(value.device.type == "meta" for value in create_on_meta(model_id, 3, {}).state_dict().values())


@pytest.mark.parametrize(
    ("model_id", "size", "found", "sizes", "img_size"),
    [
        ("timm:deit_tiny_patch16_224.fb_in1k", 256, "Input height .256. doesn't match model .224.", "224", True),
        ("timm:mixer_b16_224.goog_in21k_ft_in1k", 256, "doesn't match model .224.", "224", False),
        ("timm:swin_base_patch4_window7_224.ms_in1k", 256, "doesn't match model .224.", "224", True),
        ("wavemix_192_16@file:w.pth", 260, "must be multiples of 32 px", "256 and 288", False),
        ("timm:inception_resnet_v2.tf_in1k", 64, "Kernel size can't be greater", "96 and 128", False),
        ("timm:dla46_c.in1k", 260, "The size of tensor a", "256 and 288", False),
    ],
)
def test_a_size_that_is_not_taken_is_named_with_those_that_are(
    model_id: str, size: int, found: str, sizes: str, img_size: bool
) -> None:
    problem = size_problem(model_id, {}, size, pretrained=True)
    assert problem.startswith(f"{model_id}: ")
    assert f"cannot take images of {size} px" in problem
    assert re.search(found, problem)
    assert f'It takes {sizes} px: set the resolution for it alone, `- {{models: ["{model_id}"]' in problem
    assert (f"set: {{model_options: {{img_size: {size}}}}}" in problem) == img_size


@pytest.mark.parametrize(
    ("model_id", "options", "size"),
    [
        ("timm:deit_tiny_patch16_224", {}, 224),
        ("timm:deit_tiny_patch16_224", {"img_size": 256}, 256),
        ("wavemix_192_16", {}, 256),
        ("shufflenet", {}, 32),
        ("torchvision:regnet_y_400mf", {}, 256),
    ],
)
def test_a_size_that_is_taken_is_no_problem(model_id: str, options: dict[str, object], size: int) -> None:
    assert size_problem(model_id, options, size, pretrained=False) == ""


def test_from_scratch_a_mixer_may_be_built_for_another_size() -> None:
    problem = size_problem("timm:mixer_s16_224", {"drop_rate": 0.1}, 256, pretrained=False)
    assert "by `set: {model_options: {drop_rate: 0.1, img_size: 256}}` there" in problem


@pytest.mark.parametrize(
    "model_id",
    ["timm:no_such_network", "torchvision:inception_v3"],  # the latter returns two answers in training
)
def test_other_faults_are_left_to_the_training(model_id: str) -> None:
    assert size_problem(model_id, {}, 64, pretrained=False) == ""


def test_a_network_is_tried_once_at_a_size_whatever_its_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []
    original = meta._refusal
    monkeypatch.setattr(meta, "_refusal", lambda network, size: tried.append(size) or original(network, size))
    for weights in ("", "@file:a.pth", "@file:b.pth"):
        assert size_problem(f"shufflenet{weights}", {}, 32, pretrained=False) == ""
    assert size_problem("shufflenet", {}, 64, pretrained=False) == ""
    assert tried == [32, 64]


def test_what_is_refused_without_values_is_asked_again_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that computes with values in its forward is no network of another size."""
    original = models.create

    def read_a_value(_: torch.nn.Module, images: tuple[torch.Tensor]) -> None:
        images[0].sum().item()

    def with_values(*arguments: object, **options: object) -> torch.nn.Module:
        network = original(*arguments, **options)
        network.register_forward_pre_hook(read_a_value)
        return network

    monkeypatch.setattr(models, "create", with_values)
    assert size_problem("shufflenet", {}, 32, pretrained=False) == ""


def test_a_rectangle_is_refused_with_sizes_that_fit_and_no_option_that_could_not_be_written() -> None:
    said = size_problem("timm:vit_tiny_patch16_224", {}, (448, 672), pretrained=False)
    assert "It takes 224 px" in said
    assert "img_size" not in said
    assert size_problem("starnet", {}, (64, 96), pretrained=False) == ""
