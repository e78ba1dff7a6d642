"""The image, as far as it can be tested where none is built: what it copies is there, what it installs is locked."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")


def test_hadolint_finds_nothing() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    found = subprocess.run([hadolint, "--no-color", "-"], input=DOCKERFILE, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")


def copied() -> list[str]:
    """Return what is copied from the project's folder."""
    lines = re.findall(r"^COPY (?!--from)(.*) \S+$", DOCKERFILE, re.MULTILINE)
    return [source for line in lines for source in line.split()]


def test_what_is_copied_is_exactly_what_docker_is_given() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert sorted(line[1:] for line in lines if line.startswith("!")) == sorted(copied())


def test_a_wheel_is_built_from_what_is_copied(tmp_path: Path) -> None:
    for source in copied():
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, tmp_path / source, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, tmp_path)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"]
    subprocess.run(build, cwd=tmp_path, check=True, capture_output=True, timeout=120)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert "mobilebench/cli/grid.py" in zipfile.ZipFile(wheel).namelist()


def packages(lock: str) -> dict[str, str]:
    """Return the entries of a lock by their packages, each with its hashes."""
    entries = re.split(r"^(?=\S)", lock, flags=re.MULTILINE)
    return {entry.partition("==")[0]: entry for entry in entries if entry}


def test_all_but_pytorch_keeps_its_hashes_where_pytorch_comes_from_an_index_of_the_users(tmp_path: Path) -> None:
    """By the very lines of the Dockerfile."""
    (lines,) = re.findall(r"(awk '.*' \\\n *requirements\.lock >others\.lock) \\\n", DOCKERFILE)
    (pytorch,) = re.findall(r"(grep -oE '.*' requirements\.lock >torch\.lock) \\\n", DOCKERFILE)
    shutil.copy(ROOT / "requirements.lock", tmp_path)
    subprocess.run(["sh", "-ec", f"{lines}\n{pytorch}"], cwd=tmp_path, check=True)
    lock, others = packages((ROOT / "requirements.lock").read_text()), packages((tmp_path / "others.lock").read_text())
    assert others.items() <= lock.items()
    assert all("--hash=sha256:" in entry for entry in others.values())
    left_out = set(lock) - set(others)
    assert left_out > {"torch", "torchvision", "triton", "nvidia-cudnn-cu13", "cuda-toolkit"}
    assert all(name.startswith(("torch", "triton", "cuda-", "nvidia-")) for name in left_out)
    assert "nvidia-ml-py" not in left_out  # it reads energy and has no CUDA in it
    assert {"numpy", "timm", "mlflow", "hatchling"} < set(others)
    assert [line.partition("==")[0] for line in (tmp_path / "torch.lock").read_text().split()] == [
        "torch",
        "torchvision",
    ]
