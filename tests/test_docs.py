"""README, CONTRIBUTING and the pages of docs/ say what is: every command, link, setting and file in them exists.

Commands are taken from blocks of `console` and `sh` and from code between backticks. Each is given to the command line
as it stands, with the callbacks left out. Those that only read results are carried out on a small trained grid, whose
names stand in for those of the demo. Words in capitals (DATASET, RUN_ID) stand for what a reader fills in.
"""

from __future__ import annotations

import re
import shlex
import shutil
import sys
import tomllib
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import click
import grids
import pandas as pd
import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

import mobilebench
from mobilebench.cli import COMMANDS, main
from mobilebench.config.parsing import parse
from mobilebench.config.phases import FLAT
from mobilebench.config.suite import Suite, load_suite, preset_text, presets
from mobilebench.datasets.registry import DATASETS
from mobilebench.evaluation import metrics
from mobilebench.models import external
from mobilebench.runs.records import Record, read_results
from mobilebench.search.space import plan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parent.parent
TEXTS = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md")))
}
README, CONTRIBUTING = TEXTS["README.md"], TEXTS["CONTRIBUTING.md"]
PAGES = {name.removeprefix("docs/"): text for name, text in TEXTS.items() if name.startswith("docs/")}

FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
FIRST = {"do", "then", "else"}  # words of the shell before a command
READERS = {  # what they print is in files or in the store: carried out here; a few that take seconds are elsewhere
    *("clean", "compare", "inspect", "leaderboard", "report", "reproduce", "score", "status", "study", "subsets"),
    *("data audit", "data list", "init", "models check", "place", "site"),
}
# What the small grid has in place of the demo's and the paper's names, and of words in capitals.
HERE = {"demo": "tiny", "paper-v1": "tiny", "digits": "blobs", "my_parts": "blobs", "mobilenet": "shufflenet"}
SHOWN = {
    "/media/stick/project": "source",
    "SEED": "0",
    "SUITE": "demo",
    "FOLDER": "source",
    "lab_b": "results",
    "THEIR_RESULTS": "results",
    "COMMAND": "status",
    "A": "tiny",
    "B": "tiny",
}
REFUSED = {  # by this grid, as the page says of what they need
    "score --anchors paper": "no fixed anchors for blobs",
    "place": "the reference none of these",
    "place --reference FOLDER": "source has no results",
    "place --reference results/published/pocket_v1": "the reference none of these",
    "compare published results": "no cell in common",
    "report published --out published-report --devices FILE --under-ms 5,10,20": "no file FILE",
    "models check mynet": "no model is called 'mynet'",
}


class Block(NamedTuple):
    """A fenced block of a page."""

    page: str
    language: str
    text: str


def blocks(*languages: str) -> list[Block]:
    return [
        Block(page, language, re.sub(rf"^{indent}", "", text, flags=re.MULTILINE))
        for page, whole in TEXTS.items()
        for indent, language, text in FENCE.findall(whole)
        if language in languages
    ]


def commands(shell: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command of a piece of shell, without variables set before it."""
    for line in shell.splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="&|;")
        lexer.whitespace_split = True
        words: list[str] = []
        for token in [*lexer, ";"]:
            if token.strip("&|;"):
                words.append(token)
                continue
            while words and (re.fullmatch(r"[A-Z_]+=.*", words[0]) or words[0] in FIRST):
                del words[0]
            if words:
                yield tuple(words)
            words = []


def documented(program: str) -> list[tuple[str, ...]]:
    """Return the words after `program` of every command of that program in all pages, each once."""
    shells = [block.text for block in blocks("sh", "bash")]
    for block in blocks("console"):
        shells += re.findall(r"^\$ (.*)", block.text, re.MULTILINE)
    shells += [code for page in TEXTS.values() for code in re.findall(rf"`({program} [^`]+)`", FENCE.sub("", page))]
    shells = [shell.replace("\\\n", " ") for shell in shells]
    found = [words[1:] for shell in shells for words in commands(shell) if words[0] == program]
    return list(dict.fromkeys(found))


MOBILEBENCH = documented("mobilebench")


def test_commands_are_found_in_every_form() -> None:
    """Of a block with several on a line, behind variables, in an indented block, between backticks."""
    assert list(commands("A=1 x 'y z' & do w  # v\nu | t")) == [("x", "y z"), ("w",), ("u",), ("t",)]
    assert ("score", "--experiment", "demo") in MOBILEBENCH
    assert ("run", "--on", "slurm", "--gpus-per-cell", "0.25") in MOBILEBENCH
    assert ("train", "DATASET", "--model", "MODEL", "--seed", "SEED") in MOBILEBENCH
    assert ("sync", "/media/stick/project") in MOBILEBENCH
    assert len(MOBILEBENCH) > 60


@pytest.mark.parametrize("words", MOBILEBENCH, ids=" ".join)
def test_the_command_line_takes_every_command(
    words: tuple[str, ...], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "source").mkdir()
    called = []
    monkeypatch.setattr(click.Command, "invoke", lambda _, context: called.append(context.command_path))
    try:
        main.main([SHOWN.get(word, word) for word in words], prog_name="mobilebench", standalone_mode=False)
    except click.MissingParameter as error:
        if error.ctx is None or error.ctx.command_path != " ".join(["mobilebench", *words]):
            raise  # but a sentence may name a command alone
    else:
        assert called or "--help" in words
    assert not COMMANDS[words[0] if words[0] in COMMANDS else SHOWN[words[0]]].hidden


def test_every_command_of_the_program_is_documented() -> None:
    """The reference is made from the commands; here, each is also shown at work or named."""
    assert {words[0] for words in MOBILEBENCH} >= {name for name, entry in COMMANDS.items() if not entry.hidden}


def _readers() -> list[tuple[str, ...]]:
    named_alone = {("study", "audit"), ("score", "FOLDER")}  # in a sentence, or of what another has published
    found = [words for words in MOBILEBENCH if words[0] in READERS or " ".join(words[:2]) in READERS]
    return [words for words in found if words not in named_alone]


@pytest.fixture(scope="session")
def _scored(made_once: Callable[..., Path], trained_folder: Path) -> Path:
    def make(folder: Path) -> None:
        grids.copy(trained_folder, folder)
        done = CliRunner().invoke(main, ["score"])
        assert done.exit_code == 0, done.output

    return made_once("scored", make)


@pytest.fixture
def scored(_scored: Path, project: Path, new_process: Callable[[], None]) -> Path:
    """A project folder with two finished cells, their store and their scores; it is the current folder."""
    grids.copy(_scored, project)
    new_process()
    return project


@pytest.mark.parametrize("words", _readers(), ids=" ".join)
def test_commands_that_read_results_are_carried_out(words: tuple[str, ...], scored: Path) -> None:
    (record, *_) = read_results(scored / "results")
    shutil.copytree(ROOT / "results/published", scored / "results/published")
    known = HERE | SHOWN | {"RUN_ID": record.run_id, "RUN": record.run_id, "DATASET": "blobs", "MODEL": "starnet"}
    known |= {
        "MODEL_A": "starnet",
        "MODEL_B": "shufflenet",
        "lite0_scratch": "starnet",
        "lite0_probe": "shufflenet",
        "NAME": _name(words),
        "HEAD": "tiny",
    }
    if "--under-ms" in words:
        rows = "\n".join(f"{model},1,1,19.5" for model in ("shufflenet", "starnet"))
        (scored / "results/cost.csv").write_text(f"model,params,macs,latency_ms\n{rows}\n")
    if words[0] == "init" and len(words) > 1:
        (scored / "params.yaml").unlink()
    done = CliRunner().invoke(main, [known.get(word, word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    expected = REFUSED.get(" ".join(words))
    left = done.exit_code == 1 and words[0] == "reproduce"  # of a checkout with uncommitted changes
    assert left or done.exit_code == (2 if expected else 0), done.output
    assert (expected or "") in " ".join(done.output.split())


def _name(words: tuple[str, ...]) -> str:
    """Return what NAME is of these commands."""
    if "--metric" in words:
        return "macro_f1"
    if words[0] == "study":
        return "beyond_imagenet"
    return "starnet" if words[:2] == ("models", "check") else "blobs"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("leaderboard", "no file results/accuracy.csv; `mobilebench score` writes"),
        ("report", "no file results/accuracy.csv; `mobilebench score` writes"),
        ("subsets --matrix results", "no file results/accuracy.csv; `mobilebench score` writes"),
        ("place", "no file results/accuracy.csv; `mobilebench score` writes"),
        ("study claims beyond_imagenet --matrix results", "no file results/accuracy.csv; `mobilebench score` writes"),
        ("score", "has no experiment 'demo'; it has: none. Train first"),
        ("compare demo paper-v1", "train first"),
        ("register digits", "has no experiment 'demo'; it has: none. Train first"),
        ("reproduce 0123456789abcdef0123456789abcdef", "Run ids are in MLflow's UI"),
        ("train digits", "run `mobilebench data prepare digits`"),
        ("sensitivity --model mobilevit --dataset digits", "run `mobilebench data prepare digits`"),
        ("sensitivity report", "run `mobilebench data prepare digits`"),
        ("data audit digits", "run `mobilebench data prepare digits`"),
    ],
)
def test_before_any_run_a_command_says_what_comes_first(
    project: Path, store: Path, command: str, expected: str
) -> None:
    """On the suite that is in git, in a folder where nothing was done yet."""
    (project / "params.yaml").write_text((ROOT / "params.yaml").read_text("utf-8"), "utf-8")
    result = CliRunner().invoke(main, command.split())
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 2
    assert expected in result.output


def test_the_documented_probe_is_allowed_on_the_suite_in_git() -> None:
    (model, dataset) = re.findall(r"mobilebench sensitivity --model (\w+) --dataset (\w+)", PAGES["sensitivity.md"])[0]
    suite = load_suite(ROOT / "params.yaml")
    assert model in suite.models
    assert dataset in suite.datasets
    assert len(plan(suite.protocol.recipe_for(model, dataset), suite.sensitivity)) == 5


@pytest.mark.parametrize("words", documented("dvc"), ids=" ".join)
def test_dvc_takes_every_command(words: tuple[str, ...]) -> None:
    from dvc.cli.parser import get_main_parser

    assert get_main_parser().parse_args(words).func


def test_every_make_target_and_benchmark_named_exists() -> None:
    whole = "\n".join(TEXTS.values())
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {words[0] for words in documented("make")} <= targets
    modules = set(re.findall(r"python -m benchmarks\.(\w+)", whole))
    assert modules >= {"coverage", "throughput"}
    assert modules <= {path.stem for path in (ROOT / "benchmarks").glob("*.py")}


# A page of the site may name a file outside docs/, and cannot link it.
@pytest.mark.parametrize("name", TEXTS)
def test_every_file_linked_exists(name: str) -> None:
    folder = (ROOT / name).parent
    links = set(re.findall(r"\]\((?!http)([^)#\s]+)[^)]*\)", FENCE.sub("", TEXTS[name])))
    assert [link for link in links if not (folder / link).exists()] == []
    assert name.startswith("docs/") <= all((folder / link).resolve().is_relative_to(ROOT / "docs") for link in links)


def test_every_page_is_in_the_navigation_once() -> None:
    def leaves(entry: Any) -> Iterator[str]:
        if isinstance(entry, str):
            yield entry
        else:
            for child in entry.values() if isinstance(entry, dict) else entry:
                yield from leaves(child)

    shown = list(leaves(YAML(typ="safe").load(ROOT / "mkdocs.yml")["nav"]))
    assert sorted(shown) == sorted(PAGES)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`((?:mobilebench|tests)/[a-z0-9_./]*)`", CONTRIBUTING))))
def test_every_file_a_contributor_is_sent_to_exists(path: str) -> None:
    assert (ROOT / path).exists()


def test_every_suite_dataset_and_name_is_listed() -> None:
    suites = re.findall(r"^\| `([a-z0-9_]+)` \| .*\| `[a-z0-9-]+` \|$", PAGES["suites.md"], re.MULTILINE)
    assert set(suites) == set(presets())
    assert set(DATASETS) <= set(re.findall(r"`(\w+)`", PAGES["data.md"]))
    assert set(re.findall(r"^::: mobilebench\.(\w+)$", PAGES["python.md"], re.MULTILINE)) == set(mobilebench.__all__)


def _table(page: str, heading: str) -> list[list[str]]:
    """Return the names between backticks in the first column of the first table after a heading, a list a row."""
    rows = re.findall(r"^\| (.*?) \|", PAGES[page].split(f"\n## {heading}\n")[1].split("\n## ")[0], re.MULTILINE)
    return [re.findall(r"`([^`]+)`", row) for row in rows if "`" in row]


def test_the_files_have_the_columns_and_keys_that_the_page_names(scored: Path) -> None:
    assert {key for row in _table("files.md", "The record of a cell") for key in row} == {
        f.name for f in fields(Record)
    }
    for name in ("accuracy", "xscore", "noise"):
        (listed,) = re.findall(rf"^\| `{name}\.csv` \| (.*?)[:|]", PAGES["files.md"], re.MULTILINE)
        assert re.findall(r"`(\w+)`", listed) == list(pd.read_csv(f"results/{name}.csv").columns)
    predictions = mobilebench.load_predictions("tiny/starnet/blobs")
    assert [row[0] for row in _table("files.md", "Predictions")] == [f.name for f in fields(predictions)]
    packed = {path.name for path in (scored / "data/packed/blobs").iterdir()}
    assert {row[0] for row in _table("files.md", "Packed data")} == packed
    (run,) = (scored / "mlartifacts").glob(f"*/{mobilebench.load_model('tiny/starnet/blobs').run_id}/artifacts")
    kept = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    assert kept <= {name for row in _table("files.md", "What a run keeps in MLflow") for name in row}


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda block: block.text.splitlines()[0])
def test_every_piece_of_params_yaml_is_taken(block: Block) -> None:
    """Laid over the demo's."""
    base, piece = YAML(typ="safe").load(preset_text("demo")), YAML(typ="safe").load(block.text)
    if "phases" in piece.get("protocol", {}):  # which are in place of these, as the page says
        base["protocol"] = {key: value for key, value in base["protocol"].items() if key not in {*FLAT, "overrides"}}
    if "epochs" in piece.get("protocol", {}):
        del base["protocol"]["overrides"]  # of another number of epochs
    suite = parse(Suite, _merged(base, piece))
    for model in suite.models:
        for dataset in suite.datasets:
            suite.protocol.recipe_for(model, dataset)


def _merged(base: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    both = {key: _merged(base[key], value) for key, value in change.items() if isinstance(base.get(key), dict)}
    return base | change | {key: value for key, value in both.items() if key != "selection"}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], None]]:
    """Return what installs a package of one module, `mynet`, given its code and its pyproject.toml."""

    def install(code: str, project: str) -> None:
        about = tomllib.loads(project)["project"]
        info = tmp_path / "site" / "mynet-1.0.dist-info"
        info.mkdir(parents=True)
        (tmp_path / "site/mynet.py").write_text(code)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {about['name']}\nVersion: {about['version']}\n")
        (info / "RECORD").write_text("mynet.py,,\nmynet-1.0.dist-info/METADATA,,\n")
        points = about["entry-points"]["mobilebench.models"]
        lines = ["[mobilebench.models]", *(f"{name} = {value}" for name, value in points.items())]
        (info / "entry_points.txt").write_text("\n".join(lines))
        monkeypatch.syspath_prepend(tmp_path / "site")

    yield install
    sys.modules.pop("mynet", None)


@pytest.mark.parametrize("page", ["README.md", "docs/models.md"])
def test_the_network_of_the_page_can_be_trained(page: str, package: Callable[[str, str], None], project: Path) -> None:
    (code,) = [block.text for block in blocks("python") if block.page == page and "def build" in block.text]
    (about,) = [block.text for block in blocks("toml") if block.page == page]
    package(code, about)
    done = CliRunner().invoke(main, ["models", "check", "mynet", "--resolution", "32"])
    assert done.exit_code == 0, done.output
    assert "mynet can be trained at 32 px" in done.output


def test_every_table_of_toml_offers_something_there_is() -> None:
    groups = [tomllib.loads(block.text)["project"]["entry-points"] for block in blocks("toml")]
    assert {name for group in groups for name in group} == {external.GROUP, metrics.GROUP}


@pytest.mark.parametrize("page", ["README.md", "docs/api.md"])
def test_the_lines_of_python_run(page: str, scored: Path) -> None:
    import torch

    (code,) = [block.text for block in blocks("python") if block.page == page and "import mobilebench" in block.text]
    images = torch.rand(2, 3, 32, 32)
    names = {"images": images}
    exec(code.replace("demo/starnet/digits", "tiny/starnet/blobs"), names)
    assert names["model"](images).shape == (2, 2)
