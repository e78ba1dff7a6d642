"""Training offline needs neither a tracking store nor the packages of scores and searches."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import grids
import pytest

from mobilebench.datasets.packing.packed import read_meta
from mobilebench.runs.events import Finish
from mobilebench.runs.journal import Journal
from mobilebench.system.layout import STATE

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT = """
import builtins, sys
real = builtins.__import__
def blocked(name, globals=None, locals=None, fromlist=(), level=0):
    if level == 0 and name.split(".")[0] in {"mlflow", "pandas", "sklearn", "dvc", "optuna"}:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return real(name, globals, locals, fromlist, level)
builtins.__import__ = blocked
from mobilebench.cli import main
main()
"""


TUNING = "{space: {lr: [1.0e-2, 1.0e-3]}}"


@pytest.mark.parametrize(
    ("metric", "tuning"),
    [("", "null"), ("macro_f1", "null"), ("", TUNING)],  # scikit-learn's: had from the predictions later
)
def test_offline_training_imports_no_mlflow_pandas_scikit_learn_dvc_or_optuna(
    project: Path, metric: str, tuning: str
) -> None:
    grids.write(project, tuning=tuning, val=0.0 if tuning == "null" else 0.25)
    folder = project / "data/packed/blobs"
    (folder / "meta.json").write_text(replace(read_meta(folder), metric=metric).to_json())
    command = [sys.executable, "-c", WITHOUT, "train", "blobs", "--model", "shufflenet", "--offline"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (path,) = STATE.glob("*/journal.jsonl")
    assert Journal(path.parent).last(Finish) is not None
