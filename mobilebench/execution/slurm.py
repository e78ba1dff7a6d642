"""A SLURM job array over the cells that are left: a script for sbatch, for a cluster on which nothing else may run.

It needs no service and no library. Each task trains a few cells side by side, each by `mobilebench train --offline`,
and everything that is known of a cell lies in its journal. So a task may be stopped, killed or begun anew at any time.

The time limit comes as a signal of its own, USR1. TERM is scancel and preemption: SLURM requeues a preempted task
itself, and a cancelled one that asked to be requeued could never be cancelled.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from mobilebench.errors import UserError
from mobilebench.system.disk import disk_errors
from mobilebench.system.layout import STATE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mobilebench.config.suite import Cell, Suite

LOGS = "slurm"
"""Folder of the logs, in the project folder: one of each task, and one of each cell."""

MOST_TASKS = 1001
"""What SLURM allows in one array where a site has not set MaxArraySize."""


def array_script(
    suite: Suite,
    cells: Sequence[Cell],
    *,
    per_task: int,
    most_at_once: int | None,
    folder: Path,
    python: str,
    gpus: bool,
) -> str:
    """Return the text of a script for sbatch that trains the cells, and make the folder of its logs.

    cells: those that are left, longest first; a task gets consecutive ones, which are alike in length. per_task: how
    many a task trains side by side; a tuned one is alone. most_at_once: tasks that may run at a time, None for as many
    as there is room for. folder: the project's, as the nodes see it. python: the interpreter that has mobilebench, as
    the nodes see it. gpus: whether each task asks for a GPU, which its cells share.

    Raises UserError where no cell is left, a number is below 1 or a path cannot stand in a script, and StorageError
    where the folder of the logs cannot be made: SLURM does not make it, and ends each task without a word.
    """
    _check(cells, per_task, most_at_once, folder, python)
    folder = folder.absolute()  # sbatch may be called from anywhere
    with disk_errors(folder / LOGS):
        (folder / LOGS).mkdir(parents=True, exist_ok=True)
    groups = _groups(suite, cells, per_task)
    at_once = max(_at_once(suite, group) for group in groups)
    parts = [
        "#!/bin/bash",
        *_explanation(suite, groups, at_once, folder, python, gpus=gpus),
        *_options(suite, len(groups), at_once, most_at_once, folder, gpus=gpus),
        "",
        *_settings(suite, at_once, folder, python),
        _FUNCTIONS,
        *_tasks(groups),
        _END,
    ]
    return "\n".join(parts)


def _check(cells: Sequence[Cell], per_task: int, most_at_once: int | None, folder: Path, python: str) -> None:
    if not cells:
        raise UserError(
            "there is nothing left to train, so there is no array to submit; `mobilebench status` lists all"
        )
    for what, number in (("cells a task", per_task), ("tasks at once", most_at_once)):
        if number is not None and number < 1:
            raise UserError(f"an array of {number} {what} trains nothing; expected 1 or more")
    for path in (str(folder), python):
        if not path.isprintable():
            raise UserError(f"{path!r} cannot stand in a script; expected a path of printable characters")


def _groups(suite: Suite, cells: Sequence[Cell], per_task: int) -> list[tuple[Cell, ...]]:
    """Return the cells of each task. A tuned cell is alone: it trains several of its trials at once by itself."""
    groups: list[tuple[Cell, ...]] = []
    for cell in cells:
        last = groups[-1] if groups else ()
        if last and len(last) < per_task and not _trials(suite, cell) and not _trials(suite, last[0]):
            groups[-1] = (*last, cell)
        else:
            groups.append((cell,))
    return groups


def _trials(suite: Suite, cell: Cell) -> int:
    """Return how many trials a tuned cell has, 0 for any other."""
    tuning = suite.protocol.recipe_for(cell.model, cell.dataset).tuning
    return 0 if tuning is None else tuning.count


def _at_once(suite: Suite, group: tuple[Cell, ...]) -> int:
    """Return how many trainings a task does at once."""
    trials = _trials(suite, group[0])
    return suite.runtime.workers(trials) if trials else len(group)


def _explanation(
    suite: Suite, groups: list[tuple[Cell, ...]], at_once: int, folder: Path, python: str, *, gpus: bool
) -> list[str]:
    """Return the comments at the top: what it does, how it is submitted, and what comes after it."""
    count = sum(map(len, groups))
    sync = f"cd {shlex.quote(str(folder))} && {shlex.quote(python)} -m mobilebench sync"
    lines = [
        f"The cells of the suite {suite.suite} that are left to train, longest first: {count} in {len(groups)} tasks.",
        "",
        "    sbatch --partition=NAME --account=NAME --time=HH:MM:SS THIS_FILE",
        "",
        "Partition, account, time limit and memory (--mem) are your site's: name them as it wants. An option given to",
        "sbatch goes before one written here. A task that is stopped goes on after the last epoch of each cell. At its",
        "time limit it puts itself in again; a preempted one, or one whose node failed, SLURM puts in again. A cell",
        "that fails makes its task fail and leaves the others alone. Print this file anew for what is left then.",
        "",
        "Cells are trained --offline: a tracking store in a file, on a file system that nodes share, must have one",
        "writer. Afterwards, or at any time meanwhile, one process delivers everything:",
        "",
        f"    {sync}",
        "",
        f"Logs are in {LOGS}/: one of each task (JOB_TASK.log) and one of each cell (CELL.log).",
    ]
    if at_once > 1 and gpus and suite.runtime.cells_per_device != at_once:
        lines += [
            "",
            f"{at_once} cells share a GPU here, and each takes its part of the memory by runtime.cells_per_device in",
            f"params.yaml, which is {suite.runtime.cells_per_device or 1}: set it to {at_once}.",
        ]
    if suite.runtime.threads is None:
        lines += [
            "",
            "runtime.threads is not set in params.yaml, so each cell takes its part of the CPUs of --cpus-per-task. On",
            "CPUs another number of threads rounds otherwise: set it there to get the same bits from every run.",
        ]
    if len(groups) > MOST_TASKS:
        lines += [
            "",
            f"Many sites allow {MOST_TASKS} tasks in an array (MaxArraySize). More cells a task, or fewer datasets,",
            "make fewer of them.",
        ]
    return [f"# {line}".rstrip() for line in lines]


def _options(
    suite: Suite, tasks: int, at_once: int, most_at_once: int | None, folder: Path, *, gpus: bool
) -> list[str]:
    """Return the options of sbatch. They stand before the first command, or SLURM does not read them."""
    limit = "" if most_at_once is None else f"%{most_at_once}"
    threads = suite.runtime.threads
    options = [
        f"--job-name=mobilebench-{suite.suite}",
        f"--array=0-{tasks - 1}{limit}",
        "--nodes=1",
        "--ntasks=1",
        *([f"--cpus-per-task={threads * at_once}"] if threads is not None else []),
        *(["--gres=gpu:1"] if gpus else []),
        f"--chdir={_quoted_for_sbatch(str(folder))}",
        f"--output={LOGS}/%A_%a.log",
        "--open-mode=append",
        "--requeue",
        "--signal=B:USR1@120",
    ]
    return [f"#SBATCH {option}" for option in options]


def _quoted_for_sbatch(text: str) -> str:
    """Return a value as sbatch reads it, which is not quite as a shell does: a backslash counts within any quotes."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _settings(suite: Suite, at_once: int, folder: Path, python: str) -> list[str]:
    """Return the variables that the functions read. Threads go by the largest task, so that the last has no more."""
    share = f"$((${{SLURM_CPUS_PER_TASK:-${{SLURM_CPUS_ON_NODE:-1}}}} / {at_once}))"
    return [
        f"cd {shlex.quote(str(folder))} || exit 2",
        f"python={shlex.quote(python)}",
        f"logs={LOGS}",
        f"state={STATE.as_posix()}",
        f"threads={share if suite.runtime.threads is None else suite.runtime.threads}",
    ]


def _tasks(groups: list[tuple[Cell, ...]]) -> list[str]:
    """Return the `case` that starts the cells of this task: name, dataset, model, seed."""
    lines = ['case "$SLURM_ARRAY_TASK_ID" in']
    for number, group in enumerate(groups):
        lines.append(f"  {number})")
        for cell in group:
            words = (cell.name, cell.dataset, cell.model, str(cell.seed))
            lines.append(f"    train {' '.join(map(shlex.quote, words))}")
        lines.append("    ;;")
    return [
        *lines,
        "  *)",
        '    say "there is no task $SLURM_ARRAY_TASK_ID in this file"',
        "    exit 2",
        "    ;;",
        "esac",
    ]


_FUNCTIONS = r"""
((threads >= 1)) || threads=1
export OMP_NUM_THREADS="$threads"
task="${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"
began="$logs/.began_$task" # a file's time, from the same clock as those of checkpoints
touch "$began"
trap 'rm -f "$began"' EXIT
names=()
pids=()
signals=0
failed=0
stopped=0
why=""

say() {
  printf '%(%F %T)T  %s\n' -1 "$*"
}

# Start one cell: its name, dataset, model and seed.
train() {
  if [[ -n "$why" ]]; then
    stopped=$((stopped + 1))
    return
  fi
  say "$1: on $HOSTNAME, see $logs/$1.log"
  "$python" -m mobilebench train "$2" --model "$3" --seed "$4" --offline >>"$logs/$1.log" 2>&1 &
  names+=("$1")
  pids+=("$!")
}

# Pass a signal on as TERM: each cell ends the write that has begun, and then itself.
stop() {
  why="$1"
  signals=$((signals + 1))
  say "$why: the cells are stopped"
  pass_on
}

pass_on() {
  ((${#pids[@]} == 0)) || kill -TERM "${pids[@]}" 2>/dev/null
}

# Wait for a process and return its exit status. A trap that runs meanwhile interrupts `wait`, not the process.
await() {
  local code before
  while true; do
    before=$signals
    wait "$1"
    code=$?
    [[ "$before" == "$signals" ]] && return "$code"
  done
}

# Whether a cell of this task has a checkpoint that is newer than this start.
advanced() {
  local name
  for name in "${names[@]}"; do
    if [[ -n "$(find "$state/$name"-* -name checkpoint.pt -newer "$began" 2>/dev/null)" ]]; then return 0; fi
  done
  return 1
}

trap 'stop "time limit"' USR1
trap 'stop "cancelled or preempted"' TERM
"""

_END = r"""
[[ -z "$why" ]] || pass_on # to those that were started while the signal came

for i in "${!pids[@]}"; do
  await "${pids[i]}"
  code=$?
  if ((code == 0)); then
    say "${names[i]}: trained"
  elif [[ -n "$why" ]] && ((code == 130 || code == 143)); then
    say "${names[i]}: stopped"
    stopped=$((stopped + 1))
  else
    say "${names[i]}: FAILED with exit status $code, see $logs/${names[i]}.log"
    failed=$((failed + 1))
  fi
done

if [[ "$why" == "time limit" ]] && ((stopped > 0)); then
  if ! advanced; then
    say "no epoch ended within the time limit, and none would the next time: give sbatch a longer --time"
    exit 1
  fi
  say "put in again"
  scontrol requeue "$task" && exit 0
  say "SLURM did not take it: submit this file once more"
  exit 1
fi
if ((stopped > 0)); then exit 143; fi
if ((failed > 0)); then exit 1; fi
"""
