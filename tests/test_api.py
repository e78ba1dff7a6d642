"""The public API: every name does what the package says of it, and none is imported before it is used."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import pytest

import mobilebench
from mobilebench.config.suite import preset_text
from mobilebench.runs.records import Record
from mobilebench.tracking import Details

if TYPE_CHECKING:
    from pathlib import Path

CELLS = {(m, d, 0): 0.5 + 0.1 * i * (k + 1) for i, m in enumerate("abc") for k, d in enumerate("xy")}


def test_every_name_is_documented_and_there() -> None:
    assert set(mobilebench.__all__) == set(mobilebench._TARGETS)
    for name in mobilebench.__all__:
        assert f"`{name}`" in (mobilebench.__doc__ or "")
        assert getattr(mobilebench, name).__doc__
        assert name in dir(mobilebench)
    with pytest.raises(AttributeError, match="no attribute 'scores'"):
        _ = mobilebench.scores


def test_importing_the_package_imports_nothing_of_it() -> None:
    code = "import sys, mobilebench; print([m for m in sys.modules if m.startswith(('numpy', 'mobilebench'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "['mobilebench']"


@pytest.mark.parametrize("room", ["training", "models", "datasets", "runs.records", "system.files", "scoring"])
def test_what_a_bare_gpu_machine_needs_imports_without_pandas(room: str) -> None:
    code = f"import sys; sys.modules['pandas'] = None; import mobilebench.{room}"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_version_is_the_installed_one() -> None:
    assert mobilebench.__version__ == version("mobilebench")


def test_a_matrix_is_scored_and_compared(tmp_path: Path) -> None:
    matrix = mobilebench.Matrix.from_cells(CELLS, {"x": 100, "y": 100})
    matrix.to_csv(tmp_path / "accuracy.csv")
    again = mobilebench.load_matrix(str(tmp_path))
    table = mobilebench.score(again, draws=50)
    assert [row.model for row in table.rows] == ["c", "b", "a"]
    assert np.array_equal(mobilebench.xscore(again.mean).score, table.xscore.score)
    assert all(row.difference == 0 for row in mobilebench.compare(matrix, again).rows)


def test_a_study_and_its_matrix() -> None:
    study = mobilebench.load_study("beyond_imagenet")
    assert np.array_equal(study.matrix().values, mobilebench.load_matrix("published").values)
    with pytest.raises(mobilebench.UserError, match="no published study"):
        mobilebench.load_study("another")


def test_a_suite_is_loaded_and_its_models_are_created(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text(preset_text("demo"))
    suite = mobilebench.load_suite(tmp_path / "params.yaml")
    assert isinstance(suite, mobilebench.Suite)
    network = mobilebench.create_model(suite.models[0], 7)
    assert sum(p.numel() for p in network.parameters()) > 0


def test_an_experiment_is_scored(project: Path) -> None:
    """From records as a tracking server gives them; a cell that has no finished run is refused by name."""
    runs = [
        Record(
            f"run_{m}_{d}", m, d, seed, "p1", f"digest_{d}", 1, "FINISHED", {"top1": top1}, n_test=100, recipe_hash="r1"
        )
        for (m, d, seed), top1 in CELLS.items()
    ]

    class Server:
        def __init__(self, records: list[Record]) -> None:
            self.found = records

        def runs(self, _: str) -> list[Details]:
            return [Details(record, {}, {}, "") for record in self.found]

    scored = mobilebench.score_experiment(Server(runs), "my grid", lam=0.5, anchors="grid")
    assert [row.model for row in scored.table.rows] == ["c", "b", "a"]
    with pytest.raises(mobilebench.UserError, match=r"c\.y\.0: missing"):
        mobilebench.score_experiment(Server(runs[:-1]), "my grid", lam=0.5, anchors="grid")
