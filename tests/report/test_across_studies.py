"""One picture across the published studies, and the files it comes as."""

import csv
import math
from pathlib import Path

import pytest
from click.testing import CliRunner
from scipy import stats

from mobilebench.cli import main
from mobilebench.report.across_studies import across_studies
from mobilebench.report.sections import Section
from mobilebench.report.table import to_csv, to_latex
from mobilebench.studies.prediction import ONCE_MORE, predictions
from mobilebench.studies.which_backbone import published as backbones


@pytest.fixture(scope="module")
def section() -> Section:
    return across_studies(predictions())


def test_every_dataset_of_every_study_has_a_row_and_printed_numbers_no_interval(section: Section) -> None:
    table = section.tables[0]
    at = {name: place for place, name in enumerate(table.columns)}
    rows = {(row[at["study"]].text, row[at["dataset"]].text): row for row in table.rows}
    assert len(rows) == len(table.rows) == 6 + 19 + 2
    assert ("beyond_imagenet", "imagenette") not in rows  # it predicts
    assert {row[at["predictor"]].text for key, row in rows.items() if key[0] == "beyond_imagenet"} == {
        "Imagenette top-1"
    }
    melanoma = rows["real_world", "melanoma"]
    assert (melanoma[at["r"]].text, melanoma[at["n"]].text) == ("0.44", "n/a")
    assert melanoma[at["verdict"]].text == "printed, no interval"
    domains = [row[at["domain"]].text for row in table.rows]
    assert domains == sorted(domains)


def test_a_row_is_the_correlation_of_the_printed_numbers(section: Section) -> None:
    matrix, known = backbones.matrix(), backbones.imagenet_top1()
    table = section.tables[0]
    (row,) = [r for r in table.rows if (r[1].text, r[2].text) == ("which_backbone", "food101")]
    found = stats.pearsonr([known[m] for m in matrix.models], matrix.mean[:, matrix.datasets.index("food101")])
    ends = found.confidence_interval()
    at = table.columns.index("r")
    assert [row[at].text, row[at + 1].text] == [f"{found.statistic:.2f}", f"{ends.low:.2f} to {ends.high:.2f}"]
    (written,) = [
        kept for kept in csv.DictReader(to_csv(table).splitlines())
        if (kept["study"], kept["dataset"]) == ("which_backbone", "food101")
    ]  # fmt: skip
    interval = table.columns[at + 1]
    assert [float(written[f"{interval} {end}"]) for end in ("low", "high")] == pytest.approx([ends.low, ends.high])


def test_what_others_explain_counts_each_dataset_once() -> None:
    (found,) = [study for study in predictions() if study.study == "which_backbone"]
    assert found.others is not None
    assert not {row.dataset for row in found.others.rows} & set(ONCE_MORE)
    assert found.others.explains


def test_nothing_in_the_picture_overlaps(section: Section) -> None:
    (picture,) = section.pictures
    (axes,) = picture.figure.axes
    boxes = [label.get_window_extent() for label in axes.get_yticklabels()]
    assert all(not a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])
    frame = picture.figure.bbox
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for box in boxes)
    (legend,) = picture.figure.legends
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())
    assert math.isclose(picture.figure.get_size_inches()[0], 5.2)


def test_the_command_writes_page_figure_and_tables(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["study", "report", "all", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.output
    written = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.*")}
    assert {"report.md", "figures/prediction.png", "figures/prediction.svg", "tables/prediction.csv",
            "tables/prediction.tex", "tables/beyond_which_backbone.csv"} <= written  # fmt: skip
    assert "Imagenette, ten classes of ImageNet, not ImageNet" in (tmp_path / "report.md").read_text()


def test_the_table_is_latex_too(section: Section) -> None:
    assert r"\begin{tabular}" in to_latex(section.tables[0])


def test_rival_explanations_are_beside_it(section: Section) -> None:
    rivals, params = section.tables[-2:]
    assert [(row[0].text, row[1].text, row[2].text) for row in rivals.rows] == [
        ("beyond_imagenet", "log10 classes", "6"), ("beyond_imagenet", "log10 train images", "6"),
        ("which_backbone", "log10 classes", "16"), ("which_backbone", "log10 train images", "16"),
    ]  # fmt: skip
    assert len(params.rows) == 6 + 19
