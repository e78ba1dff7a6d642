"""The section on ImageNet accuracy: there for pretrained models of known accuracy, and nowhere else."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobilebench.errors import UserError
from mobilebench.models.weights.imagenet import ImageNetTop1
from mobilebench.report import ReportInputs, write_report
from mobilebench.report.imagenet import Findings, imagenet_findings
from mobilebench.report.sections import section
from mobilebench.scoring import Matrix, compute_scores

X = {f"m{i}": 63.0 + 3 * i for i in range(8)}


def pretrained_inputs(datasets: int = 4) -> ReportInputs:
    rng = np.random.default_rng(4)
    x = np.array(list(X.values()))[:, None, None]
    values = np.clip(0.5 + (x - 70) / 100 + rng.normal(0, 0.04, (8, datasets, 2)), 0, 1)
    names = tuple(f"d{i}" for i in range(datasets))
    matrix = Matrix(tuple(X), names, (0, 1), values, np.full(datasets, 1000))
    return ReportInputs(
        matrix, compute_scores(matrix, draws=50), "mine", "mine", "abc", {},
        pretrained=dict.fromkeys(X, "ImageNet-1k"),
        imagenet={model: ImageNetTop1(value, "torchvision, x V1") for model, value in X.items()},
        domains={"d0": "medical", "d1": "natural"},
    )  # fmt: skip


@pytest.fixture(scope="module")
def found() -> Findings:
    return imagenet_findings(pretrained_inputs())


def test_each_dataset_has_a_panel_with_its_models_and_a_row(found: Findings) -> None:
    words, (picture,), tables = found
    assert words[1] == "ImageNet top-1: 8 models by torchvision."
    panels = [panel for panel in picture.figure.axes if panel.get_visible()]
    assert [panel.get_title(loc="left").partition(",")[0] for panel in panels] == ["d0", "d1", "d2", "d3"]
    assert all(len(notes) == 8 for _, notes in picture.notes)
    assert "ImageNet top-1 63.00 % (torchvision, x V1)" in picture.notes[0][1][0]
    assert [table.name for table in tables] == [
        "prediction", "prediction_above", "prediction_logit", "beyond_imagenet",
    ]  # fmt: skip
    assert "n/a" not in [cell.text for row in tables[2].rows for cell in row[:-2]]
    assert [row[0].text for row in tables[0].rows] == ["medical", "natural", "-", "-"]
    assert [tables[i].rows[0][tables[i].columns.index("n")].text for i in (0, 1)] == ["8", "5"]


def test_names_of_panels_do_not_lie_on_each_other(found: Findings) -> None:
    _, (picture,), _ = found
    boxes = [panel.get_tightbbox() for panel in picture.figure.axes if panel.get_visible()]
    assert all(not a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


@pytest.mark.parametrize("known", [0, 4])
def test_it_is_kept_out_where_too_few_accuracies_are_known(known: int) -> None:
    inputs = pretrained_inputs()
    few = replace(inputs, imagenet=dict(list(inputs.imagenet.items())[:known]))
    with pytest.raises(UserError, match=f"of {known} pretrained models"):
        imagenet_findings(few)
    assert "Not shown" in section("imagenet", few).words[0]
    assert "Not shown" not in section("imagenet", inputs).words[0]


def test_models_from_scratch_do_not_count() -> None:
    with pytest.raises(UserError, match="of 0 pretrained models"):
        imagenet_findings(replace(pretrained_inputs(), pretrained={}))


def test_two_datasets_have_no_regression_on_the_others(tmp_path: Path) -> None:
    inputs = pretrained_inputs(2)
    assert "beyond_imagenet" not in [table.name for table in imagenet_findings(inputs)[2]]
    write_report(tmp_path, inputs)
    assert "Does ImageNet accuracy predict?" in (tmp_path / "report.md").read_text()
    assert (tmp_path / "figures/imagenet.png").is_file()
