"""A small made matrix with its scores: two seeds, one cell absent is left to the tests that want it."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mobilebench.models.cost.cost_file import CostRow
from mobilebench.report import Curve, ReportInputs, RunRef, write_report
from mobilebench.scoring import Matrix, compute_scores

MODELS, DATASETS = ("alpha_net", "beta_net", "gamma_net", "delta_net"), ("digits", "toy_shapes", "toy_textures")


def made_matrix(seeds: int = 2) -> Matrix:
    rng = np.random.default_rng(3)
    top1 = np.clip(rng.uniform(0.4, 0.95, (4, 3, 1)) + rng.normal(0, 0.01, (4, 3, seeds)), 0, 1)
    return Matrix(MODELS, DATASETS, tuple(range(seeds)), top1, np.array([360, 500, 500]))


def made_inputs(seeds: int = 2) -> ReportInputs:
    matrix = made_matrix(seeds)
    cells = [(m, d, s) for m in MODELS for d in DATASETS for s in range(seeds)]
    return ReportInputs(
        matrix=matrix,
        scores=compute_scores(matrix, draws=200),
        suite="demo",
        experiment="demo",
        protocol_hash="abc123",
        protocol={"epochs": 3, "optimizer": "adam", "augment": {"cutmix": True}},
        dataset_digests={name: f"digest_{name}" for name in DATASETS},
        runs={(m, d, s): RunRef(f"run_{m}_{d}_{s}", "http://127.0.0.1:5000/#/x") for m, d, s in cells},
        curves=tuple(Curve(m, d, s, (1, 2, 3), (0.2, 0.4, 0.5)) for m, d, s in cells),
        costs=tuple(
            CostRow(m, 2_000_000 + 10_000 * i, 300_000_000 * (i + 1), 5.0 + i, "1 core, batch 1")
            for i, m in enumerate(MODELS)
        ),
        elements={"squeeze_excite": dict.fromkeys(MODELS[:2], True) | dict.fromkeys(MODELS[2:], False)},
        source="Made numbers.",
    )


@pytest.fixture(scope="session")
def inputs() -> ReportInputs:
    return made_inputs()


@pytest.fixture(scope="session")
def folder(made_once: Callable[..., Path], inputs: ReportInputs) -> Path:
    """A written report; tests read it and leave it as it is."""

    def make(out: Path) -> None:
        assert all(path.is_file() for path in write_report(out, inputs))

    return made_once("report", make)
