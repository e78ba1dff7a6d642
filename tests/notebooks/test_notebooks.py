"""The notebooks run from top to bottom on small made results, and are stored without outputs."""

from __future__ import annotations

import shutil
import sys
from importlib import resources
from pathlib import Path

import numpy as np
import pytest

nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed: the notebooks were not run")
nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed: the notebooks were not run")
pytest.importorskip("ipykernel", reason="ipykernel is not installed: the notebooks were not run")

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


@pytest.fixture
def made_project(store: Path) -> Path:
    """A project of the demo suite whose runs are made: known numbers under the identity that `score` asks for."""
    from mlflow.tracking import MlflowClient

    from mobilebench.analysis.collect import score_experiment, write_scores
    from mobilebench.execution.suites import open_suite
    from mobilebench.system.layout import RESULTS
    from mobilebench.tracking import Tracker

    folder = store.parent
    shutil.copy(Path(str(resources.files("mobilebench.config") / "presets" / "demo.yaml")), folder / "params.yaml")
    suite = open_suite()
    client = MlflowClient(f"sqlite:///{store}")
    experiment = client.create_experiment(suite.experiment)
    rng = np.random.default_rng(1)
    for model in suite.models:
        for dataset in suite.datasets:
            recipe = suite.protocol.recipe_hash_for(model, dataset)
            make_run(client, experiment, model, dataset, recipe, float(rng.uniform(0.3, 0.9)))
    tracker = Tracker()
    write_scores(score_experiment(tracker, suite.experiment, lam=0.5, anchors="grid", allow_partial=False), RESULTS)
    return folder


def make_run(client: object, experiment: str, model: str, dataset: str, recipe: str, top1: float) -> None:
    from mlflow.entities import Metric

    tags = {
        "kind": "cell", "cell": f"{model}.{dataset}.0", "model": model, "dataset": dataset, "seed": "0",
        "protocol_hash": "made", "recipe_hash": recipe, "network": f"net_{model}",
        "data_digest": f"digest_{dataset}", "code_version": "1",
        "identity": f"{model}.{dataset}", "journal": f"{model}.{dataset}",
    }  # fmt: skip
    run = client.create_run(experiment, tags=tags, run_name=tags["cell"]).info.run_id  # type: ignore[attr-defined]
    final = {"final_test_top1": top1, "final_test_loss": 1.0, "n_test": 360, "params": 2e6, "macs": 3e8}
    points = [Metric(key, value, 0, 2) for key, value in final.items()]
    points += [Metric("test_top1", top1 * epoch / 2, 0, epoch) for epoch in (1, 2)]
    client.log_batch(run, metrics=points)  # type: ignore[attr-defined]
    client.set_terminated(run)  # type: ignore[attr-defined]


@pytest.fixture
def kernel(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> str:
    """A kernel of this very interpreter: the one called python3 on a machine may be another."""
    from ipykernel.kernelspec import write_kernel_spec

    folder = tmp_path_factory.mktemp("jupyter")
    write_kernel_spec(str(folder / "kernels" / "mobilebench_test"))
    monkeypatch.setenv("JUPYTER_PATH", str(folder))
    monkeypatch.setenv("IPYTHONDIR", str(folder / "ipython"))
    assert sys.executable in (folder / "kernels" / "mobilebench_test" / "kernel.json").read_text()
    return "mobilebench_test"


def run_notebook(path: Path, folder: Path, kernel: str) -> str:
    """Execute a notebook in a folder and return all that it shows as text."""
    notebook = nbformat.read(path, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=120, kernel_name=kernel, resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    shown = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    texts = [output.get("text", "") for output in shown]
    texts += ["".join(output.get("data", {}).values()) for output in shown]
    return "\n".join(texts)


def test_there_are_six_and_they_hold_no_outputs() -> None:
    assert [path.name for path in NOTEBOOKS] == [
        "01_explore_runs.ipynb",
        "02_score_a_new_model.ipynb",
        "03_what_the_paper_claims.ipynb",
        "04_which_backbone.ipynb",
        "05_does_imagenet_predict.ipynb",
        "06_a_published_grid.ipynb",
    ]
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        nbformat.validate(notebook)
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert all(not cell.outputs and cell.execution_count is None for cell in code)
        assert not any(
            line.lstrip().startswith(("def ", "class ")) for cell in code for line in cell.source.splitlines()
        )


def test_runs_are_explored(made_project: Path, kernel: str) -> None:
    shown = run_notebook(NOTEBOOKS[0], made_project, kernel)
    assert "('demo', 11, 3, 33)" in shown
    assert "single run" in shown
    assert shown.count("<svg") >= 2


def test_a_new_model_is_scored(tmp_path: Path, kernel: str) -> None:
    shown = run_notebook(NOTEBOOKS[1], tmp_path, kernel)
    assert "training not rerun" in shown
    assert "my_net" in shown
    assert "my_backbone would stand" in shown


def test_the_papers_claims_are_held_against_its_table(tmp_path: Path, kernel: str) -> None:
    shown = run_notebook(NOTEBOOKS[2], tmp_path, kernel)
    assert "leans against" in shown
    assert "7 of 11" in shown
    assert shown.count("<svg") >= 3


def test_the_backbones_claims_and_orders_are_shown(tmp_path: Path, kernel: str) -> None:
    shown = run_notebook(NOTEBOOKS[3], tmp_path, kernel)
    assert "Convolutional networks outperform transformers" in shown
    assert "49 disagreements" in shown
    assert shown.count("<svg") >= 2


def test_the_three_studies_are_asked_one_question(tmp_path: Path, kernel: str) -> None:
    shown = run_notebook(NOTEBOOKS[4], tmp_path, kernel)
    assert "does not predict" in shown
    assert "beyond_imagenet" in shown
    assert "<svg" in shown


def test_the_published_grid_is_read_and_counted_again(tmp_path: Path, kernel: str) -> None:
    name = "results/published/pocket_v1"
    shutil.copytree(FOLDER.parent / name, tmp_path / name)
    shown = run_notebook(NOTEBOOKS[5], tmp_path, kernel)
    assert "every accuracy follows from the answers" in shown
    assert "n = 11 networks" in shown
    assert shown.count("<svg") >= 2
