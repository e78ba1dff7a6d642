"""The paper against itself: recompute what its tables allow and name every disagreement.

Sources: the paper's tables (this folder) and text, our catalogue's sizes of the same datasets, and the released code
(github.com/pranavphoenix/Backbones), which was read; its figures are given here as facts, none of its code is used. It
has no scripts for five of the datasets, and what was run for the tables may differ from it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from mobilebench.datasets.registry import DATASETS
from mobilebench.studies.study import AuditTable, Disagreement
from mobilebench.studies.which_backbone import published as reference
from mobilebench.studies.which_backbone import winners
from mobilebench.studies.which_backbone.facts import CODE_FACTS, TEXT_FACTS, WEIGHTS_TOP1

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mobilebench.scoring.matrix import Matrix

ROUNDED = 0.005 + 1e-9  # percent: tables have two decimals
BREAKHIS = ("breakhis_40", "breakhis_100", "breakhis_200", "breakhis_400")
BREAKHIS_IMAGES = 7909  # section 4.7
NAMED_DATASETS, NAMED_DOMAINS = 20, 7  # section 4
LARGE = 6500  # test images from which every number of two decimals can be rounded or cut from a k/n
_ANY = range(10_000)  # hundredths of a percent
WAVEMIX_LEAD = 9  # section 7, percent on galaxy10


def disagreements() -> tuple[Disagreement, ...]:
    """Return every disagreement: between tables, with the accuracies that there can be, with text, sizes and code."""
    return (
        *_shared_cells(), *_averages(), *_imagenet(), *_impossible(), *_failed_runs(), *_equal_cells(),
        *winners.disagreements(), *_sizes(), *_text(),
        *(Disagreement(where, printed, found, "text") for where, printed, found in TEXT_FACTS),
        *(Disagreement(where, printed, found, "released code") for where, printed, found in CODE_FACTS),
    )  # fmt: skip


def audit_tables() -> tuple[AuditTable, ...]:
    """Return which accuracies there cannot be, and which way of aggregating gives Table 1."""
    return (_impossible_table(), winners.table())


def possible(percent: float, images: int) -> bool:
    """Return whether a percentage of two decimals, rounded or cut, is that of some number of right answers."""
    right = math.floor(percent / 100 * images)
    away = [100 * k / images - percent for k in (right, right + 1)]
    return any(abs(a) <= ROUNDED or 0 <= a < 2 * ROUNDED for a in away)


def doubtful() -> tuple[tuple[str, str], ...]:
    """Return the (model, dataset) that look like failed runs: further below the next than all others are apart."""
    table = reference.whole()
    found = []
    for column, dataset in enumerate(table.datasets):
        values = table.values[:, column, 0]
        rest = np.sort(values)[1:]
        if rest[0] - values.min() > rest[-1] - rest[0]:
            found.append((table.models[int(values.argmin())], dataset))
    return tuple(found)


def _shared_cells() -> Iterator[Disagreement]:
    """Hold the columns of Tables 7 and 8 for all train images against Tables 4 and 5."""
    full, part = reference.matrix(), reference.low_data()
    for dataset in [name for name in part.datasets if name in full.datasets]:
        above, below = (table.values[:, table.datasets.index(dataset), 0] for table in (full, part))
        for model, there, here in zip(full.models, above, below, strict=True):
            if there == here:
                continue
            owner = [m for m, value in zip(full.models, above, strict=True) if value == here and m != model]
            whose = f", which is printed for {owner[0]} there" if owner else ""
            yield Disagreement(
                f"Table {7 if dataset in {'cifar10', 'tiny_imagenet'} else 8}, {model} on {dataset}, 100 %",
                f"{100 * here:.2f}", f"{100 * there:.2f}{whose}", "Tables 4 and 5",
            )  # fmt: skip


def _averages() -> Iterator[Disagreement]:
    table = reference.matrix().select(datasets=BREAKHIS)
    for model, row in zip(table.models, 100 * table.mean, strict=True):
        printed = reference.printed_averages()[model]
        if abs(row.mean() - printed) > ROUNDED:
            yield Disagreement(f"Table 6, {model}, Average", f"{printed:.2f}", f"{row.mean():.3f}", "Table 6")


def _imagenet() -> Iterator[Disagreement]:
    for model, printed in reference.imagenet_top1().items():
        if abs(printed - WEIGHTS_TOP1[model]) > ROUNDED:
            yield Disagreement(
                f"Table 2, {model}, ImageNet top-1", f"{printed:.2f}",
                f"{WEIGHTS_TOP1[model]:.2f} of the weights that the code loads", "released code",
            )  # fmt: skip


def _impossible() -> Iterator[Disagreement]:
    table = reference.whole()
    for dataset, images, cells in _impossible_cells(table):
        if cells:
            yield Disagreement(
                f"Accuracies on {dataset}",
                f"{len(cells)} of {len(table.models)}, as {cells[0][0]}'s {cells[0][1]:.2f}",
                f"no number of right answers to {images:,} images gives them; the code averages over batches, of "
                "which the last, short one counts as much as the others",
                "Table 3",
            )  # fmt: skip


def _impossible_cells(table: Matrix) -> Iterator[tuple[str, int, list[tuple[str, float]]]]:
    """Yield each dataset with its test images and the (model, percentage) that there cannot be."""
    for column, dataset in enumerate(table.datasets):
        images = int(table.n_test[column])
        percent = 100 * table.values[:, column, 0]
        yield (
            dataset,
            images,
            [(m, float(p)) for m, p in zip(table.models, percent, strict=True) if not possible(float(p), images)],
        )


def _impossible_table() -> AuditTable:
    rows = tuple(
        (dataset, f"{images:,}", float(len(cells)), 100 * float(np.mean([not possible(p / 100, images) for p in _ANY])))
        for dataset, images, cells in _impossible_cells(reference.whole())
        if images < LARGE
    )
    caption = (
        "Of the 11 printed accuracies of each dataset, how many are k/n for no k, rounded or cut to two decimals; "
        f"beside it the share of all numbers of two decimals that are none. With {LARGE:,} test images and more nearly "
        "every number is one."
    )
    return AuditTable("impossible", caption, ("dataset", "test images", "impossible", "of all numbers (%)"), rows)


def _failed_runs() -> Iterator[Disagreement]:
    table = reference.whole()
    for model, dataset in doubtful():
        values = np.sort(100 * table.values[:, table.datasets.index(dataset), 0])
        yield Disagreement(
            f"{model} on {dataset}", f"{values[0]:.2f}",
            f"the other {len(values) - 1} are {values[1]:.2f} to {values[-1]:.2f}: it looks like a failed run",
            "Table 8",
        )  # fmt: skip


def _equal_cells() -> Iterator[Disagreement]:
    """Name the pair of galaxy10, with how often some pair of eleven such numbers is equal."""
    table = reference.matrix().select(datasets=["galaxy10"])
    values, images = 100 * table.values[:, 0, 0], int(table.n_test[0])
    pairs = [(i, j) for i in range(len(values)) for j in range(i) if values[i] == values[j]]
    for i, j in pairs:
        usual = np.delete(values, int(values.argmax()))  # without the one that leads by far
        # Two normal numbers of this spread fall on the same k/n with the chance that is in the exponent.
        chance = 1 - math.exp(-math.comb(len(usual), 2) * (100 / images) / (2 * usual.std(ddof=1) * math.sqrt(math.pi)))
        yield Disagreement(
            f"Table 5, galaxy10, {table.models[j]} and {table.models[i]}", f"{values[i]:.2f} for both",
            f"a copied cell, or chance: some pair of {len(usual)} numbers so spread is equal in {chance:.0%} of tables",
            "Table 5",
        )  # fmt: skip


def _sizes() -> Iterator[Disagreement]:
    """Hold Table 3 against the results, against itself, and against what the datasets' owners say."""
    rows = {row.dataset: row for row in reference.datasets()}
    for name in sorted(set(rows) - set(reference.matrix().datasets)):
        yield Disagreement(
            f"Table 3, {rows[name].printed}", f"{rows[name].train:,} / {rows[name].test:,}", "no result in any table",
            "Tables 4 to 8",
        )  # fmt: skip
    kinds = len({row.printed for row in rows.values()})
    tested = {row.domain for row in rows.values() if row.dataset in reference.matrix().datasets}
    yield Disagreement(
        "Section 4, datasets and domains", f"{NAMED_DATASETS} datasets of {NAMED_DOMAINS} domains",
        f"{kinds}, BreakHis counted four times; results are of {len(tested)} domains, texture and astronomy of one "
        "dataset each", "Table 3",
    )  # fmt: skip
    total = sum(rows[name].train + rows[name].test for name in BREAKHIS)
    if total != BREAKHIS_IMAGES:
        yield Disagreement("Table 3, BreakHis, train + test", f"{total:,}", f"{BREAKHIS_IMAGES:,}", "section 4.7")
    for name in BREAKHIS:
        printed, owners = rows[name].train + rows[name].test, sum(DATASETS[name].counts.values())
        if printed != owners:
            yield Disagreement(
                f"Table 3, {name}, train + test", f"{printed:,}", f"{owners:,}", "the dataset's own description"
            )
    rsna, patients = rows["rsna_pneumonia"], sum(DATASETS["rsna_pneumonia_grouped"].counts.values())
    yield Disagreement(
        "Table 3, rsna_pneumonia, train + test", f"{rsna.train + rsna.test:,}",
        f"{patients:,} patients, each with one image: the rows of the label file are counted, of which one image has "
        "several, so that it lies on both sides of a split by row", "the dataset's own description",
    )  # fmt: skip
    dtd = DATASETS["dtd"].counts
    yield Disagreement(
        "Table 3, dtd, train", f"{rows['dtd'].train:,}",
        f"{dtd['train'] + dtd['val']:,} with the val part, which is neither trained on nor used to choose an epoch",
        "the dataset's own description",
    )  # fmt: skip


def _text() -> Iterator[Disagreement]:
    """Hold sentences with numbers against the tables."""
    whole = reference.whole()
    galaxy = np.sort(100 * whole.values[:, whole.datasets.index("galaxy10"), 0])
    lead = galaxy[-1] - galaxy[-2]
    yield Disagreement(
        "Section 7, wavemix on galaxy10", f"{WAVEMIX_LEAD} % above the second",
        f"{lead:.2f} points, {100 * lead / galaxy[-2]:.1f} % of the second's {galaxy[-2]:.2f}", "Table 5",
    )  # fmt: skip
    row = whole.models.index("efficientnet_v2_s")
    led = [name for name, column in zip(whole.datasets, whole.values[..., 0].T, strict=True) if column.argmax() == row]
    if led:
        yield Disagreement(
            "Section 7, efficientnet_v2_s", "best in none of the datasets", f"best on {', '.join(led)}", "Table 7"
        )
    eurosat = whole.values[:, whole.datasets.index("eurosat"), 0]
    best = [model for model, value in zip(whole.models, eurosat, strict=True) if value == eurosat.max()]
    if len(best) > 1:
        yield Disagreement(
            "Section 7, best on eurosat", "wavemix", f"{' and '.join(best)} have {100 * eurosat.max():.2f}", "Table 5"
        )
