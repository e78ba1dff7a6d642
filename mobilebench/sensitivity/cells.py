"""The probed cells: their data, their validation images, their studies. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.config.suite import Cell, Suite
from mobilebench.datasets.packing.packed import open_packed
from mobilebench.datasets.val_cut import ValCut, cut
from mobilebench.errors import UserError
from mobilebench.evaluation.target import ONE_CLASS
from mobilebench.runs.identity import wanted
from mobilebench.search.identity import Identity
from mobilebench.search.space import protocol_values
from mobilebench.search.studies import StudyError
from mobilebench.sensitivity.analysis import Probe
from mobilebench.system.layout import PACKED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mobilebench.config.recipe import Recipe
    from mobilebench.config.sensitivity import SensitivitySettings
    from mobilebench.datasets.packing.packed import Packed
    from mobilebench.search.studies import ProbeStudy, Studies
    from mobilebench.tracking import Tracker


@dataclass(frozen=True, eq=False)
class ProbedCell:
    """One probed cell with what all its trials share."""

    suite: Suite
    cell: Cell
    packed: Packed
    cut: ValCut
    root: Path = Path()
    """The project folder."""

    @property
    def recipe(self) -> Recipe:
        """The protocol's recipe for the cell."""
        return self.suite.protocol.recipe_for(self.cell.model, self.cell.dataset)

    @property
    def identity(self) -> Identity:
        """What must be equal for trials to be of one study."""
        cell = wanted(self.suite, self.cell, self.packed.meta, self.root)
        network = f"{cell.network}-w{cell.weights[:12]}" if cell.weights else cell.network
        return Identity(
            self.cell.model, self.cell.dataset, self.cell.seed, cell.recipe, cell.data, network, cell.numerics,
            self.cut.digest,
        )  # fmt: skip

    @property
    def study_name(self) -> str:
        """The name of the cell's study."""
        return self.identity.name(self.cell.name)


def probed_cells(suite: Suite, settings: SensitivitySettings, root: Path = Path()) -> list[ProbedCell]:
    """Return the cells that a probe is of, with their data opened and their validation images cut.

    Raises UserError for a model, dataset or seed that the suite does not have, or data that is not packed.
    """
    wanted = (
        _known(suite, "model", settings.models, suite.models),
        _known(suite, "dataset", settings.datasets, suite.datasets),
        settings.seeds or suite.seeds[:1],
    )
    found = []
    for dataset in wanted[1]:
        packed = open_packed(root / PACKED / dataset)
        if packed.meta.target not in ONE_CLASS:
            raise UserError(
                f"{dataset} has several labels per image, and a probe reads validation top-1; name other datasets with "
                "`sensitivity.datasets` in params.yaml or --dataset"
            )
        policy = suite.protocol.recipe_for("", dataset).data
        held = cut(packed, settings.val_fraction, policy.split_seed)
        found += [
            ProbedCell(suite, Cell(model, dataset, seed), packed, held, root)
            for model in wanted[0]
            for seed in wanted[2]
        ]
    return found


def _known(suite: Suite, kind: str, wanted: tuple[str, ...] | None, known: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for name in wanted or () if name not in known]
    if unknown:
        raise UserError(
            f"the suite {suite.suite} has no {kind} {', '.join(unknown)}; it has {', '.join(known)}. Add it to "
            "params.yaml to probe it"
        )
    return wanted or known


def experiment_of(suite: Suite) -> str:
    """Return the MLflow experiment of a suite's trials: one of its own, so that no trial ever enters a score."""
    return f"{suite.experiment}-sensitivity"


def parent_run(tracker: Tracker, suite: Suite) -> str:
    """Return the id of the run under which all trials of a suite's protocol stand, made now if there is none."""
    tags = {"kind": "study", "suite": suite.suite, "protocol_hash": suite.protocol.hash}
    return tracker.parent_run(experiment_of(suite), f"sensitivity of {suite.protocol.hash}", tags)


def collect(cells: Iterable[ProbedCell], studies: Studies) -> tuple[list[Probe], list[str]]:
    """Return what the studies hold, one probe per model and dataset, and which studies were left out and why.

    Raises StudyError when no study is of the present protocol, data, code and validation cut, naming those there are.
    """
    found: dict[tuple[str, str], list[tuple[ProbedCell, ProbeStudy]]] = {}
    refused: list[str] = []
    for probed in cells:
        study = studies.find(probed.identity, probed.study_name)
        if study is not None:
            found.setdefault((probed.cell.model, probed.cell.dataset), []).append((probed, study))
        others = studies.others(probed.identity, probed.study_name)
        refused += [f"study {name} was made under {'; '.join(words)}" for name, words in others.items()]
    if not found:
        raise StudyError(
            "no study is of the present protocol, data, code and validation cut"
            + ("; refused: " + ". ".join(refused) if refused else ", and there is no other of these cells")
            + ". Run `mobilebench sensitivity run`"
        )
    return [_probe(pairs) for pairs in found.values()], refused


def _probe(pairs: list[tuple[ProbedCell, ProbeStudy]]) -> Probe:
    probed = pairs[0][0]
    common = probed.suite.protocol.recipe_for("", "")
    return Probe(
        model=probed.cell.model,
        dataset=probed.cell.dataset,
        seeds=tuple(probed.cell.seed for probed, _ in pairs),
        own=protocol_values(probed.recipe),
        common=protocol_values(common),
        n_train=len(probed.cut.train),
        n_val=len(probed.cut.val),
        trials=tuple(row for _, study in pairs for row in study.rows()),
    )
