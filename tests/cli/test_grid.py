"""The commands of the main job, as a person calls them in a project folder."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import grids
import pytest
from click.testing import CliRunner, Result

from mobilebench.cli import COMMANDS, main
from mobilebench.config.suite import load_suite, parse_suite, preset_text
from mobilebench.tracking import Tracker

if TYPE_CHECKING:
    from pathlib import Path


def call(*arguments: str) -> Result:
    result = CliRunner().invoke(main, list(arguments))
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def git(*arguments: str) -> None:
    subprocess.run(["git", "-c", "user.name=a", "-c", "user.email=a@b.c", *arguments], check=True, capture_output=True)


def test_every_command_in_the_table_exists_and_explains_itself() -> None:
    for name in COMMANDS:
        result = call(name, "--help")
        assert result.exit_code == 0, name
        assert result.output.startswith("Usage:"), name


def test_help_imports_nothing_heavy() -> None:
    """What makes `--help` answer at once: none of the libraries that take seconds to import."""
    code = "import sys; from mobilebench.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "print(sorted({'torch', 'mlflow', 'pandas', 'numpy', 'pydantic', 'sklearn', 'rich'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.splitlines()[-1] == "[]"


def test_init_lists_and_writes_suites(project: Path) -> None:
    assert "paper_v1" in call("init").output
    assert call("init", "proxy_4").exit_code == 0
    assert (project / "params.yaml").read_text() == preset_text("proxy_4")


def test_init_makes_an_empty_folder_a_project_of_its_own(project: Path) -> None:
    written = call("init", "demo").output
    assert "Written for `dvc repro`: dvc.yaml, .gitignore, .dvcignore." in written
    stages = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list"], check=True, capture_output=True, text=True, timeout=120
    ).stdout
    assert stages.split("\n")[0].startswith("inputs")
    assert stages.count("train@") == 3
    assert "mobilebench/" not in (project / "dvc.yaml").read_text()  # no path of a clone

    (project / "dvc.yaml").write_text("stages: {}\n")
    (project / ".gitignore").write_text("mine\n")
    again = call("init", "proxy_4").output
    assert "Written for" not in again
    assert "dvc.yaml here is of another project" in again
    assert (project / ".gitignore").read_text() == "mine\n"


def test_init_in_a_git_repository_keeps_its_history(project: Path) -> None:
    git("init")
    assert "(`dvc init`)." in call("init", "demo").output
    assert "no_scm" not in (project / ".dvc" / "config").read_text()
    (project / "second").mkdir()
    with contextlib.chdir(project / "second"):
        call("init", "proxy_4")
        assert (project / "second" / "dvc.yaml").exists()
    assert not (project / "second" / ".dvc").exists()  # the DVC project around it is enough


def test_init_writes_a_suite_of_other_models(project: Path) -> None:
    assert call("init", "paper_v1", "--model", "starnet", "--model", "mobilevit").exit_code == 0
    suite, whole = load_suite(), parse_suite(preset_text("paper_v1"), "paper_v1")
    assert suite.models == ("starnet", "mobilevit")
    assert suite.protocol == whole.protocol
    text = (project / "params.yaml").read_text()
    assert "# silent; the released code's value" in text
    assert "eval_resize: null #" in text

    assert call("init", "paper_v1", "--model", "starnet", "--force").exit_code == 0
    alone = load_suite()
    for dataset in whole.datasets:  # so that no cell is trained again
        assert alone.protocol.recipe_hash_for("starnet", dataset) == whole.protocol.recipe_hash_for("starnet", dataset)
    before = (project / "params.yaml").read_text()
    unknown = call("init", "paper_v1", "--model", "mynet", "--force")
    assert unknown.exit_code == 2
    assert "no model is called 'mynet'" in unknown.output
    assert (project / "params.yaml").read_text() == before


def test_init_adds_a_folder_of_ones_own(project: Path) -> None:
    for name in ("red", "blue"):
        (project / "images" / name).mkdir(parents=True)
    assert call("init", "demo", "--data", "mine=images", "--data", "list=images/list.csv").exit_code == 2
    assert call("init", "demo", "--data", "mine=images").exit_code == 0
    suite, demo = load_suite(), parse_suite(preset_text("demo"), "demo")
    assert suite.datasets == (*demo.datasets, "mine")
    assert suite.data_sources["mine"].folder == "images"
    assert (suite.protocol, suite.models) == (demo.protocol, demo.models)
    assert "# the demo's images are squares" in (project / "params.yaml").read_text()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("images", "--data images; expected ID=PATH"),
        ("My images=images", "expected ID=PATH, ID of lower-case letters"),
        ("mine=imagse", "there is nothing at imagse; expected a folder of class folders, or a CSV"),
        ("mine=notes.txt", "there is a file at notes.txt; expected a folder of class folders, or a CSV"),
        ("digits=images", "the suite has a dataset of that name; give yours another"),
    ],
)
def test_init_refuses_data_that_it_cannot_add(project: Path, given: str, expected: str) -> None:
    (project / "images").mkdir()
    (project / "notes.txt").touch()
    result = call("init", "demo", "--data", given)
    assert result.exit_code == 2
    assert expected in " ".join(result.output.split())
    assert not (project / "params.yaml").exists()


def test_init_never_loses_settings_that_git_does_not_have(project: Path) -> None:
    call("init", "demo")
    mine = preset_text("demo").replace("epochs: 4", "epochs: 7")
    (project / "params.yaml").write_text(mine)
    result = call("init", "paper_v1")
    assert result.exit_code == 2
    assert "git does not have" in result.output
    assert (project / "params.yaml").read_text() == mine
    git("init")
    git("add", "params.yaml")
    git("commit", "-m", "mine")
    assert call("init", "paper_v1").exit_code == 0
    (project / "params.yaml").write_text(mine.replace("epochs: 7", "epochs: 8"))
    assert call("init", "paper_v1", "--force").exit_code == 0


def test_the_whole_job(project: Path, store: Path) -> None:
    grids.write(project)
    shutil.rmtree(project / "data/packed")
    assert call("status").output.count("no data") == 2
    assert call("prepare", "blobs").exit_code == 0
    assert call("status").output.count("waiting") == 2

    result = call("score")
    assert result.exit_code == 2
    assert "has no experiment 'tiny'" in result.output

    result = call("train", "blobs", "--model", "starnet")
    assert result.exit_code == 0, result.output
    assert "1 of 1 cells to train" in result.output
    assert "1 of 2 cells are finished" in call("status").output

    result = call("score", "--experiment", "tiny")
    assert result.exit_code == 2
    assert "shufflenet.blobs.0: missing" in result.output
    assert call("score", "--allow-partial").exit_code == 0

    result = call("train", "blobs")
    assert "1 of 2 cells to train, 1 finished" in result.output
    assert call("score").exit_code == 0
    assert (project / "results/xscore.csv").read_text().count("\n") == 3
    assert "shufflenet" in call("leaderboard").output
    assert call("score", "--lambda", "0.25", "--anchors", "grid").exit_code == 0
    assert "lambda 0.25" in call("leaderboard").output
    assert "params.yaml has lambda 0.5" in call("leaderboard").output
    assert call("report").exit_code == 0
    assert "Scored with lambda 0.25" in (project / "results/report.md").read_text()
    # Kept in MLflow, too, but not among the runs of the cells.
    assert list((project / "mlartifacts").glob("tiny-report/**/report.html"))
    assert {run.record.model for run in Tracker().runs("tiny")} == {"shufflenet", "starnet"}
    assert len(list((project / "mlartifacts/tiny").iterdir())) == 2
    assert call("score").exit_code == 0

    other = (project / "params.yaml").read_text().replace("experiment: tiny", "experiment: other")
    (project / "params.yaml").write_text(other)
    assert call("score", "--experiment", "tiny").exit_code == 0
    shown = " ".join(call("leaderboard").output.split())
    assert "The results here are of experiment 'tiny'" in shown
    assert "tiny, protocol" in shown
    refused = call("report")
    assert refused.exit_code == 2
    assert "params.yaml is of experiment 'other'" in refused.output


def test_training_without_prepared_data_says_what_to_do(project: Path, store: Path) -> None:
    grids.write(project)
    shutil.rmtree(project / "data/packed")
    result = call("train", "blobs")
    assert result.exit_code == 2
    assert "prepare" in result.output


@pytest.mark.parametrize("change", ["added", "replaced", "removed", "hflip"])
def test_own_images_changed_since_packing_are_not_trained_on_as_they_were(project: Path, change: str) -> None:
    grids.write(project, per_class=4)
    image = project / "source/train/dark/00.png"
    if change == "added":
        shutil.copy(project / "source/test/dark/00.png", image.with_name("new.png"))
    elif change == "replaced":
        shutil.copy(project / "source/test/dark/00.png", image)
    elif change == "removed":
        image.unlink()
    else:
        params = project / "params.yaml"
        params.write_text(params.read_text().replace("{folder: source}", "{folder: source, hflip: false}"))
    for command in (("train", "blobs", "--offline"), ("sensitivity",)):
        result = call(*command)
        assert result.exit_code == 2
        assert "data/packed/blobs is not what packing blobs would give now" in result.output
        assert "`mobilebench data prepare blobs`" in result.output
    assert not (project / ".mobilebench/cells").exists()


def test_packed_data_are_trained_on_where_the_images_are_not(project: Path) -> None:
    """As on a machine that got the packed arrays alone."""
    grids.write(project, per_class=4)
    shutil.rmtree(project / "source")
    result = call("train", "blobs", "--model", "starnet", "--offline")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("arguments", [("train", "nothing"), ("train", "blobs", "--model", "resnet50")])
def test_a_name_the_suite_lacks_is_refused(project: Path, arguments: tuple[str, ...]) -> None:
    grids.write(project)
    result = call(*arguments)
    assert result.exit_code == 2
    assert "the suite has no" in result.output


def test_a_size_that_a_network_cannot_take_is_refused_before_any_cell_is_trained(project: Path, store: Path) -> None:
    grids.write(project, per_class=4)
    params = project / "params.yaml"
    text = params.read_text().replace("starnet]", '"timm:deit_tiny_patch16_224"]')
    params.write_text(text)
    result = call("train", "blobs", "--offline")
    assert result.exit_code == 2
    said = " ".join(result.output.split())
    assert "timm:deit_tiny_patch16_224: VisionTransformer cannot take images of 32 px" in said
    assert "It takes 224 px: set the resolution for it alone" in said
    assert not (project / ".mobilebench/cells").exists()
    assert call("train", "blobs", "--offline", "--model", "shufflenet").exit_code == 0
    assert call("models", "check", "timm:deit_tiny_patch16_224").exit_code == 2
    params.write_text(text.replace("  resolution: 32", "  model_options: {img_size: 32}\n  resolution: 32"))
    assert call("models", "check", "timm:deit_tiny_patch16_224").exit_code == 0
    for command in ("status", "score"):
        assert "cannot take images" not in call(command).output


def test_a_failed_cell_is_seen_in_status_and_in_the_exit_code(
    project: Path, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mobilebench.execution import cell_run as runner

    def broken(*_: object) -> None:
        raise RuntimeError("a shape does not fit")

    grids.write(project)
    monkeypatch.setattr(runner, "build", broken)
    result = call("train", "blobs")
    assert result.exit_code == 1
    assert "2 of 2 cells are not finished" in result.output
    status = call("status").output
    assert "shufflenet.blobs.0, starnet.blobs.0: RuntimeError: a shape does not fit" in " ".join(status.split())
    assert "failed 0/2" in status


def test_offline_then_sync(project: Path, store: Path) -> None:
    grids.write(project)
    assert call("train", "blobs", "--offline").exit_code == 0
    assert call("status").output.count("undelivered") == 2
    assert "2 runs delivered" in call("sync").output
    assert "2 of 2 cells are finished" in call("status").output
    assert call("score").exit_code == 0


def test_a_grid_of_many_datasets_is_counted_by_dataset_and_what_is_got_by_hand_is_said(project: Path) -> None:
    call("init", "which_backbone_v1")
    shown = call("status").output
    assert re.search(r"^breakhis_400_grouped +33 *$", shown, re.MULTILINE)
    assert "0 of 660 cells are finished" in shown
    downloads, by_hand = (re.search(rf"{what}: (.*)", shown) for what in ("To download", "To be got by hand"))
    assert downloads is not None
    assert by_hand is not None
    assert "cifar10 (" in downloads[1]
    assert "plantclef" not in downloads[1]
    assert by_hand[1].startswith("neu, plantclef, breakhis_40_grouped")
