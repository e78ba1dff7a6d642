"""Sections of its report: every number that is printed, with an interval or its n, and the diagrams drawn."""

from pathlib import Path

import pytest
from scipy import stats

from mobilebench.report.charts import chart
from mobilebench.report.published import left_out, published_inputs, study_sections
from mobilebench.report.write import write_report
from mobilebench.studies import load_study
from mobilebench.studies.study import LineChart, RankChart
from mobilebench.studies.which_backbone import published as reference

STUDY = load_study("which_backbone")
SECTIONS = {section.name: section for section in study_sections(STUDY)}
DATA = {section.name: section for section in (STUDY.sections or tuple)()}


def test_every_cell_of_tables_7_and_8_is_in_the_low_data_table_with_its_interval() -> None:
    (table,) = [t for t in DATA["low_data"].tables if t.name == "low_data"]
    rows = {(row[0], row[1], row[3]): row for row in table.rows}
    part = reference.low_data()
    assert len(rows) == part.values.size
    row = rows["plantclef", "10 %", "swin_v2_t"]
    assert row[4] == pytest.approx(21.47)
    low, high = stats.binomtest(round(0.2147 * 1135), 1135).proportion_ci(0.95, "wilson")
    assert row[5] == f"{100 * low:.2f} to {100 * high:.2f}"
    assert row[2] == "1,045"


def test_lines_of_the_figure_are_the_printed_numbers() -> None:
    (found,) = DATA["low_data"].charts
    assert isinstance(found, LineChart)
    assert set(found.panels) == {column.dataset for column in reference.fractions()}
    line = {entry.label: entry for entry in found.panels["cifar10"]}["wavemix"]
    assert line.x == (1, 10, 100)
    assert line.y == pytest.approx((80.98, 93.16, 97.26))
    assert all(low < y < high for low, y, high in zip(line.low, line.y, line.high, strict=True))
    axes = chart(found).figure.axes
    assert [panel.get_title(loc="left") for panel in axes if panel.get_visible()] == list(found.panels)


def test_groups_of_the_diagram_lie_within_the_critical_difference() -> None:
    for found in DATA["aggregations"].charts:
        assert isinstance(found, RankChart)
        assert found.groups
        for group in found.groups:
            ranks = [found.ranks[model] for model in group]
            assert max(ranks) - min(ranks) < found.difference
        assert "efficientnet_v2_s" in found.groups[0]


def test_each_way_of_aggregating_names_its_first() -> None:
    words = DATA["aggregations"].words[0]
    assert "the first places are efficientnet_v2_s, wavemix, convnext_tiny" in words


def test_the_report_has_its_sections_and_says_what_its_numbers_are(tmp_path: Path) -> None:
    write_report(tmp_path, published_inputs(STUDY), tuple(SECTIONS.values()), left_out(STUDY))
    page = (tmp_path / "report.md").read_text()
    for title in ("What the study claims", "With fewer train images", "Which backbone is best overall"):
        assert f"## {title}" in page
    assert "Published best of three runs each, chosen on the test images, Tables 1 to 8" in page
    assert "The study has no xScore: those here are mobilebench's, with lambda 0.5" in page
    assert "Each result is the best of three runs, chosen on the test images" in page
    assert "## Leaderboard" not in page
    assert "Each result is a single run" not in page
    assert page.count("all are too high") == 1
    assert "The paper's claims" not in page  # those of Beyond ImageNet, which this grid cannot test
    assert (tmp_path / "figures/low_data.svg").is_file()
