"""Which modules each stage of dvc.yaml uses, and their content as a digest: an edit to the report retrains nothing.

The digests are in the stages' inputs, so that dvc.yaml names no path of this program and is the same in a clone and in
a project of its own.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

_ROOT = Path(__file__).parents[1]

STAGE_CODE = {
    "prepare": ("datasets",),
    "train": (
        "config/checks.py",
        "config/parsing.py",
        "config/phases.py",
        "config/pixels.py",
        "config/pretrained.py",
        "config/protocol.py",
        "config/recipe.py",
        "config/tuning.py",
        "evaluation",
        "models",
        "training",
        "execution/cell_run.py",
        "execution/network.py",
        "execution/training_run.py",
        "execution/tuned_cell.py",
        "runs/trials.py",
        "search/space.py",
    ),
    "score": (
        "runs/records.py",
        "runs/score_check.py",
        "studies/beyond_imagenet",
        "evaluation",
        "scoring",
        "analysis/collect.py",
        "analysis/kept.py",
        "analysis/score_files.py",
    ),
    "report": (
        "studies/beyond_imagenet",
        "report",
        "analysis/costs.py",
        "analysis/devices.py",
        "analysis/pretraining.py",
        "evaluation",
        "scoring",
    ),
}


def code_of(stage: str, root: Path = _ROOT) -> dict[str, str]:
    """Return {module or package that a stage uses: digest of its files}, paths relative to the package."""
    return {path: _digest(root / path) for path in STAGE_CODE[stage]}


def _digest(path: Path) -> str:
    """Return the digest of a file, or of the names and contents of all files of a folder but compiled ones."""
    found = hashlib.sha256()
    files = [path] if path.is_file() else [file for file in sorted(path.rglob("*")) if file.is_file()]
    for file in files:
        if file.suffix not in {".pyc", ".so"} and "__pycache__" not in file.parts:
            found.update(f"{file.relative_to(path).as_posix()}\0".encode())
            found.update(hashlib.sha256(file.read_bytes()).digest())
    return found.hexdigest()[:16]
