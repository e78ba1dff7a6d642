"""What a report is made from: plain data, so that reporting needs neither MLflow nor torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mobilebench.analysis.devices import DeviceFigures
    from mobilebench.analysis.origins import Origin
    from mobilebench.evaluation.predictions import Predictions
    from mobilebench.models.cost.cost_file import CostRow
    from mobilebench.models.weights.imagenet import ImageNetTop1
    from mobilebench.scoring import Matrix, ScoreTable
    from mobilebench.scoring.low_data import LowData
    from mobilebench.scoring.matrix import CellKey


@dataclass(frozen=True)
class RunRef:
    """The run behind one cell."""

    run_id: str
    """Id of the MLflow run."""
    url: str | None = None
    """Address of its page, where a server is known."""


@dataclass(frozen=True)
class Curve:
    """Learning curve of one cell, recorded for display; nothing is selected on it."""

    model: str
    """Model of the cell."""
    dataset: str
    """Dataset of the cell."""
    seed: int
    """Seed of the cell."""
    epochs: tuple[int, ...]
    """The epochs, from 1."""
    values: tuple[float, ...]
    """The readings after each of them."""
    metric: str = "top1"
    """Id of the metric read."""
    split: str = "test"
    """The split it was read on."""


def _nothing_kept(_: CellKey) -> None:
    """Return None, for every cell."""


@dataclass(frozen=True)
class ReportInputs:
    """Everything a report shows."""

    matrix: Matrix
    """The results."""
    scores: ScoreTable
    """Their scores."""
    suite: str
    """Name of the suite."""
    experiment: str
    """The MLflow experiment of the runs."""
    protocol_hash: str
    """Hash of the protocol all runs share."""
    protocol: Mapping[str, object]
    """The protocol's settings; empty where they are not known."""
    dataset_digests: Mapping[str, str] = field(default_factory=dict)
    """{dataset: content digest of its packed arrays}."""
    made_with: tuple[Origin, ...] = ()
    """What the runs were made with, most frequent first; empty where that is not known."""
    runs: Mapping[CellKey, RunRef] = field(default_factory=dict)
    """{(model, dataset, seed): the run behind the cell}."""
    curves: tuple[Curve, ...] = ()
    """Learning curves, for display only."""
    costs: tuple[CostRow, ...] | None = None
    """Costs of the models; None where they are unknown."""
    devices: DeviceFigures | None = None
    """Latency of the models on devices; None where nothing is known of it."""
    pretrained: Mapping[str, str] = field(default_factory=dict)
    """{model: what it was pretrained on}; empty where all are from scratch."""
    imagenet: Mapping[str, ImageNetTop1] = field(default_factory=dict)
    """{model: ImageNet top-1 of the weights it starts from}, where it is known."""
    low_data: LowData | None = None
    """Results with fewer train images; None where there are none."""
    caveats: tuple[str, ...] = ()
    """Sentences on what the results cannot bear: what was chosen on test, images that the weights may know."""
    elements: Mapping[str, Mapping[str, bool]] | None = None
    """{architectural element: {model: has it}}; None where the elements of these models are unknown."""
    element_notes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """{element: sentences on where a publication and the networks built disagree}."""
    element_remarks: tuple[str, ...] = ()
    """Sentences on the models whose elements are left out, and why."""
    kept: Callable[[CellKey], Predictions | None] = _nothing_kept
    """The test predictions that a cell's run kept, None where it kept none."""
    domains: Mapping[str, str] = field(default_factory=dict)
    """{dataset: the domain of its images}; those of no known domain are not in it."""
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """{dataset: names of its classes}."""
    result_is: str = "a single run"
    """What a result without further seeds is."""
    source: str = ""
    """One sentence on where the accuracies come from."""
