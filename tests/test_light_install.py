"""What an installation without any extra can do, and what it says of the rest."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import mobilebench
from mobilebench.errors import UserError
from mobilebench.system.extras import EXTRA_OF, not_installed

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]

# Lets no package of an extra be imported, as where none is installed; `absent` is a list of their names.
PRELUDE = """
import importlib.abc, importlib.util, sys
class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
"""


def light(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run Python code where the packages of the extras cannot be imported."""
    return subprocess.run(
        [sys.executable, "-c", f"absent = {list(EXTRA_OF)}\n{PRELUDE}\n{code}"],
        cwd=folder, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def command(*words: str) -> str:
    return f"from mobilebench.cli import main; main({list(words)!r})"


def names(requirements: list[str]) -> set[str]:
    return {Requirement(line).name.lower().replace("_", "-") for line in requirements}


def test_the_extras_are_those_of_the_project_file() -> None:
    extras = PROJECT["optional-dependencies"]
    for package, extra in EXTRA_OF.items():
        assert package.replace("_", "-") in names(extras[extra])
        assert package not in names(PROJECT["dependencies"])
    everything = Requirement(extras["all"][0])
    assert everything.extras == set(extras) - {"all"}


WORKS = {
    ("score", "published"): "0.962",
    ("leaderboard", "published", "--dataset", "dogs"): "efficientnet is told apart from all 10 others",
    ("compare", "published", "mine.csv"): "B - A",
    ("study", "claims", "beyond_imagenet"): "Spearman",
    ("subsets", "--json"): '"subsets"',
    ("site",): "11 models x 7 datasets",
    ("data", "list"): "toy_shapes",
    ("init", "demo"): "params.yaml is now the suite demo",
    ("status",): "0 of 33 cells are finished",
}
REFUSED = {
    ("score", "--experiment", "demo"): "track",
    ("compare", "one", "other"): "track",
    ("ui",): "track",
    ("server",): "server",
    ("export", "demo/starnet/digits"): "export",
    ("models", "list"): "train",
    ("models", "profile"): "train",
}
CALLS = """
import json
from click.testing import CliRunner
from mobilebench.cli import main
found = [CliRunner(env={"COLUMNS": "200"}).invoke(main, words) for words in calls]
print(json.dumps([[one.exit_code, one.output] for one in found]))
"""


def called(commands: dict[tuple[str, ...], str], folder: Path) -> list[tuple[tuple[str, ...], int, str]]:
    """Call commands one after another in one light process."""
    done = light(f"calls = {list(commands)}\n{CALLS}", folder)
    assert done.returncode == 0, done.stderr
    return [(words, *answer) for words, answer in zip(commands, json.loads(done.stdout), strict=True)]


def test_the_wheel_has_the_files_of_the_package_and_no_other(tmp_path: Path) -> None:
    root = Path(mobilebench.__file__).parents[1]
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "mobilebench"], cwd=root, check=False,
        capture_output=True, text=True,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("no git here that could say which files there are")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=root, check=True,
        capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert packed == {name for name in listed.stdout.split("\n") if (root / name).is_file()}


def test_what_needs_results_alone_works(tmp_path: Path) -> None:
    rows = ["model,dataset,seed,metric,value,n_test", "starnet,dogs,0,top1,0.5,8580", "fbnet,dogs,0,top1,0.5,8580"]
    (tmp_path / "mine.csv").write_text("\n".join(rows) + "\n")
    for words, code, output in called(WORKS, tmp_path):
        assert code == 0, (words, output)
        assert WORKS[words] in output, words


def test_what_needs_more_names_the_extra(tmp_path: Path) -> None:
    preset = Path(mobilebench.__file__).parent / "config" / "presets" / "demo.yaml"
    (tmp_path / "params.yaml").write_text(preset.read_text(encoding="utf-8"))
    for words, code, output in called(REFUSED, tmp_path):
        assert code == 2, (words, output)
        assert f"pip install 'mobilebench[{REFUSED[words]}]'" in output, words


def test_a_report_on_files(tmp_path: Path) -> None:
    done = light(command("report", "published", "--out", "report"), tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "report" / "report.md").read_text(encoding="utf-8")
    assert "not checked against a tracking server" in page
    assert "| efficientnet |" in page
    assert "protocol ``" not in page
    assert (tmp_path / "report" / "report.html").exists()
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "thesis.tex").write_text("mine")
    for folder, why in (("else", "is not empty and holds no report"), (None, "name it with --out")):
        refused = light(command("report", "published", *(["--out", folder] if folder else [])), tmp_path)
        assert refused.returncode == 2
        assert why in refused.stderr


def test_the_api_works_on_files(tmp_path: Path) -> None:
    done = light(
        "import mobilebench as mb; m = mb.load_matrix('published'); print(mb.score(m).rows[0].model, "
        "len(mb.compare(m, m).rows))\n"
        "try: mb.create_model\nexcept mb.UserError as error: print(error)",
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("efficientnet ")
    assert "pip install 'mobilebench[train]'" in done.stdout


def test_another_missing_package_stays_an_error_of_the_program() -> None:
    assert not_installed(ModuleNotFoundError("no", name="numpy")) is None
    found = not_installed(ModuleNotFoundError("no", name="torch.nn"))
    assert isinstance(found, UserError)
