"""What the study's claims are held against: measured results, ImageNet accuracies, parameters, sizes of datasets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.config.suite import parse_suite, preset_text
from mobilebench.datasets.registry import DATASETS
from mobilebench.models.cost.cost_file import read_costs
from mobilebench.models.weights.imagenet import imagenet_of, networks_of
from mobilebench.scoring import Matrix
from mobilebench.scoring.prediction import Predictor
from mobilebench.studies.real_world import published as reference
from mobilebench.studies.study import NotTestableError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class Context:
    """What the claims are held against."""

    matrix: Matrix
    """The results."""
    imagenet: Mapping[str, float]
    """{model: ImageNet top-1 in percent} of the models of which it is known."""
    params: Mapping[str, int] = field(default_factory=dict)
    """{model: parameters}."""
    classes: Mapping[str, int] = field(default_factory=dict)
    """{dataset: classes}."""
    train: Mapping[str, int] = field(default_factory=dict)
    """{dataset: train images}."""

    @property
    def predictor(self) -> Predictor:
        """ImageNet top-1."""
        return Predictor("ImageNet top-1", self.imagenet)

    @property
    def real_world(self) -> Matrix:
        """The results on the study's datasets alone. Raises NotTestableError where there are none."""
        own = [name for name in self.matrix.datasets if any(name in ids for ids in reference.DATASETS.values())]
        if not own:
            raise NotTestableError(f"none of the study's datasets is in this matrix: {', '.join(reference.DATASETS)}")
        return self.matrix.select(datasets=own)

    def dataset(self, name: str) -> str:
        """Return our id, in this matrix, of one of the study's datasets. Raises NotTestableError where it is not."""
        for known in reference.DATASETS[name]:
            if known in self.matrix.datasets:
                return known
        raise NotTestableError(f"no {' or '.join(reference.DATASETS[name])} among {', '.join(self.matrix.datasets)}")


def load_context(source: str) -> Context:
    """Return the context of a results folder or a CSV of cells; raises UserError where it cannot be read.

    ImageNet accuracies are those of the weights that the packaged suite gives to models of the same name, and of an
    `imagenet.csv` beside the cells, which wins; parameters are those of a `cost.csv` beside them.
    """
    matrix = Matrix.from_csv(source)
    path = Path(source)
    folder = path if path.is_dir() else path.parent
    networks = networks_of(parse_suite(preset_text(reference.SUITE), reference.SUITE))
    known = imagenet_of({model: networks[model] for model in matrix.models if model in networks}, folder)
    costs = read_costs(folder / "cost.csv") if (folder / "cost.csv").is_file() else ()
    specs = {name: DATASETS[name] for name in matrix.datasets if name in DATASETS}
    return Context(
        matrix,
        {model: known[model].percent for model in matrix.models if model in known},
        {row.model: row.params for row in costs},
        {name: spec.classes for name, spec in specs.items()},
        {**reference.TRAIN, **{name: spec.counts["train"] for name, spec in specs.items() if "train" in spec.counts}},
    )
