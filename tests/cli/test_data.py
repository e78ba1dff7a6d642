"""`mobilebench data`: list, fetch, prepare, audit, as a user calls them."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner, Result

from mobilebench.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Call = Callable[..., Result]


@pytest.fixture
def call(project: Path) -> Call:
    def run(*args: str) -> Result:
        result = CliRunner().invoke(main, ["data", *args])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return run


def test_list_shows_sizes_licence_and_state(call: Call) -> None:
    before = call("list").output
    assert all(word in before for word in ("miniplaces", "100,000", "CC BY-NC", "not here", "no download"))
    call("prepare", "digits")
    digits = next(line for line in call("list").output.splitlines() if "digits" in line)
    assert "packed" in digits


def test_list_names_what_is_predicted_where_it_is_not_one_class(call: Call) -> None:
    said = " ".join(call("list").output.split())
    assert "target multi_label: hpa, toy_scenes; ordinal: aptos2019, toy_grades; single_label: all others" in said
    assert "target: multi_label" in call("list", "toy_scenes").output
    assert "target" not in call("list", "digits").output


def test_own_data_of_several_labels_from_params_yaml_to_the_audit(call: Call, project: Path) -> None:
    from PIL import Image

    from mobilebench.config.suite import preset_text

    (project / "mine").mkdir()
    rows = [f"mine/{i}.png,{i % 2},{i % 3 // 2}" for i in range(30)]
    for i in range(30):
        Image.new("RGB", (20, 20), (8 * i, 5, 90)).save(project / "mine" / f"{i}.png")
    (project / "labels.csv").write_text("\n".join(["path,red,round", *rows]))
    text = preset_text("demo").replace("datasets: [digits, toy_shapes, toy_textures]", "datasets: [parts]")
    keys = "csv: labels.csv, target: multi_label, metric: macro_f1"
    (project / "params.yaml").write_text(f"{text}data_sources:\n  parts: {{{keys}}}\n")
    assert call("prepare", "parts").exit_code == 0
    said = call("list", "parts").output
    assert "target: multi_label" in said
    assert "read by: macro_f1" in said
    assert "images_of_no_class" in call("audit", "parts").output
    (project / "params.yaml").write_text(f"{text}data_sources:\n  parts: {{{keys.replace('macro_f1', 'qwk')}}}\n")
    result = call("prepare", "parts")
    assert result.exit_code == 2
    assert "metric qwk is not for a multi_label target" in " ".join(result.output.split())


def test_list_one_tells_where_it_comes_from(call: Call) -> None:
    said = call("list", "cifar10").output
    assert "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz" in said
    assert "c58f30108f718f92721af3b95e74349a" in said
    assert "accept the terms" in call("list", "ham10k").output


def test_list_one_tells_how_files_are_checked_and_images_stored(call: Call, project: Path) -> None:
    assert "no published checksum: the first download is trusted" in call("list", "miniplaces").output
    (project / "sources.lock").write_text('{"miniplaces": {"data.tar.gz": "5eed"}}')
    assert "data.tar.gz (sha256 5eed in sources.lock)" in call("list", "miniplaces").output
    assert "stored as" not in call("list", "digits").output
    call("prepare", "digits")
    assert "stored as: 8x8 pixels: pixels as distributed" in call("list", "digits").output


def test_list_names_what_is_unverified_and_what_is_got_by_hand(call: Call) -> None:
    (said,) = [line for line in call("list").output.splitlines() if "unverified" in line]
    assert said == "Downloads whose address or checksum is unverified: tiny_imagenet, cub200, cct20, cct20_trans."
    assert (
        "tiny-imagenet-200.zip (md5 90528d7ca1a48142e341f4ef8d21d0de, unverified)"
        in call("list", "tiny_imagenet").output
    )
    assert "unverified" not in call("list", "food101").output
    by_hand = call("list", "breakhis_40_grouped").output
    assert "download: none, see by hand" in by_hand
    assert "by hand: Ask for it on its homepage" in by_hand


def test_prepare_then_audit(call: Call, project: Path) -> None:
    assert call("prepare", "digits").exit_code == 0
    assert call("prepare", "toy_textures").exit_code == 0
    result = call("audit")
    assert result.exit_code == 0
    with (project / "results" / "audit.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert {line["dataset"] for line in lines} == {"digits", "toy_textures", "digits + toy_textures"}
    assert (project / "results" / "audit.png").exists()
    assert "largest_class" in result.output


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["prepare", "digit"], "did you mean digits"),
        (["list", "imagnette"], "did you mean imagenette"),
        (["fetch", "cifar"], "did you mean cifar10"),
        (["audit"], "prepare one first"),
        (["audit", "digits"], "mobilebench data prepare digits"),
        (["prepare", "digits", "--from", "."], "takes no --from"),
        (["prepare", "imagenette", "--from", "nowhere"], "no such file"),
    ],
)
def test_mistakes_get_a_message_and_exit_2(args: list[str], said: str, call: Call) -> None:
    result = call(*args)
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())
    assert "Traceback" not in result.output


def test_fetch_of_a_generated_set_says_so(call: Call) -> None:
    assert "needs no download" in call("fetch", "toy_shapes").output


def test_own_data_from_params_yaml(call: Call, project: Path) -> None:
    from PIL import Image

    from mobilebench.config.suite import preset_text

    for name in ("a", "b"):
        (project / "mine" / name).mkdir(parents=True)
        for i in range(10):
            Image.new("RGB", (20, 20), (10 * i, 5, 90 if name == "a" else 200)).save(
                project / "mine" / name / f"{i}.png"
            )
    text = preset_text("demo").replace("datasets: [digits, toy_shapes, toy_textures]", "datasets: [flowers]")
    (project / "params.yaml").write_text(text + "data_sources:\n  flowers: {folder: mine}\n")
    result = call("prepare", "flowers")
    assert result.exit_code == 0, result.output
    line = next(line for line in call("list").output.splitlines() if line.startswith("flowers "))
    assert line.replace("│", " ").split()[:6] == ["flowers", "2", "16", "0", "4", "packed"]
