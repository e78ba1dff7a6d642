"""Opening a suite: reading it, and making sure that every model and dataset it names can be had."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench import datasets, models
from mobilebench.config.suite import PARAMS, load_suite, parse_suite, preset_text, presets

if TYPE_CHECKING:
    from pathlib import Path

    from mobilebench.config.suite import Suite


def open_suite(path: Path = PARAMS) -> Suite:
    """Return the suite of a params.yaml whose every name is known.

    Raises UserError when there is no such file or a name is unknown, with near matches, and ConfigError when the file
    is wrong.
    """
    suite = load_suite(path)
    check_names(suite)
    return suite


def check_names(suite: Suite) -> None:
    """Raise UserError, with near matches, for a model or dataset that the registries don't know."""
    overrides = suite.protocol.overrides
    for model in {*suite.models, *(m for o in overrides for m in o.models or ())}:
        models.get(model)
    for dataset in {*suite.datasets, *(d for o in overrides for d in o.datasets or ())} - set(suite.data_sources):
        datasets.get(dataset)


def suite_of_experiment(experiment: str) -> Suite | None:
    """Return the suite that runs under an experiment name: the one in params.yaml, else a packaged one, else None."""
    if PARAMS.exists() and (here := open_suite()).experiment == experiment:
        return here
    named = (name for name in presets() if experiment in preset_text(name))  # reading one takes a tenth of a second
    shipped = (parse_suite(preset_text(name), name) for name in named)
    return next((suite for suite in shipped if suite.experiment == experiment), None)
