"""What a person sees of a probe: bars while trials train, and the regret of each probed cell."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mobilebench.cli.console import console, plain_table
from mobilebench.sensitivity.analysis import regret

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.progress import TaskID

    from mobilebench.sensitivity.analysis import Probe
    from mobilebench.sensitivity.trial import TrialProgress as Epoch


class TrialProgress:
    """A probe's listener: a bar over all trials, and one for each that is training."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._all = progress.add_task("all trials", total=None, detail="")
        self._running: dict[str, TaskID] = {}

    def planned(self, trials: int) -> None:
        """Show how many trials are to be run."""
        self._progress.update(self._all, total=trials)
        self._progress.console.print(f"{trials} trials to run")

    def epoch(self, progress: Epoch) -> None:
        """Show that an epoch of a trial is done."""
        if progress.label not in self._running:
            self._running[progress.label] = self._progress.add_task(progress.label, total=progress.epochs, detail="")
        top1 = "" if progress.val_top1 is None else f"  val top-1 {100 * progress.val_top1:.1f} %"
        detail = f"loss {progress.train_loss:.3f}{top1}  {progress.images_per_second:,.0f} images/s"
        self._progress.update(self._running[progress.label], completed=progress.epoch, detail=detail)

    def ended(self, label: str, words: str) -> None:
        """Show how a trial ended."""
        self._progress.update(self._all, advance=1)
        if label in self._running:
            self._progress.remove_task(self._running.pop(label))
        self._progress.console.print(f"[bold]{label}[/bold]: {words}", soft_wrap=True)

    def note(self, message: str) -> None:
        """Print something a person should know."""
        self._progress.console.print(message, soft_wrap=True)


@contextmanager
def trial_progress() -> Iterator[TrialProgress]:
    """Show progress while the block runs."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}"),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        yield TrialProgress(progress)


def show_regrets(probes: Sequence[Probe]) -> None:
    """Print what the protocol's setting costs each probed model on each dataset."""
    table = plain_table("model on dataset", "protocol", "best", "gain", "chance", "best setting found")
    for probe in probes:
        found = regret(probe)
        counts = f"{probe.count('complete')} trials complete, {probe.count('failed')} failed"
        if found is None:
            table.add_row(probe.name, *["n/a"] * 4, counts)
            continue
        numbers = [f"{100 * value:.1f}" for value in (found.protocol, found.best, found.gain)]
        numbers.append(f"{'> ' if found.seeds == 1 else ''}{100 * found.noise[1]:.1f}")
        table.add_row(probe.name, *numbers, f"{probe.changed(found.best_key)}\n{counts}")
    console.print(table)
    console.print(
        "Validation top-1 in percent. Chance: what equally good settings gain in 5 % of probes; less says nothing. "
        "After one seed it is more than the figure shown, so such a gain says nothing yet: repeat with more --seed."
    )
