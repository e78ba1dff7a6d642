"""Whatever stands in the files and addresses people write, a command ends with a sentence, never with a traceback."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobilebench.cli import main
from mobilebench.config.parsing import ConfigError
from mobilebench.config.recipe import Recipe
from mobilebench.config.suite import parse_suite, preset_text
from mobilebench.errors import UserError
from mobilebench.models.cost.cost_file import read_costs
from mobilebench.report.analysis import proxies_table, subset_findings
from mobilebench.scoring import Matrix, compute_scores
from mobilebench.search.space import plan
from mobilebench.studies.beyond_imagenet import published

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEMO = preset_text("demo")
LINES = DEMO.splitlines(keepends=True)
# What a slip, another tool or another language puts in the place of a value.
ODD = (
    "", "null", "~", "true", "no", "0", "-1", "1.5", "1e400", "-.inf", ".inf", ".nan", "9" * 400, "1e-320", "1_0",
    "12:30:45", "2001-01-01", "2001-99-99", "[]", "{}", "[[]]", "[null]", "{a: {b: c}}", "[*x]", "&x [*x]", "*nothing",
    "'unclosed", '"\\ud800"', '"\\0"', "!!binary aGk=", "!!python/object:os.system {}", "!!set {a}", "{[a]: b}", "? a",
    "|", ">", "@", "`", "%", "\t", "ü", "\u202e", "a: b: c", "- - -", "<<: {lr: 1}", "starnet", "digits", "auto", "1,5",
)  # fmt: skip
VALUES = st.sampled_from(ODD) | st.text(max_size=12) | st.floats().map(str) | st.integers().map(str)
LINE = st.integers(0, len(LINES) - 1)


@st.composite
def suites(draw: st.DrawFn) -> str:
    """Return the demo's params.yaml with up to three of its lines lost, doubled, moved, cut or given another value."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 3))):
        at, how = (
            draw(LINE) % len(lines),
            draw(st.sampled_from(["value"] * 5 + ["drop", "double", "indent", "cut", "insert"])),
        )
        line = lines[at]
        if how == "value" and ":" in line:
            lines[at] = f"{line.partition(':')[0]}: {draw(VALUES)}\n"
        elif how == "drop":
            del lines[at]
        elif how == "double":
            lines.insert(at, line)
        elif how == "indent":
            lines[at] = "  " * draw(st.integers(0, 3)) + line.lstrip()
        elif how == "cut":
            lines[at] = line[: draw(st.integers(0, len(line)))]
        else:
            lines.insert(at, f"{draw(VALUES)}\n")
    return "".join(lines)


@settings(max_examples=40)
@given(suites())
def test_any_params_yaml_is_a_suite_or_a_sentence(text: str) -> None:
    try:
        suite = parse_suite(text, "params.yaml")
        for cell in suite.cells("digits"):
            recipe = suite.protocol.recipe_for(cell.model, cell.dataset)
            assert isinstance(recipe, Recipe)
    except ConfigError as error:
        message = str(error)
    else:
        message = ""
        with contextlib.suppress(UserError):
            plan(recipe, suite.sensitivity)
    assert not message or "params.yaml" in message or " on digits" in message


@pytest.mark.parametrize("key", ["seeds", "  lr", "score", "  model_options"])
def test_any_odd_value_of_a_key_is_refused_or_read(key: str) -> None:
    (line,) = [line for line in LINES if line.startswith(f"{key}:")]
    for value in ODD:
        with contextlib.suppress(ConfigError):
            parse_suite(DEMO.replace(line, f"{key}: {value}\n"), "params.yaml")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    made = tmp_path_factory.mktemp("fuzzed")
    with contextlib.chdir(made):
        yield made


def call(*arguments: str) -> str:
    """Run a command; whatever it raises beyond an exit is this test's finding."""
    result = CliRunner().invoke(main, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert "Traceback" not in result.output
    return result.output


@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(suites() | st.binary(max_size=60))
def test_commands_that_read_params_yaml_end_with_a_sentence(folder: Path, content: str | bytes) -> None:
    shutil.rmtree(folder / "results", ignore_errors=True)
    path = folder / "params.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode(errors="surrogatepass"))
    for command in ("status", "inputs", "leaderboard"):
        call(command)


CELLS = published.matrix()
CELL = st.sampled_from(
    ["0.5", "1", "0", "-1", "2", "nan", "inf", "1e999", "", "0,5", "50 %", "ü", "\0", '"', "starnet", "9" * 30]
)


@st.composite
def tables(draw: st.DrawFn, text: str) -> str:
    """Return a table with up to three fields, rows or columns changed."""
    rows = [line.split(",") for line in text.splitlines()]
    for _ in range(draw(st.integers(1, 3))):
        row = draw(st.integers(0, len(rows) - 1))
        how = draw(st.sampled_from(["field"] * 4 + ["drop", "double", "short", "long", "separator"]))
        if how == "field" and rows[row]:
            rows[row][draw(st.integers(0, len(rows[row]) - 1))] = draw(CELL | st.text(max_size=5))
        elif how == "drop" and len(rows) > 1:
            del rows[row]
        elif how == "double":
            rows.insert(row, list(rows[row]))
        elif how == "short":
            rows[row] = rows[row][:-1]
        elif how == "long":
            rows[row] = [*rows[row], draw(CELL)]
        elif how == "separator":
            rows[row] = [";".join(rows[row])]
    return "\n".join(",".join(row) for row in rows) + "\n"


def _text(name: str, tmp: Path) -> str:
    if name == "cost.csv":
        return "model,params,macs,latency_ms,cpu\nstarnet,2678098,422000000,3.5,cpu\nfbnet,3607050,383000000,,\n"
    part = CELLS.select(models=CELLS.models[:5], datasets=CELLS.datasets[:4])
    table = part if name == "accuracy.csv" else compute_scores(part, draws=50)
    return table.to_csv(tmp / name).read_text("utf-8")


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_accuracies_are_scores_or_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    text = data.draw(tables(_text("accuracy.csv", tmp_path)))
    (tmp_path / "accuracy.csv").write_bytes(text.encode(errors="surrogatepass"))
    with contextlib.suppress(UserError):
        matrix = Matrix.from_csv(tmp_path)
        compute_scores(matrix, draws=20)
        proxies_table(matrix, 0.5)
        words, found = subset_findings(matrix, 2, lam=0.5)
        if "nan" not in {*matrix.models, *matrix.datasets}:  # a name like any other
            assert "nan" not in words.split()
            assert not [field for table in found for row in table.rows for field in row if "nan" in field.text.split()]


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_costs_are_rows_or_a_sentence(tmp_path: Path, data: st.DataObject) -> None:
    text = data.draw(tables(_text("cost.csv", tmp_path)))
    (tmp_path / "cost.csv").write_bytes(text.encode(errors="surrogatepass"))
    with contextlib.suppress(UserError):
        for row in read_costs(tmp_path / "cost.csv"):
            assert row.params > 0
            assert row.macs > 0
            assert row.latency_ms is None or row.latency_ms > 0


@settings(max_examples=12, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_commands_that_read_results_end_with_a_sentence(folder: Path, data: st.DataObject) -> None:
    results = folder / "results"
    results.mkdir(exist_ok=True)
    (folder / "params.yaml").write_text(DEMO, "utf-8")
    for name in ("accuracy.csv", "xscore.csv"):
        text = _text(name, folder)
        spoilt = data.draw(tables(text) | st.just(text))
        (results / name).write_bytes(spoilt.encode(errors="surrogatepass"))
    (results / "score.json").write_text(
        data.draw(st.sampled_from(["{}", "[]", "null", "", "{", '{"experiment": 3}'])), "utf-8"
    )
    if data.draw(st.booleans()):
        (results / "score.json").unlink()
    call("leaderboard")
    call("subsets", "--matrix", "results", "--size", "2")
    call("place")


ADDRESSES = st.sampled_from([
    "", " ", "sqlite", "sqlite:", "sqlite:/", "sqlite://", "sqlite:///", "sqlite:////", "sqlite:///.", "sqlite:///a/b/c.db",
    "sqlite:///\0", "sqlite:///ü.db", "http://", "http://[::1", "postgresql://u:p@h:port/d", "mysql://h/d", "file:///etc/passwd",
    "://", "@", "a@b:c@d", "redis://h", "sqlite:///?x=1&x=2", "sqlite+aiosqlite:///a.db",
]) | st.text(max_size=12)  # fmt: skip


@settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(ADDRESSES)
def test_any_storage_is_a_database_or_a_sentence(folder: Path, address: str) -> None:
    from mobilebench.search.studies import Studies, StudyError

    with contextlib.suppress(StudyError):
        Studies(address)


@pytest.mark.parametrize(
    "name", ["", " ", "-", "HEAD; ls", "experiment:", "git:", "run:x", "mobilebench.a.b@", "\ud800"]
)
def test_any_name_to_compare_is_found_or_a_sentence(store: Path, name: str) -> None:
    assert "error" in call("compare", "--", name, "HEAD").lower()
