"""The published tables, read as typed data: percent becomes a fraction, millions become counts, ids are ours.

Source of every table: "Which Backbone to Use: A Resource-efficient Domain Specific Comparison for Computer Vision",
arXiv 2406.05612, 2024. The files hold what the paper prints, its errors included: Table 7 exchanges two cells of Table
4 (resnet50 and wavemix on tiny_imagenet), and some accuracies are those of no number of test images. `mobilebench study
audit which_backbone` names these. Nothing here is ever mixed with a measured number.

Every accuracy is the best of three runs, each of them chosen on the test images: too high, by an unknown amount.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mobilebench.scoring.matrix import Matrix
from mobilebench.system.files import read_csv

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

SOURCE = "Which Backbone to Use (arXiv 2406.05612, 2024)"
TRANSFORMERS = ("swin_t", "swin_v2_t")
OVERALL = "overall"  # the last column of Table 1
DOMAIN_TABLES = ("table4_natural.csv", "table5_domains.csv", "table6_breakhis.csv")
FRACTION_TABLES = ("table7_fractions.csv", "table8_fractions.csv")
_FOLDER = Path(__file__).parent


@dataclass(frozen=True)
class PublishedBackbone:
    """One row of Table 2."""

    model: str
    """Our id of the model."""
    printed: str
    """Its name in Table 2."""
    params: int
    """Parameters, rounded by the paper to 100 000, with the head for ImageNet's 1000 classes."""
    imagenet_top1: float
    """ImageNet-1k top-1 in percent, as printed; that of resnet50 is of other weights than the released code loads."""


@dataclass(frozen=True)
class PublishedDataset:
    """One row of Table 3."""

    dataset: str
    """Our id of the dataset."""
    printed: str
    """Its name in Table 3; all four magnifications of BreakHis have one."""
    domain: str
    """The domain that the paper counts it to."""
    train: int
    """Images of the train split."""
    test: int
    """Images of the test split."""
    classes: int
    """Class count."""


@dataclass(frozen=True)
class PublishedFraction:
    """One column of Table 7 or 8."""

    dataset: str
    """Our id of the dataset."""
    percent: int
    """Share of the train images, 100, 10 or 1."""
    train: int
    """Train images, rounded down."""
    top1: dict[str, float]
    """{model: top-1 as a fraction}."""


def backbones() -> tuple[PublishedBackbone, ...]:
    """Table 2: the eleven backbones."""
    rows = _rows("table2_backbones.csv", ("model", "printed", "params_m", "imagenet_top1"))
    return tuple(
        PublishedBackbone(r["model"], r["printed"], round(float(r["params_m"]) * 1e6), float(r["imagenet_top1"]))
        for r in rows
    )


def imagenet_top1() -> dict[str, float]:
    """Table 2 as {model: ImageNet-1k top-1 in percent}."""
    return {row.model: row.imagenet_top1 for row in backbones()}


def params() -> dict[str, int]:
    """Table 2 as {model: parameters}, rounded to 100 000."""
    return {row.model: row.params for row in backbones()}


def datasets() -> tuple[PublishedDataset, ...]:
    """Table 3: twenty datasets, of which NEU has no result in any table."""
    rows = _rows("table3_datasets.csv", ("dataset", "printed", "domain", "train", "test", "classes"))
    return tuple(
        PublishedDataset(r["dataset"], r["printed"], r["domain"], int(r["train"]), int(r["test"]), int(r["classes"]))
        for r in rows
    )


def domains() -> dict[str, str]:
    """Table 3 as {dataset: domain}."""
    return {row.dataset: row.domain for row in datasets()}


def winners() -> dict[str, tuple[str, ...]]:
    """Table 1: {domain: its best three models, best first}, and those of `OVERALL`."""
    rows = _rows("table1_winners.csv", ("domain", "best", "better", "good"))
    return {r["domain"]: (r["best"], r["better"], r["good"]) for r in rows}


def printed_averages() -> dict[str, float]:
    """The column Average of Table 6: {model: percent}."""
    return {r["model"]: float(r["average"]) for r in _rows("table6_breakhis.csv", ("model", "average"))}


def fractions() -> tuple[PublishedFraction, ...]:
    """Tables 7 and 8: columns of all, 10 % and (Table 7) 1 % of the train images, as printed."""
    sizes = {row.dataset: row.train for row in datasets()}
    found = []
    for name, column in _columns(FRACTION_TABLES).items():
        dataset, percent = split_fraction(name)
        found.append(PublishedFraction(dataset, percent, sizes[dataset] * percent // 100, column))
    return tuple(found)


def split_fraction(name: str) -> tuple[str, int]:
    """Return dataset and percent of an id as the suite which_backbone_low_data has them, as `cifar10_p10`."""
    base, mark, share = name.rpartition("_p")
    return (base, int(share)) if mark and share in {"10", "1"} else (name, 100)


def matrix() -> Matrix:
    """Tables 4 to 6, and of Table 8 the columns of all images of the two datasets that only it has.

    11 models on 19 datasets in the order of Table 3; `n_test` is Table 3's. Seed 0 stands for the best of three runs.
    """
    known = _columns(DOMAIN_TABLES)
    only_there = {name: column for name, column in _columns(FRACTION_TABLES[1:]).items() if name not in known}
    return _matrix({name: column for name, column in (known | only_there).items() if split_fraction(name)[1] == 100})


def low_data() -> Matrix:
    """Tables 7 and 8: 11 models on seven datasets with all, 10 % and 1 % of the train images.

    Datasets are called as in the suite which_backbone_low_data: `cifar10`, `cifar10_p10`, `cifar10_p1`.
    """
    return _matrix(_columns(FRACTION_TABLES))


def whole() -> Matrix:
    """`matrix`, and beside it the columns of `low_data` for 10 % and 1 % of the train images."""
    full, part = matrix(), low_data()
    cells = {
        (model, dataset, 0): float(table.values[i, j, 0])
        for table in (full, part)
        for i, model in enumerate(table.models)
        for j, dataset in enumerate(table.datasets)
        if table is full or split_fraction(dataset)[1] < 100
    }
    sizes = dict(zip((*full.datasets, *part.datasets), map(int, (*full.n_test, *part.n_test)), strict=True))
    return Matrix.from_cells(cells, sizes)


def _matrix(columns: dict[str, dict[str, float]]) -> Matrix:
    sizes = {row.dataset: row.test for row in datasets()}
    order = list(sizes)
    names = sorted(columns, key=lambda name: order.index(split_fraction(name)[0]))
    models = [row.model for row in backbones()]
    cells = {(model, name, 0): columns[name][model] for model in models for name in names}
    return Matrix.from_cells(cells, {name: sizes[split_fraction(name)[0]] for name in names})


def _columns(tables: Sequence[str]) -> dict[str, dict[str, float]]:
    """Return {dataset: {model: accuracy as a fraction}} of these tables."""
    found: dict[str, dict[str, float]] = {}
    for table in tables:
        rows = _rows(table, ("model",))
        for name in map(str, rows[0]):
            if name not in {"model", "average"}:
                found[name] = {r["model"]: round(float(r[name]) / 100, 6) for r in rows}
    return found


def _rows(name: str, columns: Sequence[str]) -> list[dict[Hashable, Any]]:
    return read_csv(_FOLDER / name, columns).to_dict("records")
