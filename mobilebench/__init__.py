"""mobilebench: does a lightweight vision model that is good on one dataset stay good on others?

The names below are the public API. Each is imported when it is first used, so that `import mobilebench` costs nothing.

| name | what it is |
|---|---|
| `Suite`, `load_suite` | a named grid with its protocol, and the one that a params.yaml says |
| `Matrix`, `load_matrix` | results of a grid, and those of a results folder, a CSV or the published table |
| `xscore` | Eq. 1 to 3 on an array of accuracies |
| `score` | a matrix as a table of scores with intervals and ranks |
| `score_experiment` | the same from the checked runs of an MLflow experiment |
| `compare` | two matrices, paired over seeds |
| `rank` | the models of one dataset, best first, with intervals |
| `place` | new models among those of a reference: score, place, intervals |
| `create_model` | a network by its id, with fresh weights |
| `load_model` | a finished run's network, which takes plain images |
| `load_predictions` | what it said of every test image |
| `load_study` | a published study: its tables, its claims, its audit |
| `UserError` | what every function raises where the input is at fault |
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mobilebench.analysis.collect import score_experiment
    from mobilebench.analysis.compare import compare
    from mobilebench.analysis.result_files import load_matrix
    from mobilebench.analysis.trained import load_model, load_predictions
    from mobilebench.config.suite import Suite
    from mobilebench.errors import UserError
    from mobilebench.execution.suites import open_suite as load_suite
    from mobilebench.models import create as create_model
    from mobilebench.scoring.matrix import Matrix
    from mobilebench.scoring.placement import place_new as place
    from mobilebench.scoring.ranking import rank_models as rank
    from mobilebench.scoring.table import compute_scores as score
    from mobilebench.scoring.xscore import xscore
    from mobilebench.studies import load_study

__all__ = [
    "Matrix",
    "Suite",
    "UserError",
    "compare",
    "create_model",
    "load_matrix",
    "load_model",
    "load_predictions",
    "load_study",
    "load_suite",
    "place",
    "rank",
    "score",
    "score_experiment",
    "xscore",
]

_TARGETS = {
    "Matrix": "mobilebench.scoring.matrix:Matrix",
    "Suite": "mobilebench.config.suite:Suite",
    "UserError": "mobilebench.errors:UserError",
    "compare": "mobilebench.analysis.compare:compare",
    "create_model": "mobilebench.models:create",
    "load_matrix": "mobilebench.analysis.result_files:load_matrix",
    "load_model": "mobilebench.analysis.trained:load_model",
    "load_predictions": "mobilebench.analysis.trained:load_predictions",
    "load_study": "mobilebench.studies:load_study",
    "load_suite": "mobilebench.execution.suites:open_suite",
    "place": "mobilebench.scoring.placement:place_new",
    "rank": "mobilebench.scoring.ranking:rank_models",
    "score": "mobilebench.scoring.table:compute_scores",
    "score_experiment": "mobilebench.analysis.collect:score_experiment",
    "xscore": "mobilebench.scoring.xscore:xscore",
}

# Those that import more than results need when they are called.
_NEEDS = {"create_model": "torch", "load_model": "torch", "score_experiment": "mlflow"}


def __getattr__(name: str) -> object:
    """Import a name of the public API; the version is the installed package's."""
    if name == "__version__":
        from importlib.metadata import version

        return version("mobilebench")
    if name not in _TARGETS:
        raise AttributeError(f"module 'mobilebench' has no attribute {name!r}")
    module, _, attribute = _TARGETS[name].partition(":")
    if name in _NEEDS:
        from mobilebench.system.extras import require

        require(_NEEDS[name])
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    """Return the public names, for completion."""
    return [*__all__, "__version__"]
