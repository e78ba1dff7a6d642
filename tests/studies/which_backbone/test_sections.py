"""Sections of its report: every number that is printed, with an interval or its n, and the diagrams drawn."""

from pathlib import Path

import pytest
from scipy import stats

from mobilebench.report.published import left_out, published_inputs, study_sections
from mobilebench.report.sections import section
from mobilebench.report.write import write_report
from mobilebench.studies import load_study
from mobilebench.studies.which_backbone import published as reference

STUDY = load_study("which_backbone")
INPUTS = published_inputs(STUDY)
LOW_DATA = section("low_data", INPUTS)
AGGREGATIONS = section("aggregations", INPUTS)


def test_every_cell_of_tables_7_and_8_is_in_the_low_data_table_with_its_interval() -> None:
    (table,) = [t for t in LOW_DATA.tables if t.name == "low_data"]
    rows = {tuple(row[i].text for i in (0, 1, 3)): row for row in table.rows}
    assert len(rows) == reference.low_data().values.size
    row = rows["plantclef", "10 %", "swin_v2_t"]
    assert row[4].text == "21.47"
    low, high = stats.binomtest(round(0.2147 * 1135), 1135).proportion_ci(0.95, "wilson")
    assert row[5].text == f"{100 * low:.2f} to {100 * high:.2f}"
    assert row[2].text == "1045"


def test_lines_of_the_figure_are_the_printed_numbers() -> None:
    (picture,) = LOW_DATA.pictures
    panels = {panel.get_title(loc="left").partition(",")[0]: panel for panel in picture.figure.axes}
    assert set(panels) >= {column.dataset for column in reference.fractions()}
    (line,) = [line for line in panels["cifar10"].lines if line.get_label() == "wavemix"]
    assert line.get_xdata() == pytest.approx((500, 5000, 50000))
    assert line.get_ydata() == pytest.approx((80.98, 93.16, 97.26))


def test_each_way_of_aggregating_names_its_first() -> None:
    assert "the first places are efficientnet_v2_s, wavemix, convnext_tiny" in AGGREGATIONS.words[0]
    (table,) = AGGREGATIONS.tables
    first = {head: [row[0].text for row in table.rows if row[i].strong] for i, head in enumerate(table.columns) if i}
    assert first["xScore"] == ["efficientnet_v2_s"]
    assert {"wavemix"} in map(set, first.values())


def test_the_report_has_its_sections_and_says_what_its_numbers_are(tmp_path: Path) -> None:
    write_report(tmp_path, INPUTS, study_sections(STUDY), left_out(STUDY))
    page = (tmp_path / "report.md").read_text()
    for title in ("What the study claims", "With fewer train images", "Which model is best overall"):
        assert f"## {title}" in page
    assert "Published best of three runs each, chosen on the test images, Tables 1 to 8" in page
    assert "The study has no xScore: those here are mobilebench's, with lambda 0.5" in page
    assert "Each result is the best of three runs, chosen on the test images" in page
    assert "## Leaderboard" not in page
    assert "Each result is a single run" not in page
    assert page.count("all are too high") == 1
    assert "The paper's claims" not in page  # those of Beyond ImageNet, which this grid cannot test
    assert (tmp_path / "figures/low_data.svg").is_file()
