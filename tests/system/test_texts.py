"""Text files as people's editors, shells and disks leave them: read, or refused in a sentence that names them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from mobilebench.cli import main
from mobilebench.config.suite import Cell, preset_text
from mobilebench.errors import UserError
from mobilebench.models.cost.cost_file import read_costs
from mobilebench.runs.journal import Journal
from mobilebench.runs.records import read_result
from mobilebench.scoring import Matrix
from mobilebench.system.files import read_text

DEMO = preset_text("demo")
CELLS = "model,dataset,seed,test_top1,n_test,run_id\nnet,digits,0,0.5,10,r\n"
COSTS = "model,params,macs\nnet,1,2\n"
READERS = {
    "params.yaml": lambda path: read_text(path, "the YAML of a suite"),
    "accuracy.csv": Matrix.from_csv,
    "cost.csv": read_costs,
    "cell.json": read_result,
}
# What is on the disk, and what the refusal says of it.
WRONG = {
    "UTF-16": (lambda text: text.encode("utf-16"), "is UTF-16 text"),
    "Latin-1": (lambda text: f"#ü\n{text}".encode("latin-1"), "is not UTF-8: byte 0xfc in line 1"),
    "NUL": (lambda text: text.encode() + b"\n\0\0", "holds 2 NUL bytes"),
    "cut UTF-8": (lambda text: text.encode() + "ü".encode()[:1], "is not UTF-8: byte 0xc3"),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_no_utf8_is_refused_by_name(tmp_path: Path, name: str, wrong: str) -> None:
    spoil, expected = WRONG[wrong]
    (tmp_path / name).write_bytes(spoil(CELLS))
    with pytest.raises(UserError) as caught:
        READERS[name](tmp_path / name)
    assert str(tmp_path / name) in str(caught.value)
    assert expected in str(caught.value)
    assert "UTF-8" in str(caught.value)


@pytest.mark.parametrize("name", READERS)
def test_a_folder_in_a_files_place_is_refused_by_name(tmp_path: Path, name: str) -> None:
    inner = tmp_path / name
    inner.mkdir()
    if name == "accuracy.csv":  # a folder stands for the table in it
        (inner / name).mkdir()
    with pytest.raises(UserError, match="is a folder; expected"):
        READERS[name](inner)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("name", READERS)
def test_a_file_that_may_not_be_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(CELLS, encoding="utf-8")
    (tmp_path / name).chmod(0)
    with pytest.raises(UserError, match="Permission denied; expected"):
        READERS[name](tmp_path / name)


def test_a_byte_order_mark_and_windows_line_ends_are_read(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + DEMO.replace("\n", "\r\n").encode())
    assert read_text(path, "a suite") == DEMO
    (tmp_path / "accuracy.csv").write_bytes(b"\xef\xbb\xbf" + CELLS.replace("\n", "\r\n").encode())
    assert Matrix.from_csv(tmp_path).models == ("net",)
    (tmp_path / "cost.csv").write_bytes(b"\xef\xbb\xbf" + COSTS.encode())
    assert [row.model for row in read_costs(tmp_path / "cost.csv")] == ["net"]


def test_a_journal_that_is_a_folder_or_no_text_is_refused_by_name(tmp_path: Path) -> None:
    journal = Journal(tmp_path / Cell("net", "digits", 0).name)
    journal.path.mkdir(parents=True)
    with pytest.raises(UserError, match=r"journal\.jsonl cannot be read: Is a directory"):
        journal.events()
    journal.path.rmdir()
    journal.path.write_bytes("{}\n".encode("utf-16"))
    with pytest.raises(UserError, match=r"journal\.jsonl is damaged"):
        journal.events()


@pytest.mark.slow
def test_a_params_yaml_that_is_a_folder_ends_every_command_with_a_sentence(project: Path) -> None:
    (project / "params.yaml").mkdir()
    for command in (["status"], ["leaderboard"], ["score"], ["models", "list"], ["init", "demo"], ["inputs"]):
        result = CliRunner().invoke(main, command)
        assert isinstance(result.exception, SystemExit), command
        assert "params.yaml is a folder" in result.output, command


def test_any_locale_reads_and_prints_utf8(project: Path) -> None:
    """Under an ASCII locale Python's own default would be to fail at the first letter beyond it."""
    (project / "params.yaml").write_text("# grün ±\n" + DEMO.replace("experiment: demo", "experiment: grün"), "utf-8")
    plain = os.environ | {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-m", "mobilebench", "status"], env=plain, capture_output=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode(errors="replace")
    assert rb"gr\xfcn" in done.stdout
