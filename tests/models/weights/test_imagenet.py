"""ImageNet accuracies come with their source, or are unknown."""

from pathlib import Path

import pytest

from mobilebench.config.suite import parse_suite, preset_text
from mobilebench.errors import UserError
from mobilebench.models.spec import ModelError
from mobilebench.models.weights import imagenet
from mobilebench.models.weights.files import timm_config
from mobilebench.models.weights.imagenet import ImageNetTop1, imagenet_of, imagenet_top1, networks_of, read_imagenet


def test_torchvision_says_it_of_each_of_its_weights() -> None:
    first, second = (imagenet_top1(f"torchvision:resnet50@IMAGENET1K_V{i}") for i in (1, 2))
    assert first == ImageNetTop1(76.13, "torchvision, resnet50 IMAGENET1K_V1")
    assert second is not None
    assert second.percent == 80.858


def test_a_timm_name_of_the_same_file_has_the_same_accuracy() -> None:
    assert imagenet_top1("timm:resnet50.tv_in1k") == imagenet_top1("torchvision:resnet50@IMAGENET1K_V1")
    assert imagenet_top1("timm:regnety_032.tv2_in1k") == imagenet_top1("torchvision:regnet_y_3_2gf@IMAGENET1K_V2")


def test_timms_table_says_it_of_the_others_in_the_suites() -> None:
    deit = ImageNetTop1(72.172, "timm, results-imagenet.csv, deit_tiny_patch16_224.fb_in1k")
    assert imagenet_top1("timm:deit_tiny_patch16_224.fb_in1k") == deit
    for suite in ("real_world_v1", "real_world_augmentation"):
        networks = networks_of(parse_suite(preset_text(suite), suite))
        assert set(imagenet_of(networks)) == set(networks)


def test_the_table_is_of_weights_that_timm_has() -> None:
    table = read_imagenet(Path(imagenet.__file__).parent / "timm_imagenet.csv")
    for name in table:
        network, _, tag = name.partition(".")
        assert timm_config(network, tag).num_classes == 1000
        assert imagenet_top1(f"timm:{name}") is not None


@pytest.mark.parametrize("name", ["small", "timm:resnet50.am_in1k", "resnet50.am_in1k"])
def test_a_file_wins_by_any_name_that_the_model_has(tmp_path: Path, name: str) -> None:
    (tmp_path / "imagenet.csv").write_text(f"model,top1,top5,param_count\n{name},79.5,94.4,25.56\n")
    found = imagenet_of({"small": "timm:resnet50.am_in1k"}, tmp_path)
    assert found["small"] == ImageNetTop1(79.5, "imagenet.csv")


@pytest.mark.parametrize(
    "model_id",
    ["timm:resnet50.fb_swsl_ig1b_ft_in1k", "timm:resnet50", "mobilenet", "mobilenet@run:abc"],
)
def test_what_nothing_here_says_is_unknown(model_id: str) -> None:
    assert imagenet_top1(model_id) is None


def test_a_wrong_tag_is_refused_and_left_out_of_a_grid() -> None:
    with pytest.raises(ModelError, match="no weights of the tag"):
        imagenet_top1("torchvision:resnet50@IMAGENET1K_V9")
    found = imagenet_of({"a": "torchvision:resnet50@IMAGENET1K_V9", "b": "torchvision:alexnet@IMAGENET1K_V1"})
    assert {model: top1.percent for model, top1 in found.items()} == {"b": 56.522}


def test_a_file_says_it_of_any_model(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("model,top1\nours,71.5\nother,80\n")
    assert read_imagenet(path) == {"ours": ImageNetTop1(71.5, "mine.csv"), "other": ImageNetTop1(80.0, "mine.csv")}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("a,0.71\nb,0.8", "expected percent, as 76.13, not 0.7613"),
        ("a,71\na,72", "line 3: a is there twice"),
        ("a,good", "line 2: a has the top1 'good'"),
        ("a,101", "line 2: a has the top1 '101'"),
    ],
)
def test_a_file_that_cannot_be_right_is_refused(tmp_path: Path, rows: str, said: str) -> None:
    path = tmp_path / "mine.csv"
    path.write_text(f"model,top1\n{rows}\n")
    with pytest.raises(UserError, match=said):
        read_imagenet(path)


def test_a_suite_names_the_weights_of_its_pretrained_models() -> None:
    found = networks_of(parse_suite(preset_text("real_world_v1"), "real_world_v1"))
    assert len(found) == 19
    assert found["resnet50"] == "torchvision:resnet50@IMAGENET1K_V1"
    assert networks_of(parse_suite(preset_text("paper_v1"), "paper_v1")) == {}
