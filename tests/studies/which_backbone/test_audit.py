"""The audit of the paper names what was found by hand, and nothing that is not so."""

import numpy as np
import pytest

from mobilebench.studies.which_backbone import audit, winners
from mobilebench.studies.which_backbone import published as reference
from mobilebench.studies.which_backbone.facts import WEIGHTS_TOP1

FOUND = {finding.where: finding for finding in audit.disagreements()}


@pytest.mark.parametrize(
    ("where", "printed", "found"),
    [
        ("Table 7, resnet50 on tiny_imagenet, 100 %", "76.30", "75.33, which is printed for wavemix there"),
        ("Table 7, wavemix on tiny_imagenet, 100 %", "75.33", "76.30, which is printed for resnet50 there"),
        ("Table 2, resnet50, ImageNet top-1", "76.13", "80.86 of the weights that the code loads"),
        ("Table 2, wavemix, ImageNet top-1", "75.32", "75.06 of the weights that the code loads"),
        ("Table 3, BreakHis, train + test", "7,945", "7,909"),
        ("Table 3, breakhis_400, train + test", "1,829", "1,820"),
        ("Table 3, NEU Surface Defects", "1,440 / 360", "no result in any table"),
        ("Section 7, efficientnet_v2_s", "best in none of the datasets", "best on tiny_imagenet_p10, tiny_imagenet_p1"),
        ("Section 7, wavemix on galaxy10", "9 % above the second", "7.81 points, 8.9 % of the second's 87.29"),
        ("Section 7, best on eurosat", "wavemix", "wavemix and resnext50_32x4d have 98.96"),
        ("Table 3, flowers102_trainval, train", "2,040", "1,020: the train part alone is loaded"),
    ],
)
def test_known_disagreements_are_named(where: str, printed: str, found: str) -> None:
    assert (FOUND[where].printed, FOUND[where].found) == (printed, found)


@pytest.mark.parametrize(
    ("where", "word"),
    [
        ("swin_t on rsna_pneumonia", "86.38 to 87.89"),
        ("swin_v2_t on plantclef_p10", "48.57 to 64.68"),
        ("Table 5, galaxy10, mobilenet_v3_large and regnet_y_3_2gf", "chance"),
        ("Table 3, rsna_pneumonia, train + test", "26,684 patients"),
        ("Table 3, dtd, train", "3,760"),
        ("Section 4, datasets and domains", "17, BreakHis counted four times"),
        ("Table 1, remote sensing", "swin_v2_t"),
        ("Table 1, overall", "convnext_tiny 5, regnet_y_3_2gf 4, efficientnet_v2_s 3"),
        ("Section 5, every accuracy", "too high"),
        ("Section 5, early stopping and reported accuracy", "chosen on the test images"),
        ("Table 6, BreakHis", "one patient"),
    ],
)
def test_what_else_was_found(where: str, word: str) -> None:
    assert word in FOUND[where].found


def test_two_cells_alone_look_like_failed_runs() -> None:
    assert audit.doubtful() == (("swin_t", "rsna_pneumonia"), ("swin_v2_t", "plantclef_p10"))


def test_averages_of_table_6_are_the_plain_means() -> None:
    assert not [where for where in FOUND if "Average" in where]
    table = reference.matrix().select(datasets=audit.BREAKHIS)
    printed = np.array(list(reference.printed_averages().values()))
    assert np.abs(100 * table.mean.mean(axis=1) - printed).max() < 0.00501


@pytest.mark.parametrize("images", [420, 606, 1774, 6149])
def test_every_fraction_of_the_images_is_possible_rounded_or_cut(images: int) -> None:
    percent = 100 * np.arange(images + 1) / images
    assert all(audit.possible(float(round(p, 2)), images) for p in percent)
    assert all(audit.possible(float(np.floor(100 * p + 1e-9) / 100), images) for p in percent)


def test_numbers_between_the_fractions_are_not() -> None:
    assert not audit.possible(99.42, 606)  # 602 of 606 are 99.34, 603 are 99.50
    assert audit.possible(99.34, 606)
    assert audit.possible(99.83, 606)  # 605
    assert not audit.possible(99.84, 606)


def test_all_of_breakhis_400_is_impossible_and_cifar_is_not() -> None:
    rows = {row[0]: row for row in audit.audit_tables()[0].rows}
    assert rows["breakhis_400"][2] == 11
    assert rows["dtd"][2] == 9
    assert "cifar10" not in rows
    assert "Accuracies on cifar10" not in FOUND


def test_table_1_is_mean_results_but_for_remote_sensing_and_a_count_of_itself() -> None:
    table = winners.table()
    verdicts = {(row[0], row[1], row[2]): row[4] for row in table.rows}
    of = "Tables 4 to 6"
    by_mean = {d: v for (d, o, way), v in verdicts.items() if o == of and way == "mean result over the datasets"}
    assert {d for d, verdict in by_mean.items() if verdict == "yes"} == {
        "natural", "texture", "plant", "astronomy", "medical",
    }  # fmt: skip
    assert verdicts["remote sensing", of, "mean rank over the datasets"] == "yes"
    assert verdicts["medical", "and Table 8", "mean result over the datasets"] == "its first"
    assert {v for (d, o, _), v in verdicts.items() if d == "overall" and o != "Table 1"}.isdisjoint({"yes"})
    assert verdicts["overall", "Table 1", "how often a column of Table 1 names it"] == "yes"


@pytest.mark.slow
def test_accuracies_of_the_weights_are_torchvisions() -> None:
    models = pytest.importorskip("torchvision.models")
    weights = {
        "resnet50": models.ResNet50_Weights.IMAGENET1K_V2,
        "convnext_tiny": models.ConvNeXt_Tiny_Weights.IMAGENET1K_V1,
        "swin_t": models.Swin_T_Weights.IMAGENET1K_V1,
        "swin_v2_t": models.Swin_V2_T_Weights.IMAGENET1K_V1,
        "efficientnet_v2_s": models.EfficientNet_V2_S_Weights.IMAGENET1K_V1,
        "densenet161": models.DenseNet161_Weights.IMAGENET1K_V1,
        "mobilenet_v3_large": models.MobileNet_V3_Large_Weights.IMAGENET1K_V2,
        "regnet_y_3_2gf": models.RegNet_Y_3_2GF_Weights.IMAGENET1K_V2,
        "resnext50_32x4d": models.ResNeXt50_32X4D_Weights.IMAGENET1K_V2,
        "shufflenet_v2_x2_0": models.ShuffleNet_V2_X2_0_Weights.IMAGENET1K_V1,
    }
    ours = {name: value for name, value in WEIGHTS_TOP1.items() if name != "wavemix"}
    assert ours == {name: w.meta["_metrics"]["ImageNet-1K"]["acc@1"] for name, w in weights.items()}
