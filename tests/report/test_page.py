"""The page as a reader gets it: one file, offline, themed, sortable, and right in a real browser where there is one."""

import csv
import json
import math
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from browser import DESKTOP, PHONE, Page, browser, needs_browser

from mobilebench.models.cost.cost_file import CostRow
from mobilebench.report import ReportInputs, write_report
from mobilebench.report.notes import result_notes
from mobilebench.report.page import code, render
from mobilebench.report.sections import Section, build, section
from mobilebench.report.table import Field, Table, text, to_latex
from mobilebench.scoring import Matrix, compute_scores
from mobilebench.scoring.ranking import value_intervals, wilson
from mobilebench.studies.beyond_imagenet.published import matrix


@pytest.fixture
def page(folder: Path) -> Path:
    return folder / "report.html"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.links += [found[name] or "" for name in ("src", "href", "xlink:href") if name in found and tag != "a"]
        self.ids += [found["id"] or ""] if "id" in found else []


def test_the_page_is_one_file_that_asks_for_nothing(page: Path) -> None:
    tags = _Tags()
    tags.feed(page.read_text())
    assert all(link.startswith(("#", "data:")) for link in tags.links)
    assert not re.search(r"@import|url\((?!#)", page.read_text())
    assert len(tags.ids) == len(set(tags.ids)), "an id given twice mixes up the figures"


def test_every_link_inside_a_figure_has_its_target(page: Path) -> None:
    words = page.read_text()
    wanted = set(re.findall(r"url\(#([^)]+)\)", words)) | set(re.findall(r'xlink:href="#([^"]+)"', words))
    assert wanted
    assert all(f'id="{name}"' in words for name in wanted)


def test_the_page_shows_what_the_markdown_shows(page: Path, inputs: ReportInputs) -> None:
    words, markdown = page.read_text(), page.with_name("report.md").read_text()
    titles = re.findall(r"^## (.*)$", markdown, re.MULTILINE)
    assert len(titles) == 11  # no claim of the paper is about these datasets, and no run here kept predictions
    assert all(title.replace("'", "&#39;") in words for title in titles)
    assert all(digest in words for digest in inputs.dataset_digests.values())
    assert "augment.cutmix" in words
    assert words.count("http://127.0.0.1:5000/#/x") == len(inputs.runs)


def test_of_one_dataset_the_report_begins_with_its_models(inputs: ReportInputs, tmp_path: Path) -> None:
    cells = {("a", "x", 0): 0.5, ("b", "x", 0): 0.9, ("c", "x", 0): 0.88}
    tiny = Matrix.from_cells(cells, {"x": 100})
    costs = (CostRow("a", 10**6, 10**7, 1.0, "here"), CostRow("b", 2 * 10**6, 10**7))
    write_report(tmp_path, ReportInputs(tiny, compute_scores(tiny, draws=20), "suite", "mine", "h", {}, costs=costs))
    words = (tmp_path / "report.md").read_text()
    assert words.startswith("# mine\n")
    assert re.findall(r"^## (.*)$", words, re.MULTILINE) == [
        "Which model is best", "Cost and accuracy", "Where the numbers come from",
    ]  # fmt: skip
    assert "Cannot be told apart from the best: b, c. With 95 % confidence" in words
    assert "Not shown" not in words
    assert words.count("With more datasets, models or finished cells") == 1
    assert "n/a models" not in words
    with (tmp_path / "tables/ranking_x.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == ["b", "c", "a"]
    assert [float(row["minus the best"]) for row in rows] == pytest.approx([0, -0.02, -0.4])
    assert [row["latency (ms)"] for row in rows] == ["", "", "1.0"]
    assert (tmp_path / "figures/ranking_x.png").exists()
    assert not (tmp_path / "figures/leaderboard.png").exists()
    results = json.loads((tmp_path / "metrics.json").read_text())["results"]
    assert results == {"x": {"a": 0.5, "b": 0.9, "c": 0.88}}


def test_the_cost_of_one_dataset_is_held_against_its_metric(inputs: ReportInputs) -> None:
    """By a loss: bold is what nothing both cheaper and lower beats, best first."""
    matrix = Matrix.from_cells({(m, "x", 0): v for m, v in zip("abc", (0.9, 0.5, 0.7), strict=True)}, {}, {"x": "nll"})
    costs = tuple(CostRow(m, 10**6 * (i + 1), 10**7) for i, m in enumerate("abc"))
    made = ReportInputs(matrix, compute_scores(matrix, draws=20), "s", "e", "h", {}, costs=costs)
    (table,) = section("cost", made).tables
    assert [row[0].text for row in table.rows] == ["b", "c", "a"]
    assert [row[1].value for row in table.rows] == [0.5, 0.7, 0.9]
    assert [row[2].strong for row in table.rows] == [True, False, True]
    assert section("cost", made).pictures


def test_a_grid_without_scores_shows_the_models_of_each_dataset(inputs: ReportInputs) -> None:
    cells = {("a", "x", 0): 0.5, ("b", "x", 0): 0.9, ("b", "y", 0): 0.8}
    matrix = Matrix.from_cells(cells, {"x": 100, "y": 50})
    found = build(ReportInputs(matrix, compute_scores(matrix, draws=20), "s", "e", "h", {}))
    first = found[0]
    assert [table.name for table in first.tables] == ["ranking_x", "ranking_y"]
    assert first.words[0].startswith("x: b is told apart")
    assert first.words[1].startswith("y: b is the only model")
    assert [s.name for s in found] == ["leaderboard", "matrix", "provenance"]


def test_the_papers_claims_are_held_against_the_papers_datasets_alone(inputs: ReportInputs) -> None:
    published = ReportInputs(matrix(), compute_scores(matrix(), draws=50), "s", "e", "h", {})
    assert "claims" in {s.name for s in build(published)}
    assert "claims" not in {s.name for s in build(inputs)}
    assert section("claims", inputs).words[0].startswith("Not shown: none of the paper's claims")


@pytest.mark.parametrize(("models", "datasets"), [(1, 1), (1, 3), (2, 1), (2, 3), (4, 2), (4, 3), (5, 4)])
def test_a_grid_of_any_small_size_has_its_sections(models: int, datasets: int) -> None:
    top1 = np.random.default_rng(models).uniform(0.2, 0.9, (models, datasets, 1))
    names = tuple(f"m{i}" for i in range(models)), tuple(f"d{i}" for i in range(datasets))
    matrix = Matrix(*names, (0,), top1, np.full(datasets, 300))
    found = {s.name: s for s in build(ReportInputs(matrix, compute_scores(matrix, draws=20), "t", "t", "h", {}))}
    assert ("subsets" in found) == (models >= 4 and datasets >= 3)
    assert next(iter(found)) == "leaderboard"
    said = [line for s in found.values() for line in (*s.words, *(x.caption for x in (*s.tables, *s.pictures)))]
    assert not [line for line in said if re.search(r"\bnan\b|(?<![.\d])1 (?!of\b)\w+s\b|\ball [12]\b", line)]


def test_an_incomplete_grid_is_reported_with_what_is_absent(inputs: ReportInputs, tmp_path: Path) -> None:
    top1 = inputs.matrix.values.copy()
    top1[0, 1] = np.nan
    partial = Matrix(inputs.matrix.models, inputs.matrix.datasets, inputs.matrix.seeds, top1, inputs.matrix.n_test)
    write_report(tmp_path, ReportInputs(partial, compute_scores(partial, draws=20), "p", "p", "h", {}))
    words = (tmp_path / "report.md").read_text()
    assert "(absent: toy_shapes)" in words
    assert "2 of 24 cells have no run" in words


def test_each_dataset_is_shown_by_its_own_metric(tmp_path: Path) -> None:
    """Percent or a number as the metric is read; the best is bold, which of a loss is the lowest."""
    values = np.random.default_rng(5).uniform(0.3, 0.9, (5, 4, 1))
    values[:, 1] *= 4
    values[3, 1], values[2, 0] = 0.25, 0.95
    names = tuple(f"m{i}" for i in range(5)), ("toys", "losses", "grades", "scans")
    matrix = Matrix(*names, (0,), values, np.full(4, 300), ("top1", "nll", "qwk", "roc_auc"))
    write_report(tmp_path, ReportInputs(matrix, compute_scores(matrix, draws=20), "t", "t", "h", {}))
    words = (tmp_path / "report.md").read_text()
    assert "metric per dataset" in words
    assert "losses (nll) (n=300)" in words
    assert "toys (top1, %) (n=300)" in words
    assert "**0.2500**" in words
    assert "**95.00 ±" in words
    assert "test images of losses (nll), grades (qwk), scans (roc_auc) needs the predictions" in words
    assert "The paper's claims" not in words
    assert "nan" not in words


def test_names_from_outside_cannot_become_markup(tmp_path: Path) -> None:
    cells = {(f"<b>{i}</b>", d, 0): 0.5 + 0.1 * i + 0.01 * i * k for i in range(4) for k, d in enumerate("xyz")}
    matrix = Matrix.from_cells(cells, dict.fromkeys("xyz", 100))
    write_report(tmp_path, ReportInputs(matrix, compute_scores(matrix, draws=20), "<script>", "e", "h", {}))
    assert "<b>" not in (tmp_path / "report.html").read_text()
    assert "<script>:" not in (tmp_path / "report.html").read_text()


def test_a_report_of_less_removes_the_figures_of_more(inputs: ReportInputs, folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    assert (tmp_path / "figures" / "curves.png").exists()
    write_report(tmp_path, ReportInputs(inputs.matrix, inputs.scores, "d", "d", "h", {}))
    assert not (tmp_path / "figures" / "curves.png").exists()
    assert not (tmp_path / "tables" / "runs.csv").exists()


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Page]:
    """A page of a browser; whatever a test does there, nothing may go wrong and nothing may be asked of anyone."""
    with browser(tmp_path / "profile") as opened:
        yield opened
    assert opened.errors == []
    assert [url for url in opened.requests if not url.startswith(("file://", "data:"))] == []


def column(page: Page, table: str, number: int) -> list[str]:
    rows = f"[...document.querySelectorAll('#table-{table} tbody tr')].filter((r) => r.checkVisibility())"
    found: list[str] = page.run(f"{rows}.map((r) => r.cells[{number}].innerText)")
    return found


SORTED = "[...document.querySelectorAll('#table-leaderboard th')].map((h) => h.ariaSort)"


@pytest.mark.browser
@needs_browser
def test_a_click_or_a_key_on_a_heading_sorts(page: Path, chromium: Page) -> None:
    chromium.open(page, DESKTOP)
    given = column(chromium, "leaderboard", 1)
    chromium.run("document.querySelectorAll('#table-leaderboard th button')[1].click()")
    assert column(chromium, "leaderboard", 1) == sorted(given) != given
    assert chromium.run(SORTED) == [None, "ascending", *[None] * 7]
    chromium.run("document.querySelectorAll('#table-leaderboard th button')[2].focus()")
    chromium.press("Enter")
    values = [float(value) for value in column(chromium, "leaderboard", 2)]
    assert values == sorted(values)
    chromium.press("Enter")
    assert [float(value) for value in column(chromium, "leaderboard", 2)] == values[::-1]
    assert chromium.run(SORTED) == [None, None, "descending", *[None] * 6]


@pytest.mark.browser
@needs_browser
def test_numbers_are_sorted_as_numbers_and_what_is_absent_stands_last(chromium: Page, tmp_path: Path) -> None:
    values = (9.5, math.nan, -1.0, 10.0, 0.12, math.inf)
    numbers = tuple((Field("", value), text(str(value))) for value in values)
    words = tuple((text(word), text(word)) for word in ("10", "m10", "0.9", "m9", "0.12", ""))
    tables = [Table(name, "c", ("a", "b"), rows) for name, rows in (("numbers", numbers), ("words", words))]
    shown = Section("s", "s", tables=tuple(tables))
    inputs = ReportInputs(matrix(), compute_scores(matrix(), draws=20), "s", "e", "h", {})
    path = tmp_path / "page.html"
    path.write_text(render("report.html.j2", ("tables.js",), inputs=inputs, sections=(shown,)))
    chromium.open(path, DESKTOP)

    def click(table: str) -> list[str]:
        chromium.run(f"document.querySelector('#table-{table} th button').click()")
        return column(chromium, table, 1)

    assert click("numbers") == ["-1.0", "0.12", "9.5", "10.0", "inf", "nan"]
    assert click("numbers") == ["inf", "10.0", "9.5", "0.12", "-1.0", "nan"]
    assert click("words") == ["0.12", "0.9", "10", "m9", "m10", ""]
    assert click("words") == ["m10", "m9", "10", "0.9", "0.12", ""]


@pytest.mark.browser
@needs_browser
def test_a_long_table_is_filtered_by_words_and_printed_whole(page: Path, chromium: Page, inputs: ReportInputs) -> None:
    chromium.open(page, DESKTOP)
    chromium.run("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    assert len(column(chromium, "runs", 0)) == len(inputs.runs) == 24
    assert (
        chromium.run("document.querySelector('#table-leaderboard').closest('section').querySelector('input')") is None
    )
    chromium.run("document.querySelector('#table-runs').closest('details').querySelector('input').focus()")
    chromium.type("ALPHA  digits")
    assert column(chromium, "runs", 0) == ["alpha_net"] * 2
    assert column(chromium, "runs", 1) == ["digits"] * 2
    assert chromium.run(
        "document.querySelector('#table-runs').closest('details').querySelector('output').innerText"
    ) == ("2 of 24")
    chromium.emulate_print()
    assert len(column(chromium, "runs", 0)) == 24
    for hidden in (".filter", ".hint", "nav", "#note"):
        assert chromium.run(f"document.querySelector('{hidden}').checkVisibility()") is False


@pytest.mark.browser
@needs_browser
def test_what_a_number_rests_on_is_shown_to_pointer_and_keyboard(
    page: Path, chromium: Page, inputs: ReportInputs
) -> None:
    tip = "document.querySelector('#note').checkVisibility() ? document.querySelector('#note').innerText : null"
    chromium.open(page, DESKTOP)
    assert chromium.run(tip) is None
    chromium.point_at("#table-accuracy td[data-note]")
    shown = chromium.run(tip)
    best = inputs.scores.rows[0].model
    values = inputs.matrix.values[inputs.matrix.models.index(best), 0]
    low, high = value_intervals(inputs.matrix, "digits").ends[best]
    assert shown.splitlines()[0] == f"{best} on digits: {100 * values.mean():.2f} (Top-1, %)"
    assert f"95 % interval {100 * low:.1f} to {100 * high:.1f}, over test images" in shown
    assert "n = 360 test images" in shown
    runs = [f"{100 * value:.2f} (seed {seed}, run run_{best}_digits_{seed})" for seed, value in enumerate(values)]
    assert f"mean of 2 runs: {'; '.join(runs)}" in shown
    chromium.press("Escape")
    assert chromium.run(tip) is None
    chromium.run("document.querySelector('#table-accuracy [tabindex=\"0\"]').focus()")
    assert chromium.run(tip) == shown
    assert chromium.run("document.activeElement.getAttribute('aria-describedby')") == "note"
    chromium.press("ArrowRight")
    assert chromium.run(tip).startswith(f"{best} on toy_shapes: ")
    chromium.press("ArrowDown")
    assert chromium.run(tip).startswith(f"{inputs.scores.rows[1].model} on toy_shapes: ")
    assert chromium.run("document.querySelectorAll('#table-accuracy td[tabindex=\"0\"]').length") == 1
    chromium.point_at("#leaderboard figure .noted circle")
    assert chromium.run(tip).startswith(f"{best}: xScore {inputs.scores.rows[0].score:.3f}, rank 1 of 4")


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize("scripts", [True, False])
def test_on_a_phone_tables_scroll_and_the_page_does_not(page: Path, chromium: Page, scripts: bool) -> None:
    chromium.open(page, PHONE, scripts=scripts)
    chromium.run("document.querySelectorAll('details').forEach((d) => { d.open = true })")
    assert chromium.run("innerWidth") == 390
    assert chromium.run("document.documentElement.scrollWidth") == 390
    wide = "document.querySelector('#table-leaderboard').parentElement"
    assert chromium.run(f"{wide}.scrollWidth > {wide}.clientWidth")
    chromium.run(f"{wide}.scrollLeft = 1000")
    name = "document.querySelector('#table-leaderboard td.key').getBoundingClientRect()"
    assert chromium.run(f"{name}.left") >= 0, "the model's name has left the screen"


@pytest.mark.browser
@needs_browser
def test_without_scripts_nothing_is_offered_that_does_not_work(page: Path, chromium: Page) -> None:
    chromium.open(page, DESKTOP, scripts=False)
    assert len(column(chromium, "leaderboard", 1)) == 4
    assert chromium.run("document.querySelectorAll('button, input').length") == 0
    assert chromium.run("document.querySelector('.hint').checkVisibility()") is False
    assert "95 % interval" in chromium.run("document.querySelector('#table-accuracy td[title]').title")


@pytest.mark.browser
@needs_browser
def test_the_pages_own_policy_stops_what_is_not_its_own(page: Path, tmp_path: Path) -> None:
    with browser(tmp_path / "profile") as opened:
        other = tmp_path / "other.html"
        more = "<script>document.title = 'run'</script><img src='https://example.org/x.png'></body>"
        other.write_text(page.read_text().replace("</body>", more))
        opened.open(other, DESKTOP)
        assert opened.run("document.title") == "demo"
        assert sum("Content Security Policy" in error for error in opened.errors) == 2


@pytest.mark.browser
@needs_browser
def test_light_and_dark_are_drawn_differently(page: Path, chromium: Page, tmp_path: Path) -> None:
    from PIL import Image

    shades = []
    for dark in (False, True):
        chromium.open(page, DESKTOP, dark=dark)
        image = np.asarray(Image.open(chromium.screenshot(tmp_path / f"{dark}.png")).convert("L"), dtype=float)
        assert image.std() > 10, "an empty page"
        shades.append(np.median(image))
    assert shades[0] > 200
    assert shades[1] < 60


def test_what_stands_between_backticks_is_code_and_nothing_else_is_markup(inputs: ReportInputs, tmp_path: Path) -> None:
    assert code("`mobilebench inspect A B` <b> ` alone") == "<code>mobilebench inspect A B</code> &lt;b&gt; ` alone"
    assert code("`<i>`") == "<code>&lt;i&gt;</code>"
    shown = Table("t", "See `x_y`.", ("`n`",), ((text("`a`"),),))
    assert r"\texttt{x\_y}" in to_latex(shown)
    page = render("report.html.j2", inputs=inputs, sections=(Section("s", "t", ("Call `a & b`.",), (), (shown,)),))
    assert "<p>Call <code>a &amp; b</code>.</p>" in page
    assert '<p class="caption">See <code>x_y</code>.</p>' in page


def test_a_published_numbers_unknown_seed_is_not_said(inputs: ReportInputs) -> None:
    published = ReportInputs(matrix(), compute_scores(matrix(), draws=50), "s", "e", "h", {})
    said = result_notes(published)["convnext", "dogs"]
    low, high = wilson(float(published.matrix.select(models=["convnext"], datasets=["dogs"]).mean[0, 0]), 8580, 0.95)
    over = "over test images (binomial, models taken for tested apart); what another training run gives is not covered"
    assert said.splitlines() == [
        "convnext on dogs: 30.96 (Top-1, %)",
        f"95 % interval {100 * low:.1f} to {100 * high:.1f}, {over}",
        "n = 8,580 test images",
        "single run",
    ]
