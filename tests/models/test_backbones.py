"""The networks of the studies that fine-tune, as users write them: their parameters, heads and weights' names."""

import warnings
from functools import cache
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from mobilebench import models
from mobilebench.models.meta import create_on_meta
from mobilebench.models.names import TIMM, TORCHVISION, split
from mobilebench.models.weights.files import WeightsError, timm_config, torchvision_weights
from mobilebench.models.weights.start import draw_head, find_head
from mobilebench.models.weights.tensors import as_timm


class Backbone(NamedTuple):
    studies: str
    """A: Which Backbone to Use; B: Does progress on ImageNet transfer to real-world datasets?"""
    model: str
    params: int
    """With 1,000 classes, as counted on the libraries' own constructors; WaveMix by its authors' package."""
    head: str
    """Its last layer; all other tensors come from the weights."""


BACKBONES = (
    Backbone("A", "torchvision:resnet50@IMAGENET1K_V2", 25_557_032, "fc"),
    Backbone("A", "wavemix_192_16@file:wavemix_192_16_75.06.pth", 27_857_608, "pool.2"),
    Backbone("A", "torchvision:convnext_tiny@IMAGENET1K_V1", 28_589_128, "classifier.2"),
    Backbone("A", "torchvision:swin_t@IMAGENET1K_V1", 28_288_354, "head"),
    Backbone("A", "torchvision:swin_v2_t@IMAGENET1K_V1", 28_351_570, "head"),
    Backbone("A", "torchvision:efficientnet_v2_s@IMAGENET1K_V1", 21_458_488, "classifier.1"),
    Backbone("A", "torchvision:densenet161@IMAGENET1K_V1", 28_681_000, "classifier"),
    Backbone("A", "torchvision:mobilenet_v3_large@IMAGENET1K_V2", 5_483_032, "classifier.3"),
    Backbone("A", "torchvision:regnet_y_3_2gf@IMAGENET1K_V2", 19_436_338, "fc"),
    Backbone("A", "torchvision:resnext50_32x4d@IMAGENET1K_V2", 25_028_904, "fc"),
    Backbone("A", "torchvision:shufflenet_v2_x2_0@IMAGENET1K_V1", 7_393_996, "fc"),
    Backbone("B", "torchvision:resnet152@IMAGENET1K_V1", 60_192_808, "fc"),
    Backbone("B", "torchvision:resnet50@IMAGENET1K_V1", 25_557_032, "fc"),
    Backbone("B", "timm:pnasnet5large.tf_in1k", 86_057_668, "last_linear"),
    Backbone("B", "torchvision:vgg13_bn@IMAGENET1K_V1", 133_053_736, "classifier.6"),
    Backbone("B", "torchvision:mobilenet_v3_small@IMAGENET1K_V1", 2_542_856, "classifier.3"),
    Backbone("B", "torchvision:alexnet@IMAGENET1K_V1", 61_100_840, "classifier.6"),
    Backbone("B", "timm:deit_tiny_patch16_224.fb_in1k", 5_717_416, "head"),
    Backbone("B", "timm:deit_small_patch16_224.fb_in1k", 22_050_664, "head"),
    Backbone("B", "timm:inception_resnet_v2.tf_in1k", 55_843_464, "classif"),
    Backbone("B", "torchvision:vgg16_bn@IMAGENET1K_V1", 138_365_992, "classifier.6"),
    Backbone("B", "timm:efficientnet_b0.ra_in1k", 5_288_548, "classifier"),
    Backbone("B", "timm:efficientnet_b4.ra2_in1k", 19_341_616, "classifier"),
    Backbone("B", "timm:convnext_tiny.fb_in1k", 28_589_128, "head.fc"),
    Backbone("B", "torchvision:densenet121@IMAGENET1K_V1", 7_978_856, "classifier"),
    Backbone("B", "torchvision:resnext50_32x4d@IMAGENET1K_V1", 25_028_904, "fc"),
    Backbone("B", "torchvision:shufflenet_v2_x1_0@IMAGENET1K_V1", 2_278_604, "fc"),
    Backbone("B", "torchvision:squeezenet1_1@IMAGENET1K_V1", 1_235_496, "classifier.1"),
    Backbone("B", "torchvision:shufflenet_v2_x0_5@IMAGENET1K_V1", 1_366_792, "fc"),
    Backbone("B", "torchvision:mnasnet0_5@IMAGENET1K_V1", 2_218_512, "classifier.1"),
    Backbone("B", "timm:caformer_b36.sail_in1k", 98_753_614, "head.fc.fc2"),
    Backbone("B", "timm:swin_base_patch4_window7_224.ms_in1k", 87_768_224, "head.fc"),
    Backbone("B", "timm:mixer_b16_224.goog_in21k_ft_in1k", 59_880_472, "head"),
    Backbone("B", "timm:tinynet_e.in1k", 2_042_972, "classifier"),
    Backbone("B", "timm:tinynet_d.in1k", 2_338_446, "classifier"),
    Backbone("B", "timm:dla46_c.in1k", 1_301_400, "fc"),
    Backbone("B", "timm:dla46x_c.in1k", 1_068_440, "fc"),
)
EVERY = pytest.mark.parametrize("backbone", BACKBONES, ids=lambda backbone: backbone.model)


@cache
def shapes(network: str) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of DenseNet and others, on how they draw weights
        return create_on_meta(network, 1000, {}).state_dict()


@EVERY
def test_its_parameters_are_those_published_to_the_integer(backbone: Backbone) -> None:
    network = create_on_meta(backbone.model, 1000, {})
    assert sum(parameter.numel() for parameter in network.parameters()) == backbone.params


@EVERY
def test_its_head_is_its_last_layer(backbone: Backbone) -> None:
    head = find_head(backbone.model, 10, {})
    assert head.names == {f"{backbone.head}.weight", f"{backbone.head}.bias"}
    assert all(width[0] is None and None not in width[1:] for width in head.widths.values())


@EVERY
def test_its_weights_are_known_to_the_library_and_a_slip_gets_near_ones(backbone: Backbone) -> None:
    network, tag = split(backbone.model)
    name = network.partition(":")[2]
    if network.startswith(TIMM):
        assert timm_config(name, tag).hf_hub_id
        with pytest.raises(WeightsError, match=rf"expected one of: .*{name}\.{tag}"):
            timm_config(name, f"{tag}x")
    elif network.startswith(TORCHVISION):
        assert torchvision_weights(name, tag).url
        with pytest.raises(WeightsError, match=f"expected one of: .*{name}@{tag}"):
            torchvision_weights(name, f"{tag}x")
    else:
        assert models.get(backbone.model).zoo == "backbone"


@pytest.mark.parametrize("model", [backbone.model for backbone in BACKBONES if backbone.model.startswith(TIMM)])
def test_tensors_of_timms_names_keep_them(model: str) -> None:
    state = shapes(split(model).network)
    assert as_timm(state, state) == state


def test_both_studies_are_whole() -> None:
    assert [sum(study in backbone.studies for backbone in BACKBONES) for study in "AB"] == [11, 26]
    assert len({backbone.model for backbone in BACKBONES}) == len(BACKBONES)


def test_squeezenets_convolution_is_a_head_for_any_number_of_classes() -> None:
    torch.manual_seed(0)
    network = models.create("torchvision:squeezenet1_1", 3)
    head = find_head("torchvision:squeezenet1_1", 3, {})
    before = network.classifier[1].weight.detach().clone()
    draw_head(network, head)
    after = network.classifier[1].weight.detach()
    assert after.shape == (3, 512, 1, 1)
    assert not torch.equal(before, after)
    assert after.abs().max() <= 512**-0.5  # as PyTorch draws a 1x1 convolution of 512 channels
    with torch.no_grad():
        assert network.eval()(torch.zeros(2, 3, 64, 64)).shape == (2, 3)
