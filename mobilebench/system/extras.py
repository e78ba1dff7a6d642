"""Packages that only some uses need: which extra of the installation brings each, and the sentence that says so."""

from __future__ import annotations

from contextlib import suppress
from importlib.util import find_spec

from mobilebench.errors import UserError

EXTRA_OF = {
    "dvc": "train",
    "h5py": "formats",
    "huggingface_hub": "train",
    "imagecodecs": "formats",
    "psutil": "train",
    "pydicom": "formats",
    "safetensors": "train",
    "tifffile": "formats",
    "timm": "train",
    "torch": "train",
    "torchvision": "train",
    "mlflow": "track",
    "onnx": "export",
    "onnxruntime": "export",
    "onnxscript": "export",
    "optuna": "sensitivity",
    "psycopg": "server",
    "ray": "ray",
}


class NotInstalledError(UserError):
    """A package is needed that this installation was made without; the message names the extra that brings it."""


def not_installed(error: ModuleNotFoundError) -> NotInstalledError | None:
    """Return the sentence for a failed import of such a package; None where it is of any other."""
    package = (error.name or "").partition(".")[0]
    if package not in EXTRA_OF:
        return None
    extra = EXTRA_OF[package]
    return NotInstalledError(
        f"this needs the package {package}, which is not installed here: pip install 'mobilebench[{extra}]' brings it "
        "(mobilebench[all]: everything). Without it mobilebench scores, compares and reports results from files, as in "
        "`mobilebench score FOLDER`"
    )


def require(package: str) -> None:
    """Raise NotInstalledError where a package of an extra is not there, before anything is begun that needs it."""
    with suppress(ModuleNotFoundError):
        if find_spec(package) is not None:
            return
    error = not_installed(ModuleNotFoundError(name=package))
    assert error is not None
    raise error
