"""What all cells of one dataset share in one process: the suite, the opened data, the tracking store, the listener."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilebench.datasets.packing.packed import open_packed
from mobilebench.datasets.packing.prepare import find, packing_identity
from mobilebench.datasets.spec import same_source
from mobilebench.errors import UserError
from mobilebench.execution.progress import NullListener
from mobilebench.runs.identity import wanted
from mobilebench.runs.journal import Journal
from mobilebench.runs.records import read_result, result_path
from mobilebench.system.layout import PACKED, RESULTS, STATE
from mobilebench.system.words import counted
from mobilebench.training.rgb_only import rgb_only

if TYPE_CHECKING:
    from mobilebench.config.suite import Cell, Suite
    from mobilebench.datasets.packing.packed import Meta, Packed
    from mobilebench.execution.progress import ProgressListener
    from mobilebench.runs.attempts import Attempt
    from mobilebench.runs.identity import Identity
    from mobilebench.tracking import CellTracker


@dataclass(frozen=True)
class RunContext:
    """What all cells of one dataset share, made once per process."""

    suite: Suite
    dataset: str
    packed: Packed
    tracker: CellTracker
    listener: ProgressListener
    root: Path = Path()
    """The project folder."""
    attempt: Attempt | None = None
    """The attempt of the one cell that this context is for, where several machines may write."""

    @property
    def results(self) -> Path:
        """Where result files are written."""
        return self.root / RESULTS

    def journal(self, cell: Cell) -> Journal:
        """Return the journal of a cell under this recipe, this data and this code."""
        return self.journal_of(self.identity(cell))

    def journal_of(self, identity: Identity) -> Journal:
        """Return the journal of an identity."""
        return Journal(self.root / STATE / identity.name, self.attempt)

    def identity(self, cell: Cell) -> Identity:
        """Return all that gives the cell's accuracy its meaning. Builds the network where it is new or was edited."""
        return wanted(self.suite, cell, self.packed.meta, self.root)

    def is_finished(self, cell: Cell) -> bool:
        """Return whether the cell's result file is there, readable and of this identity, and its run is delivered.

        A run that waits in its journal, or that is another experiment's, is trained but not finished.
        """
        try:
            record = read_result(result_path(self.results, cell))
        except UserError as error:  # the run has all that the file had: it is written again, other cells go on
            self.listener.note(cell, f"{error}")
            return False
        if record is None or self.identity(cell) != record.identity:
            return False
        return not self.journal(cell).waits_for(self.suite.experiment)

    def change(self, cell: Cell) -> str:
        """Return what has changed since the cell's result file was written, in words; "" where nothing has."""
        try:
            record = read_result(result_path(self.results, cell))
        except UserError:
            return ""
        return ", ".join(self.identity(cell).differences(record.identity)) if record is not None else ""


def open_context(
    suite: Suite,
    dataset: str,
    tracker: CellTracker,
    root: Path = Path(),
    *,
    verify: bool = True,
    place: Path | None = None,
) -> RunContext:
    """Return the context of one dataset of the suite, its every pixel checked: seconds, before hours are spent on it.

    verify: False leaves the pixels unread, to look which cells there are to train. place: the packed dataset, where it
    is not read from the project folder. Raises UserError when the packed
    data is absent, damaged or packed under another policy than the protocol's.
    """
    packed = open_packed(place or root / PACKED / dataset)
    _check_policy(packed.meta, suite)
    _check_colours(packed.meta, suite)
    if verify:
        packed.verify()
    return RunContext(suite, dataset, packed, tracker, NullListener(), root)


def _check_policy(meta: Meta, suite: Suite) -> None:
    policy = suite.protocol.recipe_for("", meta.id).data
    now, then = asdict(policy), asdict(meta.policy)
    changed = [f"{key} {then[key]}, params.yaml says {now[key]}" for key in now if now[key] != then[key]]
    if changed:
        raise UserError(
            f"{PACKED / meta.id} was packed with {'; '.join(changed)}; run `mobilebench data prepare {meta.id}` (or "
            "`dvc repro`) to pack it as the protocol says"
        )


def _check_colours(meta: Meta, suite: Suite) -> None:
    """Raise UserError for settings that need red, green and blue where a dataset's images are of other channels."""
    for model in suite.models:
        unfit = rgb_only(suite.protocol.recipe_for(model, meta.id), meta.channels, meta.dtype)
        if not unfit:
            continue
        nested: dict[str, Any] = {}
        for key, value in unfit.items():
            group, _, name = key.rpartition(".")
            (nested.setdefault(group, {}) if group else nested)[name] = value
        written = json.dumps(nested).replace('"', "")
        specs = [find(name, suite.data_sources) for name in suite.datasets]
        alike = [spec.id for spec in specs if (spec.channels, spec.dtype) == (meta.channels, meta.dtype)]
        raise UserError(
            f"{', '.join(unfit)}: for red, green and blue only, and the images of {meta.id} have "
            f"{counted(meta.channels, 'channel')} of {meta.dtype}. Say in protocol.overrides what is done with them "
            f"instead: `- {{datasets: [{', '.join(alike)}], set: {written}}}`"
        )


def raise_if_repacking_is_due(suite: Suite, meta: Meta) -> None:
    """Raise UserError where `data prepare` would pack a dataset anew, as `dvc repro` does by itself.

    Own images were added, replaced or taken away, `data_sources` says otherwise, or this version reads the dataset in
    another way. Images that are not on this machine are as they were packed.
    """
    spec = find(meta.id, suite.data_sources)
    now = spec.fingerprint() if spec.fingerprint else ""
    is_current = meta.identity == packing_identity(spec, suite.protocol.recipe_for("", meta.id).data)
    if is_current and same_source(str(meta.provenance.get("fingerprint", "")), now):
        return
    what = "its images or its entry in data_sources" if spec.fingerprint else "how this version reads it"
    raise UserError(
        f"{PACKED / meta.id} is not what packing {meta.id} would give now: {what} changed since. Run `mobilebench data "
        f"prepare {meta.id}` (or `dvc repro`) to pack it again; its cells are then trained on the new data"
    )
