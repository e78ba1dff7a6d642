"""What DVC sees of params.yaml, of one's own images and of networks: a stage's file changes when its own things do."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grids
import pytest
from PIL import Image
from ruamel.yaml import YAML

from mobilebench.config.data import DerivedData, OwnData
from mobilebench.config.protocol import Override
from mobilebench.datasets.packing.prepare import prepare
from mobilebench.execution.stage_code import STAGE_CODE, code_of
from mobilebench.execution.stage_inputs import write_inputs
from mobilebench.execution.suites import open_suite

if TYPE_CHECKING:
    from mobilebench.config.suite import Suite

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def suite(project: Path) -> Suite:
    return grids.write(project)


def written(suite: Suite) -> dict[str, str]:
    shutil.rmtree("inputs", ignore_errors=True)
    return {path.relative_to("inputs").as_posix(): path.read_text() for path in write_inputs(suite, Path("inputs"))}


def changes(suite: Suite, before: dict[str, str]) -> set[str]:
    after = written(suite)
    assert after.keys() == before.keys()
    return {name for name in after if after[name] != before[name]}


def test_nothing_changes_them_but_what_they_are_of(suite: Suite) -> None:
    before = written(suite)
    assert set(before) == {"prepare/blobs.json", "train/blobs.json", "score.json", "report.json"}
    assert changes(suite, before) == set()
    assert changes(replace(suite, runtime=replace(suite.runtime, threads=2)), before) == set()


def test_images_added_replaced_or_taken_away_are_seen(suite: Suite) -> None:
    before = written(suite)
    path = Path("source/train/dark/00.png")
    content, stat = path.read_bytes(), path.stat()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # replaced by a file of the same size and time
    assert changes(suite, before) == {"prepare/blobs.json"}
    path.write_bytes(content)
    assert changes(suite, before) == set()
    Image.new("RGB", (16, 16)).save("source/train/dark/99.png")
    assert changes(suite, before) == {"prepare/blobs.json"}


def test_images_listed_in_a_csv_are_seen(suite: Suite) -> None:
    names = [path.relative_to("source").as_posix() for path in sorted(Path("source").rglob("*.png"))]
    Path("list.csv").write_text("path,label\n" + "".join(f"{name},{name.split('/')[1]}\n" for name in names))
    listed = replace(suite, data_sources={"blobs": OwnData(csv="list.csv", root="source")})
    before = written(listed)
    (Path("source") / names[5]).write_bytes(b"another image")
    assert changes(listed, before) == {"prepare/blobs.json"}


def test_hflip_is_seen_and_a_moved_folder_is_not(suite: Suite) -> None:
    before = written(suite)
    assert changes(replace(suite, data_sources={"blobs": OwnData(folder="source", hflip=False)}), before) == {
        "prepare/blobs.json"
    }
    Path("source").rename("moved")
    assert changes(replace(suite, data_sources={"blobs": OwnData(folder="moved")}), before) == set()


def test_a_domain_is_the_reports_alone(suite: Suite) -> None:
    before = written(suite)
    own = replace(suite.data_sources["blobs"], domain="generated")
    assert changes(replace(suite, data_sources={"blobs": own}), before) == {"report.json"}


def test_packed_data_without_its_source_stays_valid(suite: Suite) -> None:
    before = written(suite)
    shutil.rmtree("source")
    assert changes(suite, before) == set()


def test_a_derived_dataset_is_drawn_again_when_its_parent_or_its_entry_changes(suite: Suite) -> None:
    """Whether the parent is in the suite or not."""
    half = {"half": DerivedData("blobs", train_fraction=0.5)}
    alone = replace(suite, datasets=("half",), data_sources=suite.data_sources | half)
    both = replace(alone, datasets=("blobs", "half"))
    before, before_both = written(alone), written(both)
    assert changes(alone, before) == set()
    third = {"half": DerivedData("blobs", train_fraction=0.3)}
    assert changes(replace(alone, data_sources=suite.data_sources | third), before) == {"prepare/half.json"}
    Image.new("RGB", (16, 16)).save("source/train/dark/99.png")
    assert changes(alone, before) == {"prepare/half.json"}
    assert changes(both, before_both) == {"prepare/blobs.json", "prepare/half.json"}


def test_only_the_stages_of_changed_cells_are_seen_to_change(suite: Suite) -> None:
    two = replace(suite, datasets=("blobs", "toy_shapes"))
    before = written(two)
    override = Override({"lr": 1e-4}, datasets=("toy_shapes",))
    changed = replace(two, protocol=replace(two.protocol, overrides=(override,)))
    assert changes(changed, before) == {"train/toy_shapes.json", "score.json", "report.json"}
    policy = Override({"data": {"short_side": 8}}, datasets=("toy_shapes",))
    changed = replace(two, protocol=replace(two.protocol, overrides=(policy,)))
    assert {"prepare/toy_shapes.json", "train/toy_shapes.json"} <= changes(changed, before)
    assert not {"prepare/blobs.json", "train/blobs.json"} & changes(changed, before)


def test_a_network_from_outside_is_seen(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = replace(suite, models=("shufflenet", "timm:mobilenetv3_small_050"))
    before = written(outside)
    monkeypatch.setattr("mobilebench.models.external.metadata.version", lambda _: "0.0.1")
    assert changes(outside, before) == {"train/blobs.json"}


def test_an_edited_metric_from_outside_is_seen_where_it_decides(
    suite: Suite, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = grids.write(project, val=0.25, selection="{best_val: {metric: nll}}")
    read = replace(suite, score=replace(suite.score, metric="nll"))
    before = written(chosen), written(read)
    monkeypatch.setattr("mobilebench.execution.stage_inputs.metric_fingerprint", lambda name: f"code of {name}")
    assert changes(chosen, before[0]) == {"train/blobs.json"}
    assert changes(read, before[1]) == {"score.json"}


def test_dvc_tracks_no_key_that_params_may_leave_out() -> None:
    """DVC fails at a stage, perhaps after hours, when a key it tracks is not there."""
    pipeline = YAML(typ="safe", pure=True).load((REPOSITORY / "dvc.yaml").read_text())
    assert [name for name, stage in pipeline["stages"].items() if "params" in stage] == []
    files = {"prepare/${item.dataset}.json", "train/${item.dataset}.json", "score.json", "report.json"}
    deps = {dep for stage in pipeline["stages"].values() for dep in stage.get("deps", ())}
    assert {f"results/inputs/{name}" for name in files} <= deps


def test_a_project_of_its_own_has_the_stages_of_this_one() -> None:
    packaged = REPOSITORY / "mobilebench" / "config" / "project"
    assert (packaged / "stages.yaml").read_text() == (REPOSITORY / "dvc.yaml").read_text()
    assert (packaged / "dvc_config").read_text() == (REPOSITORY / ".dvc" / "config").read_text()
    for name in ("gitignore", "dvcignore"):
        ours = (packaged / name).read_text().splitlines()
        assert set(ours) <= set((REPOSITORY / f".{name}").read_text().splitlines())


def test_dvc_reads_this_repository_and_finds_its_stages_alone() -> None:
    """DVC reads every dvc.yaml below the folder, and fails at the first that it does not understand."""
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "stage", "list", "--all"], cwd=REPOSITORY, capture_output=True, text=True,
        check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("inputs ")
    assert "dvc.yaml:" not in done.stdout  # of a folder below


def test_an_edit_of_the_program_is_seen_by_the_stages_that_use_it(tmp_path: Path) -> None:
    root = tmp_path / "package"
    shutil.copytree(REPOSITORY / "mobilebench", root, ignore=shutil.ignore_patterns("__pycache__"))

    def changed_by(path: str) -> set[str]:
        before = {stage: code_of(stage, root) for stage in STAGE_CODE}
        with (root / path).open("a") as file:
            file.write("# edited\n")
        return {stage for stage in STAGE_CODE if code_of(stage, root) != before[stage]}

    assert changed_by("report/templates/report.html.j2") == {"report"}
    assert changed_by("evaluation/metrics.py") == {"train", "score", "report"}
    assert changed_by("datasets/added.py") == {"prepare"}
    assert changed_by("cli/grid.py") == set()
    assert changed_by("models/compiled.pyc") == set()


def test_no_module_that_says_how_a_cell_is_trained_is_left_out() -> None:
    """What the settings' modules import of their own room counts as they do; a list made by hand forgets a new one."""
    root = REPOSITORY / "mobilebench"
    listed = {path for path in STAGE_CODE["train"] if path.startswith("config/")}
    imported = {
        f"config/{node.module.rpartition('.')[2]}.py"
        for path in listed
        for node in ast.walk(ast.parse((root / path).read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mobilebench.config.")
    }
    assert imported - listed == set()


def test_dvc_runs_the_first_stages_of_the_shortest_params(suite: Suite, project: Path) -> None:
    assert "score:" not in (project / "params.yaml").read_text()
    shutil.copy(REPOSITORY / "dvc.yaml", project)
    run = [str(Path(sys.executable).with_name("dvc"))]
    environment = os.environ | {
        "DVC_NO_ANALYTICS": "1", "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
    }  # fmt: skip
    subprocess.run([*run, "init", "-q", "--no-scm"], check=True, env=environment)
    shutil.rmtree("data/packed")
    done = subprocess.run([*run, "repro", "prepare"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    again = subprocess.run([*run, "repro", "prepare"], env=environment, capture_output=True, text=True, check=False)
    assert "'prepare@blobs' didn't change, skipping" in again.stdout
    assert json.loads(Path("results/inputs/score.json").read_text())["score"] == {
        "anchors": "grid",
        "lam": 0.5,
        "metric": None,
    }


def test_prepare_sees_an_image_replaced_by_one_of_the_same_size(suite: Suite, project: Path) -> None:
    def pack() -> str:
        folder = prepare(
            "blobs", policy=suite.protocol.data, raw_dir=project / "raw", out_dir=project / "data/packed", workers=1,
            own=open_suite().data_sources,
        )  # fmt: skip
        return (folder / "index.csv").read_text()

    before = pack()
    Image.new("RGB", (16, 16)).save("source/train/dark/00.bmp")
    with_black = pack()
    Image.new("RGB", (16, 16), "white").save("source/train/dark/00.bmp")
    assert len({before, with_black, pack()}) == 3
