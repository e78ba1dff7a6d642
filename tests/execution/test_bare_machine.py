"""Training offline needs neither a tracking store nor the packages of scores and searches."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import grids

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


def test_offline_training_imports_no_mlflow_pandas_scikit_learn_dvc_or_optuna(project: Path) -> None:
    grids.write(project)
    command = [sys.executable, "-c", WITHOUT, "train", "blobs", "--model", "shufflenet", "--offline"]
    answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (path,) = STATE.glob("*/journal.jsonl")
    assert Journal(path.parent).last(Finish) is not None
