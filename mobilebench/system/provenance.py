"""Where a number comes from: the code's commit, the packages, the data's version and the machine.

What one line can say is a tag of every run; the rest goes with it as files (`write_files`), so that `mobilebench
reproduce` can say whether a checkout is able to make the number again.
"""

from __future__ import annotations

import hashlib
import json
import platform
from functools import cache
from importlib.metadata import distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from mobilebench.system.cpu import cores
from mobilebench.system.git import git

if TYPE_CHECKING:
    from collections.abc import Mapping

    import torch

PACKAGES = ("torch", "torchvision", "timm", "numpy")
SUITE, MACHINE, PATCH, PROJECT_PATCH = "suite.json", "environment.json", "uncommitted.patch", "project.patch"
_PATCH_LIMIT = 1_000_000  # characters; more is generated files, and no patch a person would apply
_LOCK = Path("requirements.lock")
OWN = Path(__file__).resolve().parents[2]


@cache
def environment() -> dict[str, str]:
    """Return the tags of every run on its surroundings: commits and dirty flags, package versions, machine.

    `git_commit` and `git_dirty` are of mobilebench's own files, unknown where it was installed without its repository;
    `project_commit` and `project_dirty` are of the folder that it runs in.
    """
    own, project = _revision(OWN, "mobilebench") if is_checkout() else ("unknown", "unknown"), _revision(Path())
    return {
        "git_commit": own[0],
        "git_dirty": own[1],
        "project_commit": project[0],
        "project_dirty": project[1],
        "mobilebench": version("mobilebench"),
        "python": platform.python_version(),
        **{package: version(package) for package in PACKAGES},
        "host": platform.node(),
        "cpu": processor(),
    }


def _revision(folder: Path, package: str | None = None) -> tuple[str, str]:
    """Return the commit of a folder's repository, and whether tracked files (of a package: any files) were changed."""
    commit = git("rev-parse", "HEAD", folder=folder)
    which = ("--", package) if package else ("--untracked-files=no",)
    status = git("status", "--porcelain", *which, folder=folder)
    return commit.strip() if commit else "unknown", "unknown" if status is None else str(bool(status)).lower()


@cache
def is_checkout() -> bool:
    """Return whether this program runs from files of its own repository, not as a copy in another one's folder."""
    return git("ls-files", "--error-unmatch", "mobilebench/__init__.py", folder=OWN) is not None


@cache
def dvc_digest(path: str) -> str | None:
    """Return the digest that dvc.lock has for an output (`md5`, with `.dir` for a folder), None when it has none."""
    try:
        stages = YAML(typ="safe").load(Path("dvc.lock").read_text(encoding="utf-8"))["stages"]
        outs = [out for stage in stages.values() for out in stage.get("outs", ())]
        return next((str(out["md5"]) for out in outs if out["path"] == path and "md5" in out), None)
    except (OSError, ValueError, YAMLError, KeyError, TypeError, AttributeError):  # no DVC here, or not yet run: no tag
        return None


def is_own_repository() -> bool:
    """Return whether the present folder is in the repository that this program runs from."""
    return is_checkout() and git("rev-parse", "--show-toplevel") == git("rev-parse", "--show-toplevel", folder=OWN)


def write_files(folder: Path, suite: Mapping[str, Any]) -> None:
    """Write into `folder` what does not fit a tag.

    These are the suite (as plain values), all packages with the machine, and the uncommitted changes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SUITE).write_text(json.dumps(suite, indent=1) + "\n", encoding="utf-8")
    (folder / MACHINE).write_text(json.dumps(machine(), indent=1) + "\n", encoding="utf-8")
    patches = {PATCH: _uncommitted(OWN) if is_checkout() else None}
    if not is_own_repository():
        patches[PROJECT_PATCH] = _uncommitted(Path.cwd())
    for name, patch in patches.items():
        if patch:
            (folder / name).write_text(patch, encoding="utf-8")


@cache
def machine() -> dict[str, Any]:
    """Return the packages, the lock file's digest and the hardware in full, as plain JSON values."""
    import psutil

    return environment() | {
        "platform": platform.platform(),
        "memory_bytes": psutil.virtual_memory().total,
        "physical_cores": psutil.cpu_count(logical=False),
        "requirements_lock_sha256": lock_digest(),
        "packages": packages(),
    }


def lock_digest() -> str | None:
    """Return the SHA-256 of requirements.lock, None when there is none."""
    return hashlib.sha256(_LOCK.read_bytes()).hexdigest() if _LOCK.exists() else None


def packages() -> dict[str, str]:
    """Return every installed distribution and its version."""
    return dict(sorted({d.metadata["Name"].lower(): d.version for d in distributions() if d.metadata["Name"]}.items()))


@cache
def _uncommitted(folder: Path) -> str | None:
    """Return what `git apply` needs to make the tracked files what they are now; None for nothing or too much."""
    patch = git("diff", "HEAD", "--no-ext-diff", "--no-color", folder=folder)
    return patch if patch and len(patch) <= _PATCH_LIMIT else None


def device_tags(device: torch.device) -> dict[str, str]:
    """Return the tags of a run on the device it was trained on. Called after training, so no context is made early."""
    import torch

    tags = {"device": str(device), "threads": str(torch.get_num_threads())}
    if device.type == "cuda":
        tags |= {"gpu": torch.cuda.get_device_name(device), "cuda": str(torch.version.cuda)}
        tags |= {
            "tf32_convolutions": str(torch.backends.cudnn.allow_tf32).lower(),
            "tf32_matmuls": str(torch.backends.cuda.matmul.allow_tf32).lower(),
            "cudnn_benchmark": str(torch.backends.cudnn.benchmark).lower(),
        }
    return tags


def processor() -> str:
    """Return the processor's name and how many of its cores this process may use: `Some CPU x8`."""
    return f"{_cpu_name()} x{cores()}"


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 - a device file of Linux only
            return next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
