"""`mobilebench models`, as a person calls it."""

import csv
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mobilebench.cli import docs_table, main
from mobilebench.models import MODELS, PAPER_MODELS
from mobilebench.models import model_table as table
from mobilebench.models import profile as profiling
from mobilebench.models.cost.cost_file import PrintedCost
from mobilebench.studies.beyond_imagenet.published import printed_costs

Call = Callable[..., Result]
LINES = table.lines


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *arguments: CliRunner().invoke(main, ["models", *arguments])


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tables of all models share their networks: building them is most of the time."""
    monkeypatch.setattr(table, "lines", _lines)


@cache
def _all_lines(classes: int, resolution: int) -> list[table.Line]:
    return LINES(MODELS, classes, resolution, printed_costs())


def _lines(
    model_ids: Iterable[str], classes: int, resolution: int, printed: Mapping[str, PrintedCost]
) -> list[table.Line]:
    assert list(model_ids) == list(MODELS)
    return _all_lines(classes, resolution)


FAST = ("--resolution", "32", "--runs", "3")


def test_list_shows_every_model_whole_on_80_columns(call: Call, built_once: None) -> None:
    result = call("list")
    assert result.exit_code == 0
    assert set(MODELS) <= {line.split(" ")[0] for line in result.output.splitlines()}
    assert "…" not in result.output
    assert "4,667,562" in result.output
    assert "1.06 /" in result.output  # mobileone deployed


def test_profile_writes_a_row_a_model_and_keeps_those_of_others(call: Call, tmp_path: Path) -> None:
    assert call("profile", "--models", "mobileone, mobilenet", *FAST).exit_code == 0
    again = call("profile", "--models", "mobilenet,timm:resnet10t", *FAST)
    assert again.exit_code == 0
    assert "2 rows written to results/cost.csv, 1 of them in place of older ones" in again.output.replace("\n", " ")
    assert "…" not in again.output
    rows = {row["model"]: row for row in read(tmp_path / "results" / "cost.csv")}
    assert list(rows) == ["mobileone", "mobilenet", "timm:resnet10t"]
    assert rows["mobileone"]["deployed_params"] == "1063754"
    assert float(rows["mobileone"]["deployed_latency_ms"]) > 0
    assert rows["mobilenet"]["deployed_params"] == ""
    assert rows["mobilenet"]["published_macs"] == "253000000"
    assert rows["mobilenet"]["params_difference"] == str(2_299_634 - 2_310_000)
    assert rows["mobilenet"]["macs_difference"] == ""  # 32 px do not compare with the table's 224
    assert rows["timm:resnet10t"]["published_params"] == ""
    for row in rows.values():
        assert float(row["latency_ms"]) > 0
        assert float(row["images_per_second"]) > 0
        assert (row["latency_runs"], row["threads"], row["resolution"]) == ("3", "1", "32")
        assert row["cpu"]
        assert int(row["training_bytes"]) == 16 * int(row["params"]) + 64 * int(row["activation_bytes_per_image"])
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["cost.csv"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("profile", "--models", "mobilnet"), "no model is called 'mobilnet'; did you mean mobilenet"),
        (("profile", "--models", " , "), "names no model"),
        (("profile", "--models", "ghostnet_canonical", *FAST), "cannot take images of 32 px"),
        (("check", "timm:mobilenetv9"), "timm has no architecture called 'mobilenetv9'"),
    ],
)
def test_errors_are_one_message_and_exit_2(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = call(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert not (tmp_path / "results").exists()


def test_a_foreign_file_is_refused_before_the_work_and_kept(call: Call, tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    result = call("profile", "--models", "mobilenet", "--output", "mine.csv", *FAST)
    assert result.exit_code == 2
    assert "mine.csv has other columns" in result.output
    assert (tmp_path / "mine.csv").read_text() == "a,b\n1,2\n"


def test_an_interrupted_profile_keeps_the_finished_rows(
    call: Call, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = profiling.profile

    def interrupted(model_id: str, *arguments: object) -> object:
        if model_id == "starnet":
            raise KeyboardInterrupt
        return original(model_id, *arguments)

    monkeypatch.setattr(profiling, "profile", interrupted)
    assert call("profile", "--models", "shufflenet,starnet", *FAST).exit_code != 0
    assert [row["model"] for row in read(tmp_path / "results" / "cost.csv")] == ["shufflenet"]


def test_check_says_the_size_and_warns_of_the_budget(call: Call) -> None:
    result = call("check", "fbnet", "--resolution", "32", "--classes", "67")
    assert result.exit_code == 0
    assert "3,720,195 parameters" in result.output
    assert "warning" in result.output


@pytest.mark.parametrize("model", ["fbnet@file:w.pth", "wavemix_192_16"])
def test_check_says_nothing_of_the_budget_where_a_network_is_for_fine_tuning(call: Call, model: str) -> None:
    result = call("check", model, "--resolution", "32", "--classes", "67")
    assert result.exit_code == 0
    assert "warning" not in result.output
    assert ("Its weights: pretrained on unknown; how images were prepared for them is not known" in result.output) == (
        "@" in model
    )


def test_check_says_how_images_were_prepared_for_the_weights(call: Call) -> None:
    result = call("check", "timm:tf_efficientnet_lite0.in1k", "--resolution", "32")
    assert (
        "Its weights: pretrained on ImageNet-1k; images of 224 px, the centre of 256 px, resized bicubic; mean 0.5, std"
        in result.output
    )


def test_check_says_nothing_of_the_budget_in_a_suite_that_fine_tunes(call: Call) -> None:
    assert CliRunner().invoke(main, ["init", "demo"]).exit_code == 0
    assert "warning" in call("check", "fbnet").output
    params = Path("params.yaml")
    override = "  overrides:\n    - { models: [shufflenet], set: { init: { pretrained: {} } } }\n"
    params.write_text(params.read_text().replace("  overrides:\n", override))
    result = call("check", "fbnet")
    assert result.exit_code == 0
    assert "warning" not in result.output


def test_the_suite_in_params_yaml_gives_resolution_and_models(call: Call, tmp_path: Path) -> None:
    assert CliRunner().invoke(main, ["init", "demo"]).exit_code == 0
    from mobilebench.cli.asked_models import asked_models, asked_resolution
    from mobilebench.execution.suites import open_suite

    suite = open_suite()
    assert asked_resolution(None) == suite.protocol.resolution == 32
    assert asked_models(None) == {name: name for name in suite.models}
    assert asked_resolution(64) == 64


def test_without_params_yaml_the_papers_models_at_224(call: Call) -> None:
    from mobilebench.cli.asked_models import asked_models, asked_resolution

    assert asked_models(None) == {name: name for name in PAPER_MODELS}
    assert asked_resolution(None) == 224


def test_the_table_in_the_docs_is_the_one_printed(call: Call, built_once: None) -> None:
    page = (Path(__file__).parents[2] / "docs/models.md").read_text("utf-8")
    block = page.split("<!-- models:begin -->")[1].split("<!-- models:end -->")[0]
    assert block.strip() == call("list", "--markdown").output.strip()


def test_the_docs_table_has_a_row_a_model(call: Call, built_once: None) -> None:
    header, rule, *rows, blank, note = call("list", "--markdown").output.rstrip().split("\n")
    assert [row.split("|")[1].strip(" `") for row in rows] == list(MODELS)
    assert len({line.count("|") for line in (header, rule, *rows)}) == 1
    assert "| 2,236,682 | 300 |  | 2.31 / 253 | MobileNetV2 1.0 as published |" in rows[5]
    assert blank == ""
    assert note == docs_table.NOTE


def test_check_takes_rectangles_and_channels() -> None:
    found = CliRunner().invoke(main, ["models", "check", "starnet", "--resolution", "64x96", "--channels", "13"])
    assert found.exit_code == 0, found.output
    assert "can be trained at 64x96 px of 13 channels" in found.output
    for wrong in ("64x", "4x64", "64x64x3", "-64"):
        refused = CliRunner().invoke(main, ["models", "check", "starnet", "--resolution", wrong])
        assert refused.exit_code == 2
        assert "expected pixels, 8 or more, as 224 or (height x width) 448x672" in " ".join(refused.output.split())
