"""A finished run's weights as one safetensors file, or as a folder of the form that model hubs keep."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mobilebench.errors import UserError
from mobilebench.execution.exported import CONFIG, OURS, SAFETENSORS, write_safetensors
from mobilebench.export.card import card
from mobilebench.export.images import open_data
from mobilebench.export.onnx_export import raise_if_there
from mobilebench.export.onnx_file import ExportError
from mobilebench.export.timm_config import timm_config
from mobilebench.system.disk import disk_errors
from mobilebench.system.extras import require
from mobilebench.system.files import write_text

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.datasets.packing.packed import Packed
    from mobilebench.export.subject import Subject

README = "README.md"


def write_weights(subject: Subject, out: Path, *, force: bool) -> Path:
    """Write a run's weights and all that `load_model` needs as one file and return its path.

    Raises ExportError where it is there and `force` does not say to replace it.
    """
    path = out / f"{subject.name}.safetensors"
    raise_if_there([path], force=force)
    with disk_errors(out):
        return write_safetensors(path, subject.network.state_dict(), subject.safetensors_metadata(_data_of(subject)))


def write_folder(subject: Subject, folder: Path, *, force: bool) -> list[Path]:
    """Write model.safetensors, README.md and config.json and return their paths.

    `load_model` reads the folder, and for a network that timm can build `timm.create_model("local-dir:FOLDER")` too.
    Raises ExportError where one is there and `force` does not say to replace it.
    """
    paths = [folder / name for name in (SAFETENSORS, README, CONFIG)]
    raise_if_there(paths, force=force)
    packed = _data_of(subject)
    of_timm = timm_config(subject.made, subject.network)
    config = {**(of_timm or {"library_name": "mobilebench"}), OURS: subject.exported.to_values()}
    with disk_errors(folder):
        write_safetensors(paths[0], subject.network.state_dict(), subject.metadata(packed) | {"format": "pt"})
        write_text(paths[1], card(subject, packed, subject.predictions(), is_timms=of_timm is not None), durable=True)
        # Last: a folder without it is none that anything reads.
        write_text(paths[2], json.dumps(config, indent=1, ensure_ascii=False) + "\n", durable=True)
    return paths


def push_folder(folder: Path, repository: str) -> str:
    """Upload a folder to a repository of the Hugging Face hub, made where there is none, and return its address.

    Raises ExportError where the hub cannot be reached or refuses; the folder stays.
    """
    require("huggingface_hub")
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    later = f"{folder} is written; upload it later with `hf upload {repository} {folder}`"
    try:
        api = HfApi()
        api.create_repo(repository, exist_ok=True)
        return str(api.upload_folder(repo_id=repository, folder_path=folder))
    except HFValidationError as error:
        raise ExportError(
            f"{repository!r} is no name of a repository ({error}); expected OWNER/NAME. {later}"
        ) from None
    except HfHubHTTPError as error:
        raise ExportError(f"the hub refuses {repository}: {error}. Log in with `hf auth login`. {later}") from None
    except OSError as error:  # no network, or HF_HUB_OFFLINE
        raise ExportError(f"the hub cannot be reached ({error}). {later}") from None


def _data_of(subject: Subject) -> Packed | None:
    """Return the data that the run was trained on, None where this folder has other data or none."""
    try:
        return open_data(subject.made, subject.record)
    except UserError:
        return None
