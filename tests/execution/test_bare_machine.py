"""Training offline needs neither a tracking store nor the packages of scores and searches."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import grids

from mobilebench.datasets.packing.packed import read_meta
from mobilebench.runs.events import Finish
from mobilebench.runs.journal import Journal
from mobilebench.system.layout import STATE

if TYPE_CHECKING:
    from pathlib import Path

WITHOUT = """
import builtins, os, sys
real = builtins.__import__
def blocked(name, globals=None, locals=None, fromlist=(), level=0):
    if level == 0 and name.split(".")[0] in {"mlflow", "pandas", "sklearn", "dvc", "optuna"}:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)
    return real(name, globals, locals, fromlist, level)
builtins.__import__ = blocked
from mobilebench.cli import main
for folder in sys.argv[1:]:
    os.chdir(folder)
    main(["train", "blobs", "--model", "shufflenet", "--offline"], standalone_mode=False)
"""


TUNING = "{space: {lr: [1.0e-2, 1.0e-3]}}"
CASES = [("", "null"), ("macro_f1", "null"), ("", TUNING)]  # scikit-learn's metric: had from the predictions later


def test_offline_training_imports_no_mlflow_pandas_scikit_learn_dvc_or_optuna(project: Path) -> None:
    """By each dataset's metric and tuned, one after another in one process: importing the stack takes seconds."""
    folders = [project / str(number) for number in range(len(CASES))]
    for folder, (metric, tuning) in zip(folders, CASES, strict=True):
        folder.mkdir()
        with contextlib.chdir(folder):
            grids.write(folder, tuning=tuning, val=0.0 if tuning == "null" else 0.25)
        packed = folder / "data/packed/blobs"
        (packed / "meta.json").write_text(replace(read_meta(packed), metric=metric).to_json())
    command = [sys.executable, "-c", WITHOUT, *map(str, folders)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    for folder in folders:
        (path,) = (folder / STATE).glob("*/journal.jsonl")
        assert Journal(path.parent).last(Finish) is not None
