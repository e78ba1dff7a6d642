"""The page as a reader gets it: one file, offline, themed, sortable, and right in a real browser where there is one."""

import csv
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from mobilebench.models.cost.cost_file import CostRow
from mobilebench.report import ReportInputs, write_report
from mobilebench.report.sections import build, section
from mobilebench.scoring import Matrix, compute_scores

CHROMIUM = next((p for p in map(shutil.which, ("chromium", "chromium-browser", "google-chrome")) if p), None)
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: the page was not opened")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--enable-logging=stderr", "--v=0",
)  # fmt: skip


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
    assert len(titles) == 10  # no claim of the paper is about these datasets, and no run here kept predictions
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
    from mobilebench.studies.beyond_imagenet.published import matrix

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


def browse(page: Path, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    assert CHROMIUM is not None
    profile = f"--user-data-dir={folder / 'profile'}"
    return subprocess.run(
        [CHROMIUM, *FLAGS, profile, *more, page.as_uri()], capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip


@pytest.mark.browser
@needs_browser
def test_sorting_in_a_real_browser(page: Path, tmp_path: Path) -> None:
    """Click two heads of the leaderboard, then read the order back from the page's title; no console errors."""
    probe = """<script>
      const head = [...document.querySelectorAll("#table-leaderboard th button")];
      const rows = () => [...document.querySelectorAll("#table-leaderboard tbody tr")];
      const column = (k) => rows().map((r) => r.cells[k].innerText);
      head[1].click(); const byName = column(1).join();
      head[2].click(); const rising = column(2).join(); head[2].click(); const falling = column(2).join();
      document.title = JSON.stringify([byName, rising, falling, document.documentElement.scrollWidth > innerWidth]);
    </script></body>"""
    probed = tmp_path / "probed.html"
    probed.write_text(page.read_text().replace("</body>", probe))
    done = browse(probed, tmp_path, "--window-size=390,800", "--dump-dom")
    found = re.search(r"<title>(.*?)</title>", done.stdout)
    assert found
    by_name, rising, falling, overflows = json.loads(found[1].replace("&quot;", '"'))
    assert by_name.split(",") == sorted(by_name.split(","))
    values = [float(v) for v in rising.split(",")]
    assert values == sorted(values)
    assert [float(v) for v in falling.split(",")] == sorted(values, reverse=True)
    assert overflows is False, "the page is wider than a phone's screen"
    assert "CONSOLE" not in done.stderr, done.stderr


@pytest.mark.browser
@needs_browser
def test_light_and_dark_are_drawn_differently(page: Path, tmp_path: Path) -> None:
    from PIL import Image

    shades = []
    for name, flags in (("light", ()), ("dark", ("--blink-settings=preferredColorScheme=0",))):
        shot = tmp_path / f"{name}.png"
        browse(page, tmp_path, *flags, "--window-size=1100,1200", f"--screenshot={shot}")
        image = np.asarray(Image.open(shot).convert("L"), dtype=float)
        assert image.std() > 10, "an empty page"
        shades.append(np.median(image))
    assert shades[0] > 200
    assert shades[1] < 60
