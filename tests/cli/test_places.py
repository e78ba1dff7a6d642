"""Where cells are trained: what --on and --gpus-per-cell mean, and what a cluster's cells are given."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import click
import grids
import pytest
from click.testing import CliRunner

from mobilebench.cli import main
from mobilebench.cli.places import Place, RayOptions, _connected, place, share
from mobilebench.config.suite import parse_suite, preset_text
from mobilebench.errors import UserError
from mobilebench.execution.executors.ray_nodes import Greeting, Needs, Node, raise_if_nothing_fits

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.suite import Suite
    from mobilebench.execution.executors.ray_cluster import RayExecutor

GIB = 1 << 30


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("serial", Place("serial")),
        ("ray", Place("ray")),
        ("ray:auto", Place("ray", "auto")),
        ("ray:head:6379", Place("ray", "head:6379")),
        ("slurm", Place("slurm")),
    ],
)
def test_a_place_is_read(words: str, meant: Place) -> None:
    assert place(words) == meant


@pytest.mark.parametrize("words", ["rays", "serial:3", "", "slurm:x"])
def test_what_is_no_place_is_refused_with_those_there_are(words: str) -> None:
    with pytest.raises(click.BadParameter, match="expected serial, processes, ray"):
        place(words)


def test_a_part_of_a_card() -> None:
    assert share("0.25") == 0.25
    assert share("auto") is None
    for words in ("0", "1.5", "-1", "half", "nan"):
        with pytest.raises(click.BadParameter, match="no part of a card"):
            share(words)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--mirror", "file:///x"], "--mirror goes with --on ray, and this call is without --on"),
        (["--on", "slurm", "--attempts", "2"], "--attempts goes with --on ray, and this call is --on slurm"),
        (["--on", "ray", "--most-at-once", "2"], "--most-at-once goes with --on slurm, and this call is --on ray"),
        (["--on", "serial", "--gpus-per-cell", "auto"], "--gpus-per-cell goes with --on ray or slurm"),
    ],
)
def test_an_option_of_another_place_is_refused(words: list[str], said: str, tmp_path: Path) -> None:
    with contextlib.chdir(tmp_path):
        grids.write(tmp_path)
        result = CliRunner().invoke(main, ["run", *words])
    assert result.exit_code == 2
    assert said in " ".join(result.output.split())


class Cluster:
    """Stands in for a connected executor: nodes whose cards have so much memory."""

    def __init__(self, *cards: int) -> None:
        self.needs = Needs()
        self.cards = cards
        self.greetings: list[Greeting] = []

    def connect(self) -> bool:
        return bool(self.cards)

    def check(self) -> None:
        self.greetings = [Greeting("node", {}, "", None, "", probe=True, gpu_bytes=self.cards)]


def connected(cluster: Cluster, options: RayOptions, **runtime: object) -> tuple[Suite, list[str]]:
    suite = parse_suite(preset_text("paper_v1"), "paper_v1")
    changed = replace(suite.runtime, **{"device": "auto", "threads": None} | runtime)  # type: ignore[arg-type]
    notes: list[str] = []
    found = _connected(cast("RayExecutor", cluster), replace(suite, runtime=changed), options, notes.append)
    return found, notes


def test_cards_are_shared_by_what_a_training_needs_and_the_smallest_has() -> None:
    cluster = Cluster(80 * GIB, 24 * GIB)
    suite, notes = connected(cluster, RayOptions(memory_bytes=2 * GIB))
    assert cluster.needs.gpus == pytest.approx(1 / 3)  # 24 GiB hold three of 2 and 6 GiB
    assert (suite.runtime.device, suite.runtime.cells_per_device, suite.runtime.threads) == ("cuda", 3, 1)
    assert notes == ["3 cells to a card, by the memory of the smallest card and of the largest training"]


def test_without_a_profile_a_cell_has_a_card_and_what_is_asked_for_wins() -> None:
    cluster = Cluster(24 * GIB)
    suite, notes = connected(cluster, RayOptions())
    assert cluster.needs.gpus == 1
    assert suite.runtime.cells_per_device == 1
    assert "mobilebench models profile" in notes[0]
    suite, _ = connected(cluster, RayOptions(gpus_per_cell=0.25, memory_bytes=2 * GIB))
    assert (cluster.needs.gpus, suite.runtime.cells_per_device) == (0.25, 4)


def test_cells_on_cpus_need_their_threads_and_no_card_is_assumed() -> None:
    cluster = Cluster()
    with pytest.raises(UserError, match=r"runtime\.threads is null"):
        connected(cluster, RayOptions())
    cluster.needs = Needs(cpus=4)
    suite, _ = connected(cluster, RayOptions(), threads=4)
    assert (suite.runtime.device, suite.runtime.threads, cluster.needs.gpus) == ("cpu", 4, 0)
    with pytest.raises(UserError, match="no node of the cluster has a GPU that Ray knows of"):
        connected(cluster, RayOptions(), device="cuda", threads=4)
    of_cpus, _ = connected(Cluster(24 * GIB), RayOptions(), device="cpu", threads=2)
    assert of_cpus.runtime.device == "cpu"


def test_room_on_a_node_is_counted_by_cores_and_by_parts_of_cards() -> None:
    node = Node("id", "name", cpus=16, gpus=2)
    assert node.slots(1, 0) == 16
    assert node.slots(4, 0.25) == 4
    assert node.slots(1, 0.25) == 8
    assert node.slots(1, 1 / 3) == 6
    assert node.slots(1, 2) == 0  # a cell is trained on one card
    with pytest.raises(UserError, match=r"a cell needs 32 CPUs, .*\(name: 16 CPUs, 2 GPUs\)"):
        raise_if_nothing_fits([node], 32, 0)


def test_a_node_says_in_what_it_is_another() -> None:
    own = Greeting("here", {"torch": "2.15", "numpy": "2"}, "a" * 40, "lock", "params", probe=True)
    assert own.differences(own, shared=True) == []
    other = Greeting("there", {"torch": "2.11"}, "b" * 40, "other", "params", probe=False)
    said = other.differences(own, shared=True)
    assert said[0] == f"mobilebench is of commit {'b' * 12}, here of {'a' * 12}"
    assert said[1] == "torch 2.11 (here 2.15), numpy is not installed (here 2)"
    assert said[2] == "requirements.lock is another"
    assert "its project folder is not the one of this call" in said[3]
    assert len(other.differences(own, shared=False)) == 3
