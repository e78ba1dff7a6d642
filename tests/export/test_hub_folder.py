"""Weights as safetensors: a folder that mobilebench and timm load, with a card; one file; and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch
from bright import Bright
from ruamel.yaml import YAML
from torch import nn

import mobilebench as mb
from mobilebench import models
from mobilebench.datasets.packing.packed import open_packed
from mobilebench.evaluation.metrics import get_metric
from mobilebench.execution.model_file import ModelFile
from mobilebench.export.card import card
from mobilebench.export.forms import ImageForm
from mobilebench.export.hub_folder import push_folder, write_folder, write_weights
from mobilebench.export.images import split_images, torch_said
from mobilebench.export.onnx_file import ExportError
from mobilebench.export.subject import Subject
from mobilebench.runs.records import Record

HUB = Path("hub")
TINY = "timm:test_byobnet"
Make = Callable[..., Subject]


def network_of(name: str, classes: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return models.create(name, classes).eval()


def is_same(a: nn.Module, b: nn.Module, shape: tuple[int, ...] = (2, 3, 32, 32)) -> bool:
    images = torch.rand(shape)
    with torch.inference_mode():
        return torch.equal(a(images), b(images))


def test_a_network_of_timms_is_loaded_by_timm_and_by_mobilebench(subject: Make) -> None:
    network = network_of(TINY)
    made = subject(network, model=TINY, resolution=32, eval_resize=36)
    assert [path.name for path in write_folder(made, HUB, force=False)] == [
        "model.safetensors",
        "README.md",
        "config.json",
    ]
    twin = timm.create_model(f"local-dir:{HUB}", pretrained=True).eval()
    assert is_same(twin, network)
    wanted = timm.data.resolve_model_data_config(twin)
    assert (wanted["mean"], wanted["std"], wanted["interpolation"]) == ([0.5, 0.4, 0.3], [0.2, 0.25, 0.3], "bilinear")
    assert (wanted["input_size"], round(32 / wanted["crop_pct"])) == ([3, 32, 32], 36)
    loaded = mb.load_model(HUB)
    assert (loaded.classes, loaded.resolution, loaded.run_id) == (("dark", "light"), 32, None)
    assert is_same(loaded.network, network)


def test_one_that_timm_cannot_build_is_loaded_by_mobilebench(subject: Make) -> None:
    """A class of timm's with other widths is no network that timm has a name for."""
    network = network_of("mobileone")
    write_folder(subject(network, model="mobileone", resolution=32), HUB, force=False)
    config = json.loads((HUB / "config.json").read_text())
    assert "architecture" not in config
    assert config["library_name"] == "mobilebench"
    assert is_same(mb.load_model(HUB).network, network)
    assert "timm" not in (HUB / "README.md").read_text().split("## Training")[0]


def test_options_and_other_channels_reach_timm(subject: Make) -> None:
    network = timm.create_model("test_byobnet", num_classes=2, in_chans=1, drop_rate=0.1).eval()
    options = {"drop_rate": 0.1}
    made = subject(network, model=TINY, options=options, mean=(0.5,), std=(0.5,), resolution=32)
    write_folder(made, HUB, force=False)
    assert json.loads((HUB / "config.json").read_text())["model_args"] == {"drop_rate": 0.1, "in_chans": 1}
    assert is_same(timm.create_model(f"local-dir:{HUB}", pretrained=True).eval(), network, (2, 1, 32, 32))


def test_weights_in_one_file(subject: Make) -> None:
    network = network_of(TINY)
    path = write_weights(subject(network, model=TINY, resolution=32), Path("out"), force=False)
    assert path == Path("out/timm_test_byobnet_aa4f7121.blobs.0.safetensors")
    assert is_same(mb.load_model(path).network, network)
    with pytest.raises(ExportError, match="is there already; --force"):
        write_weights(subject(network, model=TINY), Path("out"), force=False)


def test_the_card_says_what_it_rests_on(subject: Make) -> None:
    packed = open_packed("data/packed/blobs")
    metric, network = get_metric("top1"), Bright().eval()
    form = ImageForm(subject(network).made)
    predictions = split_images(packed, form, "test").predictions(torch_said(network), "it")
    record = Record(
        "a" * 32, "bright", "blobs", 0, "0123456789ab", packed.meta.data_digest, 1, "FINISHED",
        {"top1": metric.value(predictions), "nll": 0.25, "of_a_package": 1.0}, n_test=80, params=242, macs=55_312,
        chosen_on="test", pretrained_on="ImageNet-1k",
    )  # fmt: skip
    made = replace(subject(network), record=record)
    text = card(made, packed, predictions, is_timms=False)
    head = YAML(typ="safe").load(text.split("---")[1])
    assert head["model-index"][0]["results"][0]["metrics"] == [{"type": "top1", "value": record.value}]
    assert f"Top-1 {metric.show(record.value)} % on 80 test images, 95 % interval " in text
    assert "A single run" in text
    assert "chosen on these images" in text
    assert "| Negative log-likelihood | 0.2500 |" in text
    for said in ("ImageNet-1k", "a" * 32, "0123456789ab", "| as trained | 242 | 55,312 |", "dark, light", "Licence of"):
        assert said in text
    alone = card(subject(network), None, None, is_timms=False)
    assert "does not say what it reaches" in alone


def test_a_folder_is_not_overwritten_unasked(subject: Make) -> None:
    made = subject(network_of(TINY), model=TINY, resolution=32)
    HUB.mkdir()
    (HUB / "README.md").write_text("mine")
    with pytest.raises(ExportError, match=r"hub/README\.md is there already; --force"):
        write_folder(made, HUB, force=False)
    assert [path.name for path in HUB.iterdir()] == ["README.md"]
    write_folder(made, HUB, force=True)
    assert (HUB / "README.md").read_text() != "mine"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("x.safetensors", b"\x00" * 40, "cannot be read as safetensors"),
        ("gone.safetensors", None, "there is no file gone.safetensors; expected run:ID"),
    ],
)
def test_files_that_are_none_are_refused(project: Path, name: str, content: bytes | None, said: str) -> None:
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(mb.UserError, match=said):
        mb.load_model(name)


def test_folders_of_others_are_refused(subject: Make) -> None:
    write_folder(subject(network_of(TINY), model=TINY, resolution=32), HUB, force=False)
    config = json.loads((HUB / "config.json").read_text())
    del config["mobilebench"]
    (HUB / "config.json").write_text(json.dumps(config))
    with pytest.raises(mb.UserError, match=r"does not say how its network is built .*timm\.create_model"):
        mb.load_model(HUB)


@pytest.mark.parametrize(("repository", "said"), [("me/x", "cannot be reached"), ("a b//c", "is no name of a repos")])
def test_a_hub_that_cannot_be_reached_leaves_the_folder(
    project: Path, monkeypatch: pytest.MonkeyPatch, repository: str, said: str
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    HUB.mkdir()
    with pytest.raises(ExportError, match=rf"{said}.*hub is written; upload it later with `hf upload"):
        push_folder(HUB, repository)


def test_what_is_kept_of_the_network_is_read_back(subject: Make) -> None:
    made = subject(network_of(TINY), model=TINY, resolution=(32, 48), stored=(20, 30), mean=(0.1,) * 3)
    write_folder(made, HUB, force=False)
    loaded = mb.load_model(HUB)
    assert isinstance(loaded.made, ModelFile)
    assert loaded.made == made.made
