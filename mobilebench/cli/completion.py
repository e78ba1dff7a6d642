"""What a shell offers after Tab: the models, datasets and suites that a command takes. An error offers nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    import click

    from mobilebench.config.suite import Suite


def models(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the models of params.yaml, or without one all packaged ones."""
    return _of_suite(lambda suite: suite.models, begun) or every_model(_, __, begun)


def every_model(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer all packaged models."""
    from mobilebench.models.registry import MODELS

    return _items(((name, spec.title) for name, spec in MODELS.items()), begun)


def datasets(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the datasets of params.yaml, or without one all known ones."""
    return _of_suite(lambda suite: suite.datasets, begun) or every_dataset(_, __, begun)


def every_dataset(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer all known datasets and those that params.yaml names as its own."""
    from mobilebench.datasets.registry import DATASETS

    own = _of_suite(lambda suite: suite.data_sources, begun)
    return [*own, *_items(((name, spec.title) for name, spec in DATASETS.items()), begun)]


def suites(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the packaged suites, each with what it is for."""
    from mobilebench.config.suite import presets

    return _items(presets().items(), begun)


def metrics(_: click.Context, __: click.Parameter, begun: str) -> list[CompletionItem]:
    """Offer the packaged metrics."""
    from mobilebench.evaluation.metrics import METRICS

    return _items(((name, metric.title) for name, metric in METRICS.items()), begun)


def _of_suite(names: Callable[[Suite], Iterable[str]], begun: str) -> list[CompletionItem]:
    from mobilebench.config.suite import load_suite
    from mobilebench.errors import UserError

    try:
        return _items(((name, "") for name in names(load_suite())), begun)
    except UserError:
        return []


def _items(named: Iterable[tuple[str, str]], begun: str) -> list[CompletionItem]:
    return [CompletionItem(name, help=help or None) for name, help in named if name.startswith(begun)]  # noqa: A001 - click's word
