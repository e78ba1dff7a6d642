"""New models placed among those of a published grid: which, by which results, and whether the two compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mobilebench.analysis.caveats import chosen_on_test
from mobilebench.analysis.result_files import read_files
from mobilebench.config.suite import parse_suite, preset_text
from mobilebench.errors import UserError
from mobilebench.scoring.placement import place_new, renamed
from mobilebench.studies.beyond_imagenet.published import PAPER_FOUR
from mobilebench.studies.study import PUBLISHED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mobilebench.analysis.result_files import FileResults
    from mobilebench.scoring import Matrix
    from mobilebench.scoring.placement import Placement

UNKNOWN_SETTINGS = (
    "The files do not say by which settings these results were trained; a place means something only under the "
    "reference's protocol."
)
AS_PUBLISHED = "The reference's numbers are as published: single runs of other code than this."
OF_PUBLISHED = "paper_v1"  # the suite whose protocol is the published table's


@dataclass(frozen=True, eq=False)
class PlacedModels:
    """New models, each for itself among the models of a reference."""

    reference: FileResults
    """The grid that they are placed in."""
    placements: tuple[Placement, ...]
    """One for each new model."""
    notes: tuple[str, ...]
    """Plain sentences that a reader must see."""


def place_models(source: str | Path, reference: str, models: Sequence[str] = (), *, lam: float = 0.5) -> PlacedModels:
    """Place models of `source` among those of `reference`; both are what `read_files` takes.

    models: which; by default those that the reference lacks, or all under the name `MODEL (yours)` where it lacks none.
    Raises UserError for an unknown model and as `read_files` and `scoring.placement.place_new` do.
    """
    ours, known = read_files(source), read_files(reference)
    wanted = list(models) or [name for name in ours.matrix.models if name not in known.matrix.models]
    chosen = ours.matrix.select(models=wanted or None)
    if not set(chosen.datasets) & set(known.matrix.datasets):
        raise UserError(
            f"{source} has results on {', '.join(chosen.datasets)}, and the reference none of these: it has "
            f"{', '.join(known.matrix.datasets)}. {_what_to_train(known.matrix.datasets)}"
        )
    placements = place_new(renamed(chosen, known.matrix), known.matrix, lam=lam)
    missing = {name for placement in placements for name in placement.missing}
    placed = [record for record in ours.records if record.model in chosen.models]
    notes = [
        *chosen_on_test(placed),
        *([AS_PUBLISHED] if reference == PUBLISHED else []),
        *_other_datasets(chosen, known.matrix),
        *_other_settings(ours, known, reference, chosen.models),
        *([_what_is_missing([d for d in known.matrix.datasets if d in missing], reference)] if missing else []),
    ]
    return PlacedModels(known, placements, tuple(notes))


def _what_to_train(datasets: Sequence[str]) -> str:
    if not set(PAPER_FOUR) < set(datasets):
        return "Train on some of these"
    return (
        f"Train on {', '.join(PAPER_FOUR)} first, which the paper holds to stand for all: `mobilebench init proxy_4 "
        "--model NAME`, `dvc repro`"
    )


def _what_is_missing(missing: Sequence[str], reference: str) -> str:
    how = f"`mobilebench init {OF_PUBLISHED} --model NAME`"
    if reference != PUBLISHED:
        how = "add them to `datasets:` in params.yaml"
    return (
        f"No results on {', '.join(missing)}: the score over all datasets is a prediction. Results on these make it a "
        f"measurement: {how}, `dvc repro`; what is trained already stays."
    )


def _other_datasets(new: Matrix, known: Matrix) -> list[str]:
    left = [name for name in new.datasets if name not in known.datasets]
    return [f"Left out, as the reference has no results there: {', '.join(left)}."] if left else []


def _other_settings(ours: FileResults, known: FileResults, reference: str, models: Sequence[str]) -> list[str]:
    """Return a sentence where the new runs are of other settings than the reference's, or nobody can know."""
    runs = [r for r in ours.records if r.model in models and r.dataset in known.matrix.datasets]
    if not runs:
        return [UNKNOWN_SETTINGS]
    if reference == PUBLISHED:
        protocol = parse_suite(preset_text(OF_PUBLISHED), OF_PUBLISHED).protocol
        of_reference = {(r.model, r.dataset): {protocol.recipe_hash_for(r.model, r.dataset)} for r in runs}
        what = f"the protocol that suite {OF_PUBLISHED} has of the paper"
    else:
        by_dataset: dict[str, set[str]] = {}
        for record in known.records:
            by_dataset.setdefault(record.dataset, set()).add(record.recipe_hash)
        of_reference = {(r.model, r.dataset): by_dataset.get(r.dataset, set()) for r in runs}
        what = "any that the reference's runs have on the dataset"
    other = sorted({r.cell.name for r in runs if r.recipe_hash not in of_reference[r.model, r.dataset]})
    if not other:
        return []
    names = ", ".join(other[:4]) + (", ..." if len(other) > 4 else "")
    count = f"{len(other)} of {len({r.cell for r in runs})}"
    words = f"{count} runs were trained by other settings than {what} ({names}): "
    return [words + "their place compares settings as well as networks."]
