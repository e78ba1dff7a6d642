"""The job array for SLURM, submitted to a stand-in for sbatch that runs its tasks one after another.

What a cluster does to a task is done by the cell that is being trained: it sends the batch shell, its parent, the
signal of the time limit or of scancel. So each comes at the moment meant.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grids
import pytest

from mobilebench.config.suite import Cell, Suite, parse_suite
from mobilebench.errors import UserError
from mobilebench.execution.slurm import MOST_TASKS, array_script
from mobilebench.runs.events import Epoch, Finish, Interrupt
from mobilebench.runs.journal import Journal
from mobilebench.system.layout import STATE

if TYPE_CHECKING:
    from collections.abc import Callable

# Reads the options as SLURM does, runs the tasks with what a script is given, and runs one again that asked for it.
SBATCH = r"""
import json, os, re, subprocess, sys

def split(line):
    words, word, quote, escaped = [], "", "", False
    for char in line + " ":
        if escaped:
            word, escaped = word + char, False
        elif char == "\\":
            escaped = True
        elif char == quote:
            quote = ""
        elif quote:
            word += char
        elif char in "\"'":
            quote = char
        elif char == "#":
            break
        elif not char.isspace():
            word += char
        elif word:
            words, word = [*words, word], ""
    return words

script = sys.argv[1]
lines = open(script).read().splitlines()
head = lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))]
words = [word for line in head if line.startswith("#SBATCH") for word in split(line.removeprefix("#SBATCH"))]
options = dict(word.removeprefix("--").partition("=")[::2] for word in words)
first, last = map(int, re.match(r"(\d+)-(\d+)", options["array"]).groups())
codes = {}
for number in range(first, last + 1):
    own = {"ARRAY_JOB_ID": "77", "ARRAY_TASK_ID": str(number), "CPUS_ON_NODE": "6"}
    if "cpus-per-task" in options:
        own["CPUS_PER_TASK"] = options["cpus-per-task"]
    own = {f"SLURM_{key}": value for key, value in own.items()}
    log = os.path.join(options["chdir"], options["output"].replace("%A", "77").replace("%a", str(number)))
    codes[number] = []
    again = True
    while again:
        with open(log, "a" if options["open-mode"] == "append" else "w") as output:
            streams = {"stdout": output, "stderr": output}
            done = subprocess.run(["bash", script], cwd=options["chdir"], env=os.environ | own, **streams)
        codes[number].append(done.returncode)
        again = os.path.exists("requeued") and f"77_{number}" in open("requeued").read().split()
        if again:
            os.remove("requeued")
print(json.dumps({"options": options, "codes": codes}))
"""
SCONTROL = '#!/bin/bash\n[[ "$1" == requeue && $# == 2 ]] && echo "$2" >>"$PROJECT/requeued"\n'

# What a cell does, by its model: train, fail, or meet the time limit or scancel at its first start.
PYTHON = r"""#!/bin/bash
trap 'echo heard TERM; exit 130' TERM
printf '%s\n' "$OMP_NUM_THREADS" "$@" >"$(mktemp calls/XXXXXX)"
wait_for() {
  for _ in {1..1000}; do
    [[ -e "$1" ]] && return 0
    sleep 0.02
  done
  exit 9
}
forever() { while true; do sleep 0.02; done; }
case "$6" in
  pair_*)
    touch "begun-$6"
    wait_for begun-pair_a && wait_for begun-pair_b
    ;;
  fails) exit 1 ;;
  limited | stuck)
    [[ -e "begun-$6" ]] && exit 0
    touch "begun-$6"
    mkdir -p ".mobilebench/cells/$6.blobs.0-1234"
    while [[ "$6" == limited && ! .mobilebench/cells/limited.blobs.0-1234/checkpoint.pt -nt slurm/.began_77_0 ]]; do
      touch .mobilebench/cells/limited.blobs.0-1234/checkpoint.pt
    done
    kill -USR1 "$PPID"
    forever
    ;;
  cancelled)
    kill -TERM "$PPID"
    forever
    ;;
  beside) forever ;;
esac
"""


ODD = r"""it's "a" folder #1 with \ and $HOME"""  # what is not quoted as each reader wants breaks on it


class Cluster:
    """A project folder, and a cluster with a stand-in for Python on it."""

    def __init__(self, project: Path, python: str = PYTHON) -> None:
        self.project = project
        self._bin = project / "bin"
        self._bin.mkdir(parents=True)
        (project / "calls").mkdir()
        self.python = self._program("python", python)
        self._program("sbatch", f"#!{sys.executable}\n{SBATCH}")
        self._program("scontrol", SCONTROL)
        self.options: dict[str, str] = {}

    def _program(self, name: str, text: str) -> str:
        path = self._bin / name
        path.write_text(text)
        path.chmod(0o755)
        return str(path)

    def submit(self, suite: Suite, *cells: Cell, per_task: int = 2) -> dict[str, list[int]]:
        """Submit the array of these cells, and return the exit statuses of each task's starts."""
        folder = Path(os.path.relpath(self.project))
        text = array_script(
            suite, cells, per_task=per_task, most_at_once=3, folder=folder, python=self.python, gpus=False
        )
        (self.project / "array.sh").write_text(text)
        environment = os.environ | {"PATH": f"{self._bin}:{os.environ['PATH']}", "PROJECT": str(self.project)}
        command = ["sbatch", "array.sh"]
        done = subprocess.run(
            command, cwd=self.project, env=environment, capture_output=True, text=True, check=True, timeout=120
        )
        answer = json.loads(done.stdout)
        self.options = answer["options"]
        return answer["codes"]

    def calls(self) -> list[list[str]]:
        """Return the number of threads and the arguments of every call of Python."""
        return sorted(path.read_text().splitlines() for path in (self.project / "calls").iterdir())

    def log(self, name: str) -> str:
        return (self.project / f"slurm/{name}.log").read_text()


@pytest.fixture
def cluster(project: Path) -> Cluster:
    return Cluster(project / ODD)


def suite_of(threads: int | None = 2, **settings: str) -> Suite:
    plain = {"epochs": 2, "val": 0.0, "selection": "last_epoch", "tuning": "null"}
    text = grids.PARAMS.format(**plain | settings)
    suite = parse_suite(text, "params.yaml")
    return replace(suite, runtime=replace(suite.runtime, threads=threads))


def cells_of(*models: str) -> list[Cell]:
    return [Cell(model, "blobs", 0) for model in models]


def call(model: str, threads: int, dataset: str = "blobs", seed: int = 0) -> list[str]:
    train = ["-m", "mobilebench", "train", dataset, "--model", model, "--seed", str(seed), "--offline"]
    return [str(threads), *train]


@pytest.mark.parametrize("gpus", [True, False])
@pytest.mark.parametrize("threads", [None, 3])
def test_shellcheck_finds_nothing(tmp_path: Path, threads: int | None, *, gpus: bool) -> None:
    folder = tmp_path / "it's a folder"
    cells = [Cell("timm:resnet50.a1_in1k@tag", "blobs", seed) for seed in range(3)]
    text = array_script(
        suite_of(threads), cells, per_task=2, most_at_once=None, folder=folder, python="my venv/bin/python", gpus=gpus
    )
    assert (folder / "slurm").is_dir()
    shellcheck = Path(sys.executable).with_name("shellcheck")
    found = subprocess.run([shellcheck, "-"], input=text, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stdout) == (0, "")
    assert ("#SBATCH --gres=gpu:1" in text) is gpus
    assert ("#SBATCH --cpus-per-task=6" in text) is (threads == 3)
    assert "runtime.threads is not set" in text or threads == 3
    assert ("runtime.cells_per_device" in text) is gpus


def test_each_cell_is_trained_once_in_the_task_of_those_next_to_it(cluster: Cluster) -> None:
    """Two at a time: each of a pair waits for the other."""
    odd = [Cell("timm:resnet50.a1_in1k@tag", "blobs", 5), Cell("x y'z", "other", 2**63 - 1)]
    codes = cluster.submit(suite_of(), *cells_of("pair_a", "pair_b"), *odd, *cells_of("last"))
    assert codes == {"0": [0], "1": [0], "2": [0]}
    assert cluster.calls() == sorted([
        *(call(model, 2) for model in ("pair_a", "pair_b", "last")),
        call("timm:resnet50.a1_in1k@tag", 2, seed=5),
        call("x y'z", 2, "other", 2**63 - 1),
    ])  # fmt: skip
    tasks = [cluster.log(f"77_{number}") for number in range(3)]
    assert ["pair_a.blobs.0: trained" in task for task in tasks] == [True, False, False]
    assert ["pair_b.blobs.0: trained" in task for task in tasks] == [True, False, False]
    assert ["last.blobs.0: trained" in task for task in tasks] == [False, False, True]
    assert {key: cluster.options[key] for key in ("array", "cpus-per-task", "chdir", "requeue")} == {
        "array": "0-2%3",
        "cpus-per-task": "4",
        "chdir": str(cluster.project),
        "requeue": "",
    }
    assert not list((cluster.project / "slurm").glob(".began*"))


@pytest.mark.parametrize(("per_task", "threads"), [(2, 3), (6, 1), (1, 6)])
def test_without_a_number_of_threads_the_cells_share_the_cpus_of_the_task(
    cluster: Cluster, per_task: int, threads: int
) -> None:
    models = [f"m{number}" for number in range(per_task)]
    assert cluster.submit(suite_of(None), *cells_of(*models), per_task=per_task) == {"0": [0]}
    assert cluster.calls() == [call(model, threads) for model in models]


def test_a_cell_that_fails_makes_its_task_fail_and_no_other(cluster: Cluster) -> None:
    codes = cluster.submit(suite_of(), *cells_of("fails", "works", "also"))
    assert codes == {"0": [1], "1": [0]}
    assert "fails.blobs.0: FAILED with exit status 1, see slurm/fails.blobs.0.log" in cluster.log("77_0")
    assert "works.blobs.0: trained" in cluster.log("77_0")


def test_at_the_time_limit_a_task_stops_its_cells_and_puts_itself_in_again(cluster: Cluster) -> None:
    codes = cluster.submit(suite_of(), *cells_of("limited", "works"))
    assert codes == {"0": [0, 0]}
    assert "heard TERM" in cluster.log("limited.blobs.0")
    log = cluster.log("77_0")  # of both starts: the second does not write over the first
    assert log.count("limited.blobs.0: stopped") == log.count("put in again") == 1
    assert log.count("limited.blobs.0: trained") == 1
    assert "works.blobs.0: trained" in log


def test_a_time_limit_in_which_no_epoch_ends_is_not_tried_for_ever(cluster: Cluster) -> None:
    (cluster.project / STATE / "stuck.blobs.0-1234").mkdir(parents=True)
    old = cluster.project / STATE / "stuck.blobs.0-1234/checkpoint.pt"
    old.touch()
    os.utime(old, (1, 1))
    assert cluster.submit(suite_of(), *cells_of("stuck")) == {"0": [1]}
    assert "give sbatch a longer --time" in cluster.log("77_0")


def test_scancel_stops_the_cells_and_is_not_undone(cluster: Cluster) -> None:
    assert cluster.submit(suite_of(), *cells_of("beside", "cancelled")) == {"0": [143]}
    assert "heard TERM" in cluster.log("cancelled.blobs.0")
    assert "put in again" not in cluster.log("77_0")


# Its first start meets the time limit after the first epoch, before the second: it waits there for what comes of it.
LIMITED = """
import os, signal, sys
from pathlib import Path
from mobilebench.cli import main
from mobilebench.cli.console import GridProgress
show = GridProgress.epoch
def limited(self, cell, result, epochs):
    show(self, cell, result, epochs)
    if not Path("limit-came").exists():
        Path("limit-came").touch()
        os.kill(os.getppid(), signal.SIGUSR1)
        signal.pause()
GridProgress.epoch = limited
main()
"""


def test_a_cell_that_meets_its_time_limit_ends_with_each_epoch_once(project: Path) -> None:
    suite = grids.write(project)
    python = f'#!/bin/bash\nexec {shlex.quote(sys.executable)} -c {shlex.quote(LIMITED)} "${{@:3}}"\n'
    cluster = Cluster(project, python)
    assert cluster.submit(suite, Cell("shufflenet", "blobs", 0)) == {"0": [0, 0]}
    (folder,) = (project / STATE).iterdir()
    events = Journal(folder).events()
    assert [event.step for event in events if isinstance(event, Epoch)] == [1, 2]
    assert [type(event) for event in events if isinstance(event, Interrupt | Finish)] == [Interrupt, Finish]
    assert "goes on after epoch 1" in cluster.log("shufflenet.blobs.0")
    assert not (project / "mlflow.db").exists()


def test_a_tuned_cell_has_a_task_of_its_own_for_its_trials_share_the_gpu(tmp_path: Path) -> None:
    tuned = "{space: {lr: [3.0e-2, 3.0e-3, 1.0e-6]}}"
    suite = suite_of(val="0.5", selection="{best_val: {metric: nll}}", tuning=tuned)
    suite = replace(suite, runtime=replace(suite.runtime, cells_per_device=8))
    text = array_script(
        suite, cells_of("a", "b"), per_task=2, most_at_once=None, folder=tmp_path, python="python", gpus=True
    )
    assert "#SBATCH --array=0-1\n" in text
    assert "#SBATCH --cpus-per-task=6\n" in text  # three trials of two threads


def test_what_cannot_be_submitted_is_refused(tmp_path: Path) -> None:
    def script(cells: list[Cell], per_task: int = 1, most_at_once: int | None = None, folder: Path = tmp_path) -> str:
        return array_script(
            suite_of(), cells, per_task=per_task, most_at_once=most_at_once, folder=folder, python="python", gpus=False
        )

    some = cells_of("starnet")
    refused: dict[str, Callable[[], str]] = {
        "nothing left to train": lambda: script([]),
        "an array of 0 cells a task": lambda: script(some, per_task=0),
        "an array of 0 tasks at once": lambda: script(some, most_at_once=0),
        "cannot stand in a script": lambda: script(some, folder=tmp_path / "a\nb"),
        "cannot write": lambda: script(some, folder=Path("/proc/none")),
    }
    for words, call_ in refused.items():
        with pytest.raises(UserError, match=words):
            call_()
    assert "MaxArraySize" not in script(some)
    assert "MaxArraySize" in script([Cell("starnet", "blobs", seed) for seed in range(MOST_TASKS + 1)])
