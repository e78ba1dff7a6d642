"""`benchmarks.gpu` as a person without a card can run it: that it works, ends in time and writes what can be read."""

from __future__ import annotations

import json
import multiprocessing
import re
import shlex
import subprocess
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from click.testing import CliRunner

from benchmarks import gpu_check, gpu_check_cells, gpu_share, gpu_speed, gpu_steps, gpu_train, throughput
from benchmarks.gpu import main
from benchmarks.gpu_check_numbers import at_most, distance
from benchmarks.gpu_share import Child, Epoch, figures
from benchmarks.gpu_steps import Running, Work, measure

if TYPE_CHECKING:
    from collections.abc import Iterator

CPU = torch.device("cpu")
SMALL = shlex.split("--device cpu --size 32 --stored 32 --batch 4 --images 8 --turns 2 --models shufflenet")

Rows = list[dict[str, Any]]


def call(*words: str, exit_code: int = 0) -> tuple[Rows, str]:
    """The rows of a call, and all that it printed."""
    done = CliRunner().invoke(main, words)
    assert done.exit_code == exit_code, done.output
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return [json.loads(line) for line in lines], done.output


def test_check_prints_a_row_a_check_keeps_them_in_a_file_and_ends_with_a_table(tmp_path: Path) -> None:
    out = tmp_path / "gpu.jsonl"
    only = "flags,dropout masks,resume sgd,augmentation,fp32,evaluation,graph"
    rows, said = call("check", *SMALL, "--only", only, "--out", str(out))
    assert [json.loads(line) for line in out.read_text().splitlines()] == rows
    assert rows[0]["row"] == "head"
    assert {"date", "commit", "torch", "cpu", "smoke_test"} <= rows[0].keys()
    assert rows[-1]["left_out"] == []
    verdicts = {row["check"]: row["verdict"] for row in rows[1:-1]}
    impossible = {"flags", "graph", "graph in bf16", "graph shufflenet"}
    assert {name for name, verdict in verdicts.items() if verdict == "not possible here"} == impossible
    passed = {"dropout masks", "resume sgd", "augmentation", "fp32 shufflenet", "evaluation shufflenet"}
    assert {name for name, verdict in verdicts.items() if verdict == "pass"} == passed
    assert "| resume sgd | pass | 0 |" in said


def test_a_check_that_breaks_off_has_failed_and_the_others_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(device: torch.device) -> None:
        raise RuntimeError(f"no masks on {device}")

    monkeypatch.setattr(gpu_check_cells, "masks", broken)
    rows, said = call("check", *SMALL, "--only", "flags,dropout masks,resume adamw", exit_code=1)
    assert [row["verdict"] for row in rows[1:-1]] == ["not possible here", "fail", "pass"]
    assert "no masks on cpu" in rows[2]["what"]
    assert "1 failed." in said


def test_a_training_that_is_another_fails_its_check(monkeypatch: pytest.MonkeyPatch) -> None:
    assert gpu_check_cells.same_as_eager(CPU, gpu_check_cells.Small).verdict == "pass"
    run = gpu_check_cells.run

    def other(device: torch.device, model: Any, recipe: Any, *, acceleration: Any, data: Any) -> Any:
        rate = 1.1 if acceleration == "auto" else 1.0
        return run(device, model, replace(recipe, lr=rate * recipe.lr), acceleration=acceleration, data=data)

    monkeypatch.setattr(gpu_check_cells, "run", other)
    found = gpu_check_cells.same_as_eager(CPU, gpu_check_cells.Small)
    assert found.verdict == "fail"
    assert found.figure > found.limit


@pytest.mark.parametrize(("figure", "verdict"), [(0.5, "pass"), (1.0, "pass"), (1.5, "fail"), (float("nan"), "fail")])
def test_a_figure_passes_up_to_its_limit(figure: float, verdict: str) -> None:
    assert at_most(1.0, figure, "a figure").verdict == verdict


def test_distance_is_relative_to_the_second() -> None:
    assert distance(torch.tensor([3.0, 8.0]), torch.tensor([0.0, 4.0])) == pytest.approx(1.25)


def test_layout_gives_both_rates_and_their_ratio() -> None:
    rows, said = call("layout", *SMALL, "--rounds", "1")
    found = rows[1:-1]
    assert [(row["network"], row["precision"]) for row in found] == [("shufflenet", "fp32"), ("shufflenet", "bf16")]
    for row in found:
        assert row["n"] == [2, 2]
        assert row["ratio"] == pytest.approx(row["channels_last"] / row["contiguous"], rel=1e-3)
    assert "| shufflenet | bf16 |" in said


def test_speed_gives_a_row_a_contender_and_goes_on_where_one_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = gpu_steps.others_loop

    def without_timm(work: Work, kind: Any) -> Any:
        if kind == "timm":
            raise RuntimeError("no timm today")
        return loop(work, kind)

    monkeypatch.setattr(gpu_speed, "others_loop", without_timm)
    names = ["eager", "graph", "paper_loop", "timm_loop"]
    rows, _ = call("speed", *SMALL, "--rounds", "1", "--contenders", ",".join(names))
    found = {row["contender"]: row for row in rows if row["row"] == "speed"}
    assert list(found) == names
    for name in names[:3]:
        row = found[name]
        assert row["n"] == len(row["rates"]) == 2
        assert min(row["rates"]) <= row["quartiles"][0] <= row["images_per_second"] <= row["quartiles"][1]
        ratio = row["images_per_second"] / found["graph"]["images_per_second"]
        assert row["times_graph"] == pytest.approx(ratio, rel=1e-3)
        assert row["of_bound"] == pytest.approx(row["images_per_second"] / row["bound"], rel=1e-3)
    assert found["timm_loop"]["images_per_second"] is None
    assert "no timm today" in found["timm_loop"]["not_possible_here"]


def test_no_row_is_begun_when_the_minutes_are_over() -> None:
    rows, said = call("speed", *SMALL, "--minutes", "0", "--contenders", "eager,compiled")
    assert [row["row"] for row in rows] == ["head", "ceiling", "end"]
    assert rows[-1]["left_out"] == ["shufflenet: eager", "shufflenet: compiled"]
    assert "Left out when the minutes were over: shufflenet: eager, shufflenet: compiled." in said


def test_one_contender_is_alive_at_a_time_in_rounds_of_both_orders() -> None:
    seen: list[str] = []

    def named(name: str) -> Any:
        @contextmanager
        def contender() -> Iterator[Running]:
            seen.append(name)

            def turn() -> int:
                seen.append("turn")
                return 1

            yield Running(turn)
            seen.append("gone")

        return contender

    found = measure({name: named(name) for name in "ab"}, CPU, Work("cpu", "shufflenet", turns=1, rounds=2))
    assert seen == [word for name in "abba" for word in (name, "turn", "turn", "gone")]
    assert [len(one.rates) for one in found.values()] == [2, 2]


def test_the_grids_hours_need_all_eleven_networks() -> None:
    rows = [
        {"row": "speed", "contender": "graph", "network": name, "images_per_second": 1000.0}
        for name in gpu_speed.PAPER_MODELS
    ]
    assert gpu_speed.hours_of_the_grid(rows[1:]) == []
    (said,) = gpu_speed.hours_of_the_grid(rows)
    hours = 11 * throughput.GRID_IMAGES / 1000 / 3600
    assert f"graph {hours:.1f} h" in said


def test_rates_of_cells_that_share_a_card_are_over_whole_epochs_of_the_same_time() -> None:
    work = Work("cpu", "shufflenet", images=100)
    ends = [[1.0, 5.0, 7.0, 9.0, 30.0], [4.0, 6.0, 10.0]]
    children = [Child(None, None, [Epoch(end, 11.0, 20.0 + end) for end in of]) for of in ends]  # type: ignore[arg-type]
    found = figures(work, children, began=4.5, ended=20.0)
    assert found["each"] == [50.0, 25.0]
    assert found["images_per_second"] == 75.0
    assert found["epochs"] == [2, 1]
    assert (found["peak_mib"], found["used_mib"]) == (11.0, 50.0)
    short = figures(work, children, began=4.5, ended=9.5)
    assert short["images_per_second"] is None
    assert "--seconds" in short["not_possible_here"]


def test_share_trains_in_processes_of_their_own() -> None:
    rows, _ = call("share", *SMALL, "--cells", "1", "--seconds", "1")
    (row,) = rows[1:-1]
    assert row["cells"] == 1
    assert row["not_possible_here"] is None or "--seconds" in row["not_possible_here"]  # as busy as the machine is
    assert (row["images_per_second"] is None) == (row["not_possible_here"] is not None)


def test_why_a_cells_process_failed_is_said() -> None:
    ours, theirs = multiprocessing.Pipe()
    child = Child(SimpleNamespace(join=lambda timeout: None, exitcode=-9), ours)  # type: ignore[arg-type]
    theirs.send(Epoch(5.0, 1.0, 2.0))
    gpu_share._receive([child], deadline=0.0)
    theirs.send("OutOfMemoryError: no room")
    gpu_share._receive([child], deadline=0.0)
    assert child.epochs == [Epoch(5.0, 1.0, 2.0)]
    found = figures(Work("cpu", "shufflenet"), [child], began=0.0, ended=9.0)
    assert (found["images_per_second"], found["not_possible_here"]) == (None, "OutOfMemoryError: no room")
    killed = replace(child, failure=None)
    theirs.close()
    gpu_share._receive([killed], deadline=0.0)
    assert killed.failure == "its process ended, exit code -9"


def test_a_cells_process_that_fails_sends_why() -> None:
    ours, theirs = multiprocessing.Pipe()
    gpu_share.train(theirs, Work("cpu", "no_such_network", images=4, batch=4), 1, "auto", threading.Event())  # type: ignore[arg-type]
    assert "no_such_network" in ours.recv()


def test_train_calls_the_project_with_the_time_that_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, ...]] = []
    cell = {"model": "starnet", "dataset": "digits", "seed": 0, "name": "undelivered", "detail": "sync delivers it"}

    def mobilebench(device: torch.device, project: Path, *words: str) -> Any:
        calls.append(words)
        (project / "params.yaml").touch()
        answer = json.dumps({"cells": [cell] if words[3:4] == ("starnet",) else []})
        return SimpleNamespace(returncode=0, stdout=answer, stderr="")

    monkeypatch.setattr(gpu_train, "_mobilebench", mobilebench)
    where = tmp_path / "cells"
    rows, said = call(
        "train", "--device", "cpu", "--suite", "demo", "--dataset", "digits", "--models", "shufflenet,starnet",
        "--project", str(where), "--minutes", "3",
    )  # fmt: skip
    assert [words[:4] for words in calls] == [
        ("init", "demo"),
        ("data", "prepare", "digits"),
        ("run", "digits", "--model", "shufflenet"),
        ("run", "digits", "--model", "starnet"),
    ]
    assert calls[-1][4:] == ("--offline", "--json", "--until", "+3m")
    assert [row["state"] for row in rows[1:-1]] == ["finished before", "trained, not delivered"]
    assert "`mobilebench sync cells`" in said


def test_what_train_calls_exists() -> None:
    """The words of the calls are the project's own command line's."""
    from mobilebench.cli import main as mobilebench

    for words in (["init"], ["data", "prepare"], ["run"], ["sync"]):
        said = CliRunner().invoke(mobilebench, [*words, "--help"])
        assert said.exit_code == 0
        assert words != ["run"] or all(option in said.output for option in ("--offline", "--until", "--json"))


PAGE = (Path(__file__).parents[2] / "docs/scale-out.md").read_text(encoding="utf-8")
CALLS = re.findall(r"^python -m benchmarks\.gpu ([^#\n]+)", PAGE, re.MULTILINE)


def test_the_page_names_every_part_once_and_its_half_hour_is_one() -> None:
    assert sorted(words.split()[0] for words in CALLS) == sorted(main.commands)
    assert sum(float(re.findall(r"--minutes (\S+)", words)[0]) for words in CALLS) == 30


@pytest.mark.parametrize("words", CALLS)
def test_what_the_page_says_is_understood(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "HAM10000").mkdir()
    part, *rest = shlex.split(words)
    options = main.commands[part].make_context(part, rest).params
    assert options["device"] == "cuda"
    assert options["out"].name == "gpu.jsonl"


def test_names_that_are_unknown_are_refused_with_those_that_are_known() -> None:
    _, said = call("speed", "--device", "cpu", "--models", "shuflenet", exit_code=2)
    assert "shufflenet" in said
    _, said = call("speed", "--device", "cpu", "--contenders", "caffe", exit_code=2)
    assert "paper_loop" in said


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a card")
def test_without_a_card_the_smoke_test_is_named() -> None:
    _, said = call("check", exit_code=1)
    assert "--device cpu" in said


def test_nvidia_smi_that_is_not_there_leaves_the_state_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    from benchmarks import gpu_report

    card = SimpleNamespace(uuid="0-1")
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: card)

    def asked(*words: Any, **options: Any) -> Any:
        raise FileNotFoundError("nvidia-smi")

    monkeypatch.setattr(subprocess, "run", asked)
    assert gpu_report.card_state(torch.device("cuda:0")) == {}
    values = "550.54, 1980, 1980, 2619, 691.2, 700.00, 61\n"
    monkeypatch.setattr(subprocess, "run", lambda words, **options: SimpleNamespace(stdout=values))
    state = gpu_report.card_state(torch.device("cuda:0"))
    assert (state["driver_version"], state["clocks.sm"], state["power.limit"]) == ("550.54", "1980", "700.00")


def test_every_check_has_a_name_of_its_own() -> None:
    works = [Work("cuda", name) for name in ("shufflenet", "mobilenet")]
    names = [name for name, _ in gpu_check.checks(works, torch.device("cuda:0"))]
    assert len(set(names)) == len(names)
    assert {"flags", "full card", "memory left", "resume adam from the CPU", "compiled mobilenet"} <= set(names)
