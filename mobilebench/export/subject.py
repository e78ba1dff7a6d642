"""What is exported: a finished run's network, and what a file should say of it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from mobilebench.analysis.inspect import cell_meant
from mobilebench.analysis.named_runs import run_meant
from mobilebench.analysis.trained import load_predictions, trained_files
from mobilebench.config.pixels import shown
from mobilebench.errors import UserError
from mobilebench.execution.classifier import trained_model
from mobilebench.execution.exported import Exported, is_exported
from mobilebench.execution.model_file import weights_in
from mobilebench.execution.suites import open_suite
from mobilebench.export.onnx_file import OPSET
from mobilebench.runs.journal import Journal
from mobilebench.runs.records import read_result, result_path
from mobilebench.system.layout import RESULTS, STATE

if TYPE_CHECKING:
    from torch import nn

    from mobilebench.config.suite import Cell
    from mobilebench.datasets.packing.packed import Packed
    from mobilebench.evaluation.predictions import Predictions
    from mobilebench.execution.model_file import ModelFile
    from mobilebench.export.forms import ImageForm
    from mobilebench.runs.records import Record


@dataclass(frozen=True, eq=False)
class Subject:
    """A finished run's network, ready to be exported."""

    made: ModelFile
    network: nn.Module
    """In eval mode, on the CPU, without its normalisation."""
    record: Record | None
    """Of its run; None for a folder of artifacts alone."""
    source: str | Path
    """What `load_model` calls the run."""

    @property
    def name(self) -> str:
        """The name of its cell, and of its files."""
        return self.made.cell.name

    def predictions(self) -> Predictions | None:
        """Return what it said of the test images when its run ended; None where that was not kept or is not here."""
        if is_exported(Path(self.source)):
            return None
        try:
            return load_predictions(self.source)
        except UserError:
            return None

    @property
    def exported(self) -> Exported:
        """What stands beside its weights."""
        return Exported(self.made, self.record)

    def metadata(self, packed: Packed | None) -> dict[str, str]:
        """Return what files of any form say of the network, all as texts; lists are JSON."""
        made, record = self.made, self.record
        said = {
            "producer": f"mobilebench {version('mobilebench')}",
            "model": made.model,
            "dataset": made.dataset,
            "seed": str(made.seed),
            "classes": json.dumps(made.classes, ensure_ascii=False),
            "target": made.target,
            "metric": made.metric,
            "mean": json.dumps(made.mean),
            "std": json.dumps(made.std),
            "resolution": shown(made.resolution),
            "eval_resize": str(made.eval_resize),
            "stored": shown(made.stored),
            "fit": made.fit,
        }
        if record is not None:
            said |= {"run_id": record.run_id, "protocol_hash": record.protocol_hash, "data_digest": record.data_digest}
        if packed is not None:
            said["data_licence"] = licence_of(packed)
        return said

    def onnx_metadata(self, packed: Packed, form: ImageForm) -> dict[str, str]:
        """Return what an ONNX file says of the network: besides, which images it takes."""
        return self.metadata(packed) | {"input": form.words, "resize": form.resize, "opset": str(OPSET)}

    def safetensors_metadata(self, packed: Packed | None) -> dict[str, str]:
        """Return what a safetensors file says of the network, all that `load_model` needs included."""
        return self.metadata(packed) | self.exported.to_metadata()


def licence_of(packed: Packed) -> str:
    """Return the licence of a dataset in words; "unknown" where nothing says it."""
    return str(packed.meta.provenance.get("licence") or "unknown")


def open_subject(what: str, dataset: str | None = None, seed: int | None = None) -> Subject:
    """Return the network of a finished run: by a name that `load_model` takes, or a cell of this project.

    dataset: where `what` is a model of params.yaml; seed: of the cell, the suite's first where none is said. Warns as
    `load_model` where the network's code is another now. Raises UserError where there is no such finished run, its
    weights are gone, or its network cannot be built here.
    """
    source = _meant(what, dataset, seed)
    with trained_files(source) as found:
        network = trained_model(found.made, found.weights, found.run_id).network
    return Subject(found.made, network, found.record, source)


def _meant(what: str, dataset: str | None, seed: int | None) -> str | Path:
    """Return what `load_model` calls the run that a person names."""
    if run_id := run_meant(what):
        name: str | Path | None = f"run:{run_id}"
    else:
        is_name = "/" in what or what.startswith("run:") or Path(what).exists()
        name = what if is_name and dataset is None else None
    if name is None:
        return _of_cell(cell_meant(open_suite(networks=False), what, dataset, seed, command="export"))
    if dataset is not None or seed is not None:
        raise UserError(f"{what} is one run already; --seed and DATASET go with a model of params.yaml")
    return name


def _of_cell(cell: Cell) -> str | Path:
    """Return the folder of a finished cell's journal, or else the name of its run."""
    record = read_result(result_path(RESULTS, cell))
    if record is None:
        raise UserError(
            f"{cell.name} has no result here; run `mobilebench train {cell.dataset} --model {cell.model}` first"
        )
    journal = Journal(STATE / record.identity.name)
    return journal.folder if weights_in(journal.artifacts) else f"run:{record.run_id}"
