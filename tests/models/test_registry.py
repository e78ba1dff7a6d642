import re
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata

import pytest
from torch import nn

from mobilebench import models
from mobilebench.models import MODELS, ModelError, external

Offer = Callable[..., None]


def test_importing_the_registry_does_not_import_torch() -> None:
    code = (
        "import sys, mobilebench.models, mobilebench.cli.models; print('torch' in sys.modules, 'timm' in sys.modules)"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["False", "False"]


def test_ids_are_ids() -> None:
    assert all(re.fullmatch("[a-z0-9_]+", name) and spec.id == name for name, spec in MODELS.items())
    assert len(models.PAPER_MODELS) == 11
    assert list(MODELS) == [*models.PAPER_MODELS, *models.CANONICAL_MODELS, *models.BACKBONES]


@pytest.mark.parametrize(
    ("wrong", "hint"),
    [
        ("efficentnet", "did you mean efficientnet"),
        ("mobilvit", "mobilevit"),
        ("resnet18x", "timm:resnet18"),
        ("~~~", "known: convmixer"),
    ],
)
def test_a_wrong_name_lists_near_matches(wrong: str, hint: str) -> None:
    with pytest.raises(ModelError, match=f"'{wrong}'.*{hint}"):
        models.get(wrong)


@pytest.mark.parametrize(
    ("model_id", "options", "message"),
    [
        ("convmixer", {"patch": 5}, "no option 'patch'; its options: patch_size"),
        ("convmixer", {"patch_size": 6}, "patch_size=6 is not one of 7, 5, 14"),
        ("efficientnet", {"variant": "b1"}, "variant='b1' is not one of '2m', 'b0'"),
        ("fbnet", {"width": 2}, "no option 'width'; its options: none"),
        ("timm:resnet10t", {"wings": 2}, "takes no option 'wings'; its model_options may be: aa_layer, .*drop_rate"),
        ("timm:resnet10t", {"img_size": 64}, "timm:resnet10t cannot be built with {'img_size': 64}.*img_size"),
    ],
)
def test_unknown_options_are_refused_with_what_is_allowed(
    model_id: str, options: dict[str, object], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        models.create(model_id, 10, **options)


@pytest.mark.parametrize(
    "option",
    [
        "checkpoint_path", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_strict", "cache_dir",
        "pruned", "features_only", "out_indices", "feature_cls", "num_classes", "in_chans", "device", "dtype",
        "scriptable", "exportable", "no_jit", "kwargs_filter", "weight_init", "Checkpoint_Path",
    ],
)  # fmt: skip
def test_no_option_reaches_timms_loaders_or_its_weights(option: str) -> None:
    with pytest.raises(ModelError, match=f"takes no option '{option}'"):
        models.create("timm:resnet10t", 10, **{option: "x.pth"})


@pytest.mark.parametrize("model_id", ["fbnet", "timm:resnet10t"])
@pytest.mark.parametrize("option", ["num_classes", "model_id", "self", "name"])
def test_options_called_like_our_own_arguments_are_options(model_id: str, option: str) -> None:
    with pytest.raises(ModelError, match=f"option '{option}'"):
        models.create(model_id, 10, **{option: "x"})


def test_a_model_without_classes_is_refused() -> None:
    with pytest.raises(ModelError, match="0 classes"):
        models.create("mobilenet", 0)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mobilenetv2_10", "did you mean timm:mobilenetv2_1"),
        ("mobilenetv2_10.a1_in1k", "did you mean timm:mobilenetv2_1"),
        ("hf-hub:someone/something", "no architecture called"),
        ("", "no architecture called ''"),
    ],
)
def test_timm_names_that_cannot_be_built(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        models.create(f"timm:{name}", 10)


def test_a_timm_network_becomes_a_model_without_pretrained_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    import timm

    asked = {}
    original = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda name, **kwargs: asked.update(kwargs) or original(name, **kwargs))
    model = models.create("timm:resnet10t", 7, drop_rate=0.1)
    assert asked["pretrained"] is False
    assert model.get_classifier().out_features == 7


def build_tiny(num_classes: int, width: int = 4) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, num_classes))


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Offer:
    """Let packages appear to be installed that offer these entry points."""

    def offer(*points: tuple[str, str]) -> None:
        found = [metadata.EntryPoint(name, value, external.GROUP) for name, value in points]
        monkeypatch.setattr(external.metadata, "entry_points", lambda group: found if group == external.GROUP else [])
        monkeypatch.setitem(sys.modules, "offered_models", sys.modules[__name__])

    return offer


def test_a_package_can_offer_a_model(installed: Offer) -> None:
    installed(("tiny", "offered_models:build_tiny"))
    assert models.get("tiny").zoo == "entry_point"
    assert models.create("tiny", 7, width=8)[3].out_features == 7
    with pytest.raises(ModelError, match="did you mean tiny"):
        models.get("tinyy")


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([("Tiny-Net", "offered_models:build_tiny")], "a model's id is made of"),
        ([("mobilenet2", "offered_models:a"), ("mobilenet2", "offered_models:b")], "that name is taken"),
        ([("mobilenet", "offered_models:build_tiny")], "that name is taken"),
    ],
)
def test_names_a_package_may_not_offer(installed: Offer, points: list[tuple[str, str]], message: str) -> None:
    installed(*points)
    with pytest.raises(ModelError, match=message):
        external.entry_points()


@pytest.mark.parametrize("value", ["offered_models:absent", "no_such_module:build", "offered_models:build_tiny"])
def test_an_entry_point_that_cannot_be_built_says_whose_it_is(installed: Offer, value: str) -> None:
    installed(("tiny", value))
    with pytest.raises(ModelError, match=f"'tiny' of an installed package .{value}. cannot be built"):
        models.create("tiny", 7, depth=3)
