"""Opening a suite: reading it, and making sure that every model and dataset it names can be had."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from mobilebench import datasets, models
from mobilebench.config.ids import is_id
from mobilebench.config.protocol import recipe_hash
from mobilebench.config.suite import PARAMS, load_suite, parse_suite, preset_text, presets
from mobilebench.datasets.derived import parent_of
from mobilebench.errors import UserError
from mobilebench.models.weights.files import unnamed
from mobilebench.search.space import trials_of

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mobilebench.config.suite import Cell, Suite


def open_suite(path: Path = PARAMS, *, networks: bool = True) -> Suite:
    """Return the suite of a params.yaml whose every name is known.

    networks: False to read results only. A network of a package that is not installed here is then no error, because
    its results are there all the same; see `unknown_networks`.

    Raises UserError when there is no such file or a name is unknown, with near matches, and ConfigError when the file
    is wrong.
    """
    suite = load_suite(path)
    check_names(suite, networks=networks)
    return suite


def check_names(suite: Suite, *, networks: bool = True) -> None:
    """Raise UserError, with near matches, for a dataset or (with `networks`) a model that the registries don't know."""
    overrides = suite.protocol.overrides
    _check_own_names(suite)
    if networks:
        for model, model_id in network_ids(suite):
            _get(model) if model_id == model else models.get(model_id)
        # Settings of a network of your own name that the suite does not have at present are no mistake.
        named = {m for o in overrides if "network" not in o.set for m in o.models or ()}
        own = {m for o in overrides if "network" in o.set for m in o.models or ()}
        check_models(named - own - set(suite.models))
        _check_starts(suite)
    for dataset in {*suite.datasets, *(d for o in overrides for d in o.datasets or ())} - set(suite.data_sources):
        datasets.get(dataset)
    _check_derived(suite)
    _check_spaces(suite)


def _check_own_names(suite: Suite) -> None:
    """Raise UserError for a name that stands for a network and cannot: it is no id, or the name of another network."""
    for model, model_id in network_ids(suite):
        if model_id == model:
            continue
        if not is_id(model):
            raise UserError(
                f"models: {model} cannot be a name of your own for the network {model_id}; give it one of lower-case "
                "letters, digits and _"
            )
        if models.is_known(model):
            raise UserError(
                f"models: {model} is a network of that name, and its `network` is {model_id}. Give it another name, "
                f"as in {model}_own"
            )


def _get(model: str) -> None:
    try:
        models.get(model)
    except UserError as error:
        if not is_id(model):
            raise
        raise UserError(
            f"{error}. If it is your own name for one of them, say which: an override in protocol.overrides with "
            f"`models: [{model}]` and `set: {{network: ID}}`"
        ) from None


def network_ids(suite: Suite) -> list[tuple[str, str]]:
    """Return the suite's models with the ids of their networks, each pair once."""
    pairs = ((cell.model, suite.protocol.recipe_for(cell.model, cell.dataset)) for cell in suite.cells())
    return list(dict.fromkeys((model, recipe.network_of(model)) for model, recipe in pairs))


def _check_derived(suite: Suite) -> None:
    """Raise UserError where a derived dataset has no parent, or another `data` in the protocol than its parent has."""
    parents = {name: parent for name in suite.data_sources if (parent := parent_of(name, suite.data_sources))}
    for dataset, parent in parents.items():
        own, its = (asdict(suite.protocol.recipe_for("", name).data) for name in (dataset, parent))
        different = [f"{key} is {own[key]}, of {parent} {its[key]}" for key in own if own[key] != its[key]]
        if different:
            raise UserError(
                f"protocol.overrides: {dataset} has the packed images of {parent}, and so its data settings, but of"
                f" {dataset} {'; '.join(different)}. Name both in the override: `datasets: [{parent}, {dataset}]`"
            )


def _check_spaces(suite: Suite) -> None:
    """Raise SpaceError where a cell would try a setting that the protocol does not allow."""
    recipes = (suite.protocol.recipe_for(cell.model, cell.dataset) for cell in suite.cells())
    tuned = {recipe_hash(recipe): recipe for recipe in recipes if recipe.tuning is not None}
    for recipe in tuned.values():
        for seed in suite.seeds if recipe.tuning is not None and not recipe.tuning.is_grid else suite.seeds[:1]:
            trials_of(recipe, seed)


def _check_starts(suite: Suite) -> None:
    """Raise UserError where a model's id and the recipe's `init` do not go together."""
    for model, dataset in {(cell.model, cell.dataset): None for cell in suite.cells()}:
        recipe = suite.protocol.recipe_for(model, dataset)
        network, weights = models.split(recipe.network_of(model))
        pretrained = recipe.pretrained
        if weights and pretrained is None:
            raise UserError(
                f"{recipe.network_of(model)} names pretrained weights, and the recipe of {model} on {dataset} has init "
                f"scratch; write {network}, or set init to {{pretrained: {{}}}}"
            )
        if pretrained is not None and not weights:
            raise UserError(unnamed(network))


def check_sizes(suite: Suite, cells: Iterable[Cell]) -> None:
    """Raise UserError, before anything is trained, where a network of these cells takes images of other sizes only.

    It says of each which sizes. A network that has another fault fails when it is trained, and no other cell does.
    """
    from mobilebench.models.meta import size_problem  # imports torch

    problems: dict[str, None] = {}
    for model, dataset in {(cell.model, cell.dataset): None for cell in cells}:
        recipe = suite.protocol.recipe_for(model, dataset)
        is_pretrained = recipe.pretrained is not None
        problem = size_problem(
            recipe.network_of(model), recipe.model_options, recipe.resolution, pretrained=is_pretrained, name=model
        )
        problems |= {problem: None} if problem else {}
    if problems:
        raise UserError("\n".join(problems))


def starts_from_scratch(suite: Suite) -> bool:
    """Return whether every network of a suite is trained from scratch: these are compared at an equal budget."""
    pairs = {(cell.model, cell.dataset) for cell in suite.cells()}
    return all(suite.protocol.recipe_for(*pair).pretrained is None for pair in pairs)


def check_models(names: Iterable[str]) -> None:
    """Raise UserError, with near matches, for a model that the registry doesn't know."""
    for name in names:
        models.get(name)


def unknown_networks(suite: Suite) -> dict[str, str]:
    """Return the suite's models that nothing installed here offers, each with what to do about it."""
    found = {}
    for model, model_id in network_ids(suite):
        try:
            models.get(model_id)
        except UserError as error:
            found[model] = str(error)
    return found


def suite_here(experiment: str) -> Suite | None:
    """Return the suite of this folder's params.yaml where it runs under an experiment name, else None."""
    here = open_suite(networks=False) if PARAMS.exists() else None
    return here if here is not None and here.experiment == experiment else None


def suite_of_experiment(experiment: str) -> Suite | None:
    """Return the suite that runs under an experiment name: the one in params.yaml, else a packaged one, else None."""
    here = suite_here(experiment)
    if here is not None:
        return here
    named = (name for name in presets() if experiment in preset_text(name))  # reading one takes a tenth of a second
    shipped = (parse_suite(preset_text(name), name) for name in named)
    return next((suite for suite in shipped if suite.experiment == experiment), None)


def trainings(suite: Suite, cells: Iterable[Cell]) -> int:
    """Return how many trainings cells are: one each, or as many as a tuned one has trials."""
    recipes = (suite.protocol.recipe_for(cell.model, cell.dataset) for cell in cells)
    return sum(1 if recipe.tuning is None else recipe.tuning.count for recipe in recipes)
