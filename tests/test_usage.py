"""What mobilebench is used for, from an empty folder to the end, by the commands as a person types them.

`dvc repro`; the runs in MLflow's UI, in a real browser; `mobilebench score --experiment paper-v1`; the versions of a
model compared across runs and git revisions.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ENVIRONMENT = os.environ | {
    "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "COLUMNS": "200", "BROWSER": "true",
    "DVC_NO_ANALYTICS": "1",
    "GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b.c", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b.c",
}  # fmt: skip


def sh(command: str) -> str:
    """Run one line of a terminal in the current folder and return what it prints, its lines joined."""
    done = subprocess.run(command.split(), env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return " ".join(done.stdout.split())


def shrink() -> None:
    """Cut the paper's suite to two small datasets that need no download, one epoch, 32 px: minutes become seconds."""
    path = Path("params.yaml")
    text = re.sub(r"datasets: \[.*", "datasets: [toy_shapes, toy_textures]", path.read_text("utf-8"), count=1)
    changes = {
        "epochs: 100": "epochs: 1", "warmup_epochs: 5": "warmup_epochs: 0", "resolution: 224": "resolution: 32",
        "short_side: 256": "short_side: 32", "acceleration: auto": 'acceleration: "off"',
    }  # fmt: skip
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new, 1)
    path.write_text(text, "utf-8")


@contextlib.contextmanager
def ui() -> Iterator[str]:
    """`mobilebench ui` on a free port; yields the address that it prints."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["mobilebench", "ui", "--port", str(port)]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = ""
            while not (found := re.search(r"(http://\S+)", line)):
                line = process.stdout.readline()
                assert line, "mobilebench ui ended without an address"
            yield found[1]
        finally:
            process.terminate()


def shown(address: str, folder: Path) -> str:
    """Return the page as a browser builds it."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}",
               "--virtual-time-budget=20000", "--window-size=1600,1200", "--dump-dom", address]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout


def keep(message: str) -> None:
    """Commit the project with its scores, as docs/results.md says for comparing revisions."""
    for command in ("git add .", "git add -f results/accuracy.csv results/xscore.csv results/score.json"):
        sh(command)
    subprocess.run(["git", "commit", "-qm", message], env=ENVIRONMENT, check=True)


def test_the_four_usages(project: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    sh("git init -q")
    sh("mobilebench init paper_v1 --model shufflenet --model starnet")
    shrink()

    assert "4 figures" not in sh("dvc repro")
    assert Path("results/report.html").exists()
    again = sh("dvc repro")
    assert again.count("didn't change, skipping") == 6

    scored = sh("mobilebench score --experiment paper-v1")
    assert "paper-v1, protocol" in scored
    assert "score" not in sh("dvc status")  # the same again changed no file
    accuracy = pd.read_csv("results/accuracy.csv")
    assert len(accuracy) == 4
    assert set(accuracy["dataset"]) == {"toy_shapes", "toy_textures"}

    if CHROMIUM is not None:
        with ui() as address:
            page = shown(address, tmp_path_factory.mktemp("browser"))
            assert "paper-v1" in page
            assert f"mobilebench {version('mobilebench')}" in page  # the column Source
            for model in ("shufflenet", "starnet"):
                assert f"{model}.toy_shapes.0" in page

    sh("mobilebench register toy_shapes --model starnet")
    keep("the paper's settings")
    path = Path("params.yaml")
    change = "overrides: [{datasets: [toy_shapes], set: {label_smoothing: 0.3}}]"
    path.write_text(path.read_text("utf-8").replace("overrides: []", change), "utf-8")
    assert "Stage 'train@toy_textures' didn't change, skipping" in sh("dvc repro")  # of a setting of the other alone
    sh("mobilebench register toy_shapes --model starnet")
    keep("more smoothing")
    after = pd.read_csv("results/accuracy.csv")
    kept = set(after["run_id"]) & set(accuracy["run_id"])
    assert kept == set(accuracy["run_id"][accuracy["dataset"] == "toy_textures"])

    def value(frame: pd.DataFrame) -> float:
        return float(frame[(frame["model"] == "starnet") & (frame["dataset"] == "toy_shapes")]["value"].iloc[0])

    metrics = json.loads(sh("dvc metrics diff HEAD~1 --all --json"))["results/metrics.json"]["mean.toy_shapes"]
    for side, frame in (("old", accuracy), ("new", after)):
        assert metrics[side] == pytest.approx(frame[frame["dataset"] == "toy_shapes"]["value"].mean())
    assert "label_smoothing" in sh("dvc params diff HEAD~1 --targets params.yaml")
    assert "dvc_plots" in sh("dvc plots show")
    assert "dvc_plots" not in sh("git status --short")
    pairs = {
        "mobilebench.starnet.toy_shapes/1 mobilebench.starnet.toy_shapes/2": 1,
        "git:HEAD~1 git:HEAD": 2,
        "HEAD~1 experiment:paper-v1": 2,
    }
    for pair, cells in pairs.items():
        said = json.loads(sh(f"mobilebench compare {pair} --json"))
        (setting,) = [change for change in said["changes"] if change["kind"] == "protocol"]
        assert setting == {"kind": "protocol", "name": "label_smoothing", "a": "0.05", "b": "0.3", "count": cells}
        if cells == 1:
            assert said["differences"][0]["a"] == pytest.approx(value(accuracy))
            assert said["differences"][0]["b"] == pytest.approx(value(after))
        if pair == "git:HEAD~1 git:HEAD":
            code = {change["name"] for change in said["changes"] if change["kind"] == "code"}
            assert "project_commit" in code
            assert "git_commit" not in code  # that is the program's
