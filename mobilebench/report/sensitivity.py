"""The page on a probe of the protocol: what its settings cost, which of them matter, and whether ranks would change."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.config.pixels import shown
from mobilebench.report import sensitivity_figures as figures
from mobilebench.report import table as grid
from mobilebench.report.page import render
from mobilebench.report.sections import Section
from mobilebench.report.table import Field, Table, number, text
from mobilebench.system.files import write_bytes, write_text

if TYPE_CHECKING:
    from mobilebench.sensitivity.analysis import Probe, Ranking
    from mobilebench.sensitivity.results import Findings

MANY = 3  # models from which an order is more than "one of two is ahead"


def write_sensitivity(out_dir: str | Path, found: Findings) -> tuple[Path, ...]:
    """Write report.md, figures/*.png and *.svg and tables/*.csv under `out_dir`; return the paths, the page first."""
    out, sections = Path(out_dir), build(found)
    pictures = [picture for section in sections for picture in section.pictures]
    tables = [table for section in sections for table in section.tables]
    return (
        write_text(out / "report.md", render("sensitivity.md.j2", found=found, sections=sections)),
        *(write_bytes(out / "figures" / f"{p.name}.png", p.png()) for p in pictures),
        *(write_text(out / "figures" / f"{p.name}.svg", p.svg()) for p in pictures),
        *(write_text(out / "tables" / f"{t.name}.csv", grid.to_csv(t)) for t in tables),
    )


def build(found: Findings) -> tuple[Section, ...]:
    """Return every section these findings allow, in reading order."""
    sections = [_probed(found), _regret(found), _slices(found)]
    if found.importances:
        sections.append(_importances(found))
    sections += [_ranking(found), _failed(found), _limits(found)]
    return tuple(section for section in sections if section.words or section.tables or section.pictures)


def _probed(found: Findings) -> Section:
    heads = ("model", "dataset", "seeds", "train images", "val images", "complete", "failed", "pruned", "unfinished")
    rows = tuple((text(p.model), text(p.dataset), text(_seeds(p)), *_counts(p)) for p in found.probes)
    caption = (
        f"Trials, each {found.epochs} epochs at {shown(found.resolution)} px. Settings are chosen on the val images, "
        "which are cut out of train; no test image is read."
    )
    return Section("probed", "What was probed", (), (), (Table("sensitivity_trials", caption, heads, rows),))


def _counts(probe: Probe) -> tuple[Field, ...]:
    unfinished = probe.count("waiting") + probe.count("running")
    counts = (probe.n_train, probe.n_val, probe.count("complete"), probe.count("failed"), probe.count("pruned"))
    return tuple(number(count, 0) for count in (*counts, unfinished))


def _seeds(probe: Probe) -> str:
    return ", ".join(map(str, probe.seeds)) + (" (single run)" if len(probe.seeds) == 1 else "")


def _regret(found: Findings) -> Section:
    heads = ("model", "dataset", "protocol", "best found", "its setting", "gain", "chance gain", "held-out gain", "n")
    rows = tuple(_regret_cells(found, probe) for probe in found.probes if probe.name in found.regrets)
    caption = (
        "Validation top-1 in percent. Gain: best found minus protocol, in points; it is never negative, and with k "
        "settings tried it is above 0 by chance alone. Chance gain: mean and 95 % quantile of what k equally good "
        "settings would show; with two or more seeds this is what the seeds differ by, allowing for how few they are, "
        'on these val images. A single run cannot show it: "at least" is what the sampling of val images explains, and '
        "no gain of a single run is marked. Held-out gain: setting chosen on the other seeds, read on the one left "
        "out. n: k settings, val images. Bold: beyond the 95 % quantile, as happens by chance in one cell of 20."
    )
    table = Table("regret", caption, heads, rows)
    return Section("regret", "What the protocol's setting costs", tuple(_regret_words(found)), (), (table,))


def _regret_cells(found: Findings, probe: Probe) -> tuple[Field, ...]:
    regret = found.regrets[probe.name]
    mean, high = (100 * value for value in regret.noise)
    return (
        text(probe.model),
        text(probe.dataset),
        number(100 * regret.protocol, 1),
        number(100 * regret.best, 1),
        text(probe.changed(regret.best_key)),
        number(100 * regret.gain, 1, strong=bool(regret.beyond_noise)),
        Field(f"{'at least ' if regret.seeds == 1 else ''}{mean:.1f} (95 %: {high:.1f})", mean),
        Field("single run", float("nan")) if regret.held_out is None else number(100 * regret.held_out, 1),
        text(f"{regret.candidates} settings, {probe.n_val} images"),
    )


def _regret_words(found: Findings) -> list[str]:
    repeated = [name for name, regret in found.regrets.items() if regret.beyond_noise is not None]
    alike = [name for name, regret in found.regrets.items() if regret.seeds > 1 and regret.beyond_noise is None]
    beyond = [name for name in repeated if found.regrets[name].beyond_noise]
    single = len(found.regrets) - len(repeated) - len(alike)
    words = []
    if repeated:
        words.append(
            f"A better setting than the protocol's was found, beyond what the seeds differ by, in {len(beyond)} of "
            f"{len(repeated)} cells probed with two or more seeds"
            + (f": {', '.join(beyond)}." if beyond else ".")
            + " Chance alone does that in one cell of 20."
        )
    if alike:
        words.append(
            f"Not testable: {', '.join(alike)}. The seeds agree to the last digit there, so that nothing says what "
            "chance does."
        )
    if single:
        words.append(
            f"{single} of {len(found.regrets)} cells were probed with one seed. Their gains may be that seed's: "
            "whether a better setting was found there is unknown. More `--seed` would show it."
        )
    for probe in found.probes:
        regret = found.regrets.get(probe.name)
        if regret is not None and regret.common is not None:
            changed = ", ".join(
                f"{k} {v} instead of {probe.own[k]}" for k, v in probe.common.items() if v != probe.own[k]
            )
            words.append(
                f"{probe.name} has settings of its own in the protocol. With everyone's ({changed}) it reads "
                f"{100 * regret.common:.1f} % instead of {100 * regret.protocol:.1f} % (n = {probe.n_val})."
            )
    return words


def _slices(found: Findings) -> Section:
    if not found.regrets:
        return Section("slices", "One setting at a time")
    return Section("slices", "One setting at a time", (), (figures.slices(found),))


def _importances(found: Findings) -> Section:
    pictures = [figures.importances(found)]
    pictures += [figures.parallel(probe) for probe in found.probes if probe.name in found.importances]
    heads = ("model and dataset", "setting", "importance", "5 %", "95 %", "combinations", "forest R²")
    rows = []
    for name, fit in found.importances.items():
        low, middle, high = np.quantile(fit.values, [0.05, 0.5, 0.95], axis=0)
        for i, setting in enumerate(fit.settings):
            shares = (number(share[i], 2) for share in (middle, low, high))
            rows.append((text(name), text(setting), *shares, number(fit.combinations, 0), number(fit.r2, 2)))
    caption = "The figure's numbers. Importances are over the probed ranges: a wider range makes a setting matter more."
    table = Table("importances", caption, heads, tuple(rows))
    return Section("importances", "Which settings matter", (), tuple(pictures), (table,))


def _ranking(found: Findings) -> Section:
    title = "Would the ranking change?"
    order = found.ranking
    if order is None:
        return Section("ranking", title, ("A ranking needs two or more models probed on the same datasets.",))
    accuracy = _choices("ranking_accuracy", order)
    return Section("ranking", title, tuple(_ranking_words(found, order)), (), (_scores(found, order), accuracy))


def _scores(found: Findings, order: Ranking) -> Table:
    lam = found.lam if len(order.datasets) > 1 else 0.0
    heads = (
        "model",
        *(f"{what}, {choice}" for what in ("xScore", "rank") for choice in order.accuracy),
        "best per model",
    )
    rows = tuple(
        (
            text(model),
            *(number(order.score[choice][i]) for choice in order.accuracy),
            *(number(order.rank[choice][i], 0) for choice in order.accuracy),
            text(order.settings[model]),
        )
        for i, model in enumerate(order.models)
    )
    caption = (
        f"xScore (lambda {lam:g}, anchors from these {len(order.models)} models) of validation top-1 on "
        f"{len(order.datasets)} datasets. Protocol: as it stands. Best per model: one setting for all its datasets, "
        "the one with the highest mean. Best per cell: the best on each dataset. The last two are chosen on the images "
        "they are read on, so they are optimistic."
    )
    return Table("ranking", caption, heads, rows)


def _choices(name: str, order: Ranking) -> Table:
    heads = ("model", *(f"{dataset}, {choice}" for dataset in order.datasets for choice in order.accuracy))
    rows = tuple(
        (
            text(m),
            *(number(100 * order.accuracy[c][i, j], 1) for j in range(len(order.datasets)) for c in order.accuracy),
        )
        for i, m in enumerate(order.models)
    )
    return Table(name, "Validation top-1 in percent behind the ranking.", heads, rows)


def _ranking_words(found: Findings, order: Ranking) -> list[str]:
    words = [_moves(order, choice) for choice in ("best per model", "best per cell")]
    if len(order.models) < MANY:
        words.append(
            f"With {len(order.models)} models each dataset's anchors are the two accuracies themselves, so xScore says "
            "only who is ahead, and how often."
        )
    if any(len(probe.seeds) == 1 for probe in found.probes):
        words.append("Single runs are among these accuracies: a change of rank may be no more than a seed's.")
    left = found.suite_models - len(order.models)
    if left:
        words.append(
            f"{left} of the suite's {found.suite_models} models were not probed: their places are unknown here."
        )
    return words


def _moves(order: Ranking, choice: str) -> str:
    """Say what a choice of settings does to the order of the models."""
    before, after = order.rank["protocol"], order.rank[choice]
    turned, pairs = _flips(order.accuracy["protocol"], order.accuracy[choice])
    flips = f"{turned} of {pairs} orders of two models on one dataset turn round"
    if np.isnan(before).any() or np.isnan(after).any():
        return f"Setting {choice}: {flips}; no xScore, because all models tie on a dataset before or after."
    moved = [model for model, a, b in zip(order.models, before, after, strict=True) if a != b]
    names = f" ({', '.join(moved)})" if moved else ""
    count = f"{len(moved)} of {len(order.models)} models change rank"
    return f"Setting {choice}: {count} by xScore{names}; {flips}."


def _flips(before: np.ndarray, after: np.ndarray) -> tuple[int, int]:
    """Pairs of models whose order on a dataset turns round, and all pairs."""
    first, second = np.triu_indices(len(before), 1)
    old, new = (np.sign(np.round(values[first] - values[second], 12)) for values in (before, after))
    return int((old * new < 0).sum()), int(old.size)


def _failed(found: Findings) -> Section:
    rows = tuple(
        (text(probe.name), number(trial.number, 0), text(probe.changed(trial.key)), text(trial.reason))
        for probe in found.probes
        for trial in probe.trials
        if trial.state == "failed"
    )
    if not rows:
        return Section("failed", "Failed trials", ("None.",))
    caption = f"{len(rows)} trials could not be trained; they enter no number above."
    return Section(
        "failed", "Failed trials", (), (), (Table("failed", caption, ("cell", "trial", "setting", "reason"), rows),)
    )


def _limits(found: Findings) -> Section:
    models = len({probe.model for probe in found.probes})
    datasets = len({probe.dataset for probe in found.probes})
    seeds = sorted({len(probe.seeds) for probe in found.probes})
    covered = (
        f"It covers {models} of the suite's {found.suite_models} models and {datasets} of its {found.suite_datasets} "
        f"datasets, {found.epochs} epochs at {shown(found.resolution)} px. The best setting of a short training need "
        "not be that of a long one: a learning rate is judged here by how far it gets in these epochs."
    )
    images = (
        "All accuracies are on validation images cut out of train. They are not the test accuracies of the score, and "
        "the networks saw fewer images."
    )
    values = (
        "Only the values tried are known; a model's true best may lie between them, or beyond them where the best is "
        "at the edge of a slice."
    )
    alone = " With one, a difference may be that seed's; more `--seed` would show it." if seeds == [1] else ""
    runs = f"Seeds per setting: {', '.join(map(str, seeds))}.{alone}"
    return Section("limits", "What this can and cannot show", (covered, images, values, runs))
