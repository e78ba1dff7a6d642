"""The project folder a person works in: making one, and writing its params.yaml without losing theirs."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedSeq

from mobilebench.config.ids import is_id
from mobilebench.config.suite import PARAMS, parse_suite, preset_text, presets
from mobilebench.errors import UserError
from mobilebench.system.extras import require
from mobilebench.system.files import read_text, write_text
from mobilebench.system.git import git

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_PROJECT = resources.files("mobilebench.config") / "project"
# Not dvc.yaml here: DVC reads every file of that name in a repository, this program's own included.
_FILES = {"dvc.yaml": "stages.yaml", ".gitignore": "gitignore", ".dvcignore": "dvcignore"}


def write_params(suite: str, models: Sequence[str] = (), data: Mapping[str, str] | None = None, *, force: bool) -> None:
    """Write params.yaml from a packaged suite, with `models` in place of its own where some are given.

    data: one's own datasets beside the suite's, a folder or a CSV by id.

    Raises UserError for an unknown suite, and, unless forced, when the present params.yaml holds settings that neither
    git nor a packaged suite has: they would be lost.
    """
    named = "".join([*(f" --model {m}" for m in models), *(f" --data {k}={v}" for k, v in (data or {}).items())])
    text = changed_suite(preset_text(suite), models, data or {}) if models or data else preset_text(suite)
    replace_params(text, force=force, again=f"mobilebench init {suite}{named} --force")


def changed_suite(text: str, models: Sequence[str], own: Mapping[str, str]) -> str:
    """Return the YAML of a suite with other models and more datasets, its comments and layout kept.

    models: those in place of its own; none keeps them. An override keeps the models left, and one for none of them is
    left out. own: folders or CSVs of one's own by dataset id. Raises UserError for a suite that these do not make.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096
    yaml.indent(mapping=2, sequence=4, offset=2)
    data = yaml.load(text)
    if models:
        _set_models(data, models)
    for name, path in own.items():
        if name in data["datasets"]:
            raise UserError(f"--data {name}={path}: the suite has a dataset of that name; give yours another")
        data["datasets"].append(name)
        data.setdefault("data_sources", {})[name] = {"csv" if path.lower().endswith(".csv") else "folder": path}
    yaml.representer.add_representer(type(None), lambda r, _: r.represent_scalar("tag:yaml.org,2002:null", "null"))
    out = io.StringIO()
    yaml.dump(data, out)
    parse_suite(out.getvalue(), PARAMS.name)
    return out.getvalue()


def own_data(given: Sequence[str]) -> dict[str, str]:
    """Return the folders and CSVs of `ID=PATH` texts by id. Raises UserError for another text or nothing at PATH."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not (equals and is_id(name) and path):
            raise UserError(f"--data {text}; expected ID=PATH, ID of lower-case letters, digits and _")
        there = Path(path)
        if not (there.is_dir() or (there.is_file() and there.suffix.lower() == ".csv")):
            what = "a file" if there.exists() else "nothing"
            raise UserError(f"--data {text}: there is {what} at {path}; expected a folder of class folders, or a CSV")
        if name in found:
            raise UserError(f"--data {text}: {name} is {found[name]} already; give each dataset an id of its own")
        found[name] = path
    return found


def _set_models(data: Any, models: Sequence[str]) -> None:
    data["models"] = list(models)
    overrides = data["protocol"].get("overrides") or []
    for override in overrides:
        if "models" in override:
            override["models"] = CommentedSeq(name for name in override["models"] if name in models)
            override["models"].fa.set_flow_style()
    data["protocol"]["overrides"] = [one for one in overrides if one.get("models", True)]


def replace_params(text: str, *, force: bool, again: str = "the same command and --force") -> None:
    """Write params.yaml; raises UserError as `write_params` does, naming the command that replaces it all the same."""
    if PARAMS.exists() and not force and not _is_kept(read_text(PARAMS, "the YAML of a suite")):
        raise UserError(f"{PARAMS} has changes that git does not have; commit them, or replace them with `{again}`")
    write_text(PARAMS, text)


def make_project() -> list[str]:
    """Make this folder a project that `dvc repro` works in; return sentences on what was written and what is left.

    dvc.yaml, .gitignore and .dvcignore are written where they are absent, and `dvc init` is called where DVC is there
    and the folder is in no DVC project. What is there already is left alone. Raises UserError where `dvc init` fails.
    """
    made = []
    for name, text in _FILES.items():
        path = Path(name)
        if not path.exists():
            write_text(path, (_PROJECT / text).read_text(encoding="utf-8"))
            made.append(name)
    said = [f"Written for `dvc repro`: {', '.join(made)}."] if made else []
    if "mobilebench train" not in read_text(Path("dvc.yaml"), "the stages of a project, in YAML"):
        said.append(
            "dvc.yaml here is of another project, so `dvc repro` will not train: work in a folder of its own, or call "
            "`mobilebench data prepare`, `train`, `score` and `report` yourself."
        )
    if not any((folder / ".dvc").is_dir() for folder in (Path.cwd(), *Path.cwd().parents)):
        said.append(_init_dvc())
    return said


def _init_dvc() -> str:
    try:
        require("dvc")
    except UserError as error:
        return f"For `dvc repro` {error}"
    top = git("rev-parse", "--show-toplevel")
    scm = "--no-scm" if top is None else "--subdir" if Path(top.strip()).resolve() != Path.cwd().resolve() else ""
    command = [sys.executable, "-m", "dvc", "init", "--quiet", *([scm] if scm else [])]
    done = subprocess.run(  # noqa: S603 - a fixed command
        command, capture_output=True, text=True, check=False, env=os.environ | {"DVC_NO_ANALYTICS": "1"}
    )
    if done.returncode:
        raise UserError(f"`dvc init` failed here: {done.stderr.strip()[-500:]}; params.yaml and dvc.yaml are written")
    write_text(Path(".dvc/config"), _dvc_config(no_scm=top is None))
    return "DVC keeps packed data and results' versions here (`dvc init`)" + (
        "; with git (`git init`) it could keep their history too." if top is None else "."
    )


def _dvc_config(*, no_scm: bool) -> str:
    text = (_PROJECT / "dvc_config").read_text(encoding="utf-8")
    return text.replace("[core]\n", "[core]\n    no_scm = true\n", 1) if no_scm else text


def _is_kept(text: str) -> bool:
    if text in {preset_text(name) for name in presets()}:
        return True
    return git("show", f"HEAD:./{PARAMS}") == text
