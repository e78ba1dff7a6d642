"""The published tables: complete, in our ids and units, and as printed."""

from pathlib import Path

import numpy as np
import pytest

from mobilebench.config.suite import parse_suite, preset_text
from mobilebench.datasets.registry import DATASETS
from mobilebench.studies.which_backbone import published as reference


def test_every_table_is_complete() -> None:
    matrix = reference.matrix()
    assert matrix.values.shape == (11, 19, 1)
    assert not matrix.absent
    assert matrix.models == tuple(reference.params()) == tuple(reference.imagenet_top1())
    assert set(matrix.datasets) | {"neu"} == set(reference.domains())
    assert set(reference.winners()) == {*reference.domains().values(), "overall"} - {"surface defect"}
    assert len(reference.fractions()) == 16
    assert all(tuple(column.top1) == matrix.models for column in reference.fractions())


def test_cells_units_and_sizes() -> None:
    matrix = reference.matrix()
    cell = matrix.select(models=["wavemix"], datasets=["galaxy10"])
    assert cell.values.ravel().tolist() == [0.951]
    assert cell.n_test.tolist() == [1774]
    assert reference.params()["mobilenet_v3_large"] == 5_500_000
    assert reference.imagenet_top1()["efficientnet_v2_s"] == 84.23
    assert reference.winners()["overall"] == ("convnext_tiny", "regnet_y_3_2gf", "efficientnet_v2_s")


def test_cells_that_contradict_each_other_stay_as_printed() -> None:
    models, of_table_4, of_table_7 = ["resnet50", "wavemix"], reference.matrix(), reference.low_data()
    assert of_table_4.select(models=models, datasets=["tiny_imagenet"]).values.ravel().tolist() == [0.7533, 0.763]
    assert of_table_7.select(models=models, datasets=["tiny_imagenet"]).values.ravel().tolist() == [0.763, 0.7533]


def test_fractions_have_the_train_images_that_tables_7_and_8_print() -> None:
    printed = {
        "cifar10": (50000, 5000, 500), "tiny_imagenet": (100000, 10000, 1000), "plantvillage": (44343, 4434),
        "plantclef": (10455, 1045), "rsna_pneumonia": (24181, 2418), "food101": (75750, 7575), "eurosat": (18900, 1890),
    }  # fmt: skip
    found: dict[str, list[int]] = {}
    for column in reference.fractions():
        found.setdefault(column.dataset, []).append(column.train)
    assert {name: tuple(sizes) for name, sizes in found.items()} == printed


def test_the_whole_holds_both_and_takes_full_data_from_table_4() -> None:
    whole, full, part = reference.whole(), reference.matrix(), reference.low_data()
    assert whole.values.shape == (11, 19 + 9, 1)
    assert np.array_equal(whole.select(datasets=full.datasets).values, full.values)
    assert np.array_equal(
        whole.select(datasets=["rsna_pneumonia_p10"]).values[:, 0],
        part.values[:, part.datasets.index("rsna_pneumonia_p10")],
    )
    assert whole.n_test[whole.datasets.index("cifar10_p1")] == 10_000


def test_ids_are_those_of_the_packaged_suites_and_of_our_datasets() -> None:
    suite = parse_suite(preset_text("which_backbone_v1"), "which_backbone_v1")
    assert reference.matrix().models == tuple(suite.models)
    assert set(reference.domains()) <= set(DATASETS)
    low = parse_suite(preset_text("which_backbone_low_data"), "which_backbone_low_data")
    ours = {name.replace("_grouped", "") for name in low.datasets}
    assert set(reference.low_data().datasets) <= ours


@pytest.mark.parametrize(
    ("name", "found"), [("cifar10", ("cifar10", 100)), ("a_p1", ("a", 1)), ("a_p5", ("a_p5", 100))]
)
def test_the_fraction_in_an_id(name: str, found: tuple[str, int]) -> None:
    assert reference.split_fraction(name) == found


def test_files_of_the_folder_are_all_read() -> None:
    read = {
        *reference.DOMAIN_TABLES,
        *reference.FRACTION_TABLES,
        "table1_winners.csv",
        "table2_backbones.csv",
        "table3_datasets.csv",
    }
    assert {path.name for path in Path(reference.__file__).parent.glob("*.csv")} == read
