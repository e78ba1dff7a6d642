"""The site of leaderboards: its data against the published tables and real scores, its page in a real browser."""

from __future__ import annotations

import csv
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from browser import DESKTOP, PHONE, Page, browser, needs_browser
from click.testing import CliRunner, Result

from mobilebench.cli import COMMANDS, main
from mobilebench.config.suite import presets
from mobilebench.errors import UserError
from mobilebench.report import site
from mobilebench.scoring.matrix import NOISE, Matrix
from mobilebench.scoring.ranking import value_intervals
from mobilebench.scoring.table import compute_scores
from mobilebench.studies.beyond_imagenet import published as paper
from mobilebench.system.json_values import plain_value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCS = (Path(__file__).parents[2] / "docs/site.md").read_text()


def call(*words: str, fails: bool = False) -> Result:
    done = CliRunner(env={"COLUMNS": "200"}).invoke(main, words)
    assert done.exit_code == (2 if fails else 0), done.output
    return done


def rows(path: Path) -> dict[str, dict[str, str]]:
    with path.open() as file:
        return {row["model"]: row for row in csv.DictReader(file)}


def scored(folder: Path, experiment: str, matrix: Matrix) -> Path:
    """Write a results folder as `score` leaves it, of a matrix that no run has made."""
    runs = {key: f"run_{'_'.join(map(str, key))}" for key in _cells(matrix)}
    tables = (
        matrix.to_csv(folder / "accuracy.csv", runs),
        matrix.noise_to_csv(folder / NOISE),
        compute_scores(matrix).to_csv(folder / "xscore.csv"),
    )
    origin = {
        "experiment": experiment, "protocol": "abc123", "lam": 0.5, "anchors": "grid",
        "date": "2026-11-30T08:00:00+00:00", "run_ids": list(runs.values()),
        "files": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in tables},
    }  # fmt: skip
    (folder / "score.json").write_text(json.dumps(origin))
    return folder


def _cells(matrix: Matrix) -> list[tuple[str, str, int]]:
    every = [(m, d, s) for m in matrix.models for d in matrix.datasets for s in matrix.seeds]
    return [cell for cell in every if cell not in matrix.absent]


def forge(folder: Path, name: str, before: str, after: str) -> None:
    """Change a table and the digest that score.json has of it."""
    table, about = folder / name, folder / "score.json"
    was = hashlib.sha256(table.read_bytes()).hexdigest()
    words = table.read_text()
    assert before in words
    table.write_text(words.replace(before, after, 1))
    about.write_text(about.read_text().replace(was, hashlib.sha256(table.read_bytes()).hexdigest()))


@pytest.fixture(scope="session")
def published_site(made_once: Callable[..., Path]) -> Path:
    def make(folder: Path) -> None:
        site.write_site(folder / "site", site.suites_of([scored(folder / "lab", "My <b>Lab</b>", paper.matrix())]))

    return made_once("site", make) / "site"


def test_the_published_table_is_shown_as_printed(published_site: Path) -> None:
    """Against the packaged tables: results of Table 3, xScores of Table 4, costs of Table 1."""
    matrix, found = paper.matrix(), rows(published_site / "data/beyond_imagenet.csv")
    costs = {row.model: row for row in paper.costs()}
    assert set(found) == set(matrix.models)
    for score in paper.scores():
        row = found[score.model]
        # Of two models the audit of the paper finds that what Table 4 prints does not follow from Table 3.
        printed = {"convmixer": 0.859, "mobilevit": 0.735}.get(score.model, score.xscore_7)
        assert float(row["xscore"]) == pytest.approx(printed, abs=0.0006)
        assert (int(row["params"]), int(row["macs"])) == (costs[score.model].params, costs[score.model].macs)
        assert row["latency_ms"] == ""
        for dataset, value in zip(matrix.datasets, matrix.mean[matrix.models.index(score.model)], strict=True):
            assert float(row[f"value_{dataset}"]) == value
            ends = float(row[f"low_{dataset}"]), float(row[f"high_{dataset}"])
            assert ends == value_intervals(matrix, dataset).ends[score.model]
    document = json.loads((published_site / "data/beyond_imagenet.json").read_text())
    assert document["models"] == plain_value(compute_scores(matrix).to_frame())
    assert document["cells"] == plain_value(matrix.to_frame())
    assert (document["experiment"], document["scored"]) == (None, None)
    assert "nothing here was measured by mobilebench" in document["source"]


def test_the_page_holds_what_the_data_holds(published_site: Path) -> None:
    page = (published_site / "index.html").read_text()
    for row in compute_scores(paper.matrix()).rows:
        assert f'data-v="{row.score}"' in page
    assert "<b>Lab" not in page
    assert "My &lt;b&gt;Lab&lt;/b&gt;" in page
    listed = json.loads((published_site / "site.json").read_text())
    assert [suite["id"] for suite in listed["suites"]] == ["my_b_lab_b", "beyond_imagenet"]
    files = {path.name for path in (published_site / "data").iterdir()}
    assert files == set(listed["files"]) == {f"{s['id']}.{e}" for s in listed["suites"] for e in ("csv", "json")}
    links = set(re.findall(r'href="(data/[^"]*)"', page))
    assert {Path(link).name for link in links} == files


def test_real_scores_are_those_that_leaderboard_gives(trained: Path) -> None:
    call("score")
    answered = json.loads(call("leaderboard", "--json").stdout)
    told = json.loads(call("site", "results", "--no-published", "--json").stdout)
    document = json.loads(Path("site/data/tiny.json").read_text())
    for key in ("lam", "anchors", "level", "interval_over", "models", "rankings"):
        assert document[key] == answered[key], key
    runs = {row["model"]: row.pop("run_id") for row in document["cells"]}
    assert document["cells"] == [{k: v for k, v in row.items() if k != "run_id"} for row in answered["cells"]]
    assert set(runs.values()) == set(json.loads(Path("results/score.json").read_text())["run_ids"])
    assert document["experiment"] == "tiny"
    assert {row["model"]: row["params"] for row in document["costs"]}.keys() == {"shufflenet", "starnet"}
    (suite,) = told["suites"]
    assert (suite["id"], suite["models"], suite["datasets"]) == ("tiny", ["shufflenet", "starnet"], ["blobs"])
    assert told["written"] == ["site/index.html", "site/data/tiny.csv", "site/data/tiny.json", "site/site.json"]
    page = Path("site/index.html").read_text()
    assert "tiny: 2 of 2 scored runs came with theirs." in page
    assert document["rankings"][0]["rows"][0]["model"] in page


def test_a_model_trained_elsewhere_gets_into_a_leaderboard_as_the_page_says(half_trained: Path) -> None:
    """Somebody trains starnet in a folder of their own; who keeps the suite has shufflenet."""
    theirs = half_trained / "theirs"
    shutil.copytree(half_trained, theirs, ignore=shutil.ignore_patterns("theirs", ".mobilebench", "results", "*.db"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(theirs)
        call("train", "blobs", "--model", "starnet", "--offline")
    call("sync", str(theirs / ".mobilebench/cells"))
    call("score")
    call("site", "results", "--no-published", "--out", "site")
    assert rows(Path("site/data/tiny.csv")).keys() == {"shufflenet", "starnet"}


def test_two_folders_of_one_experiment_and_grids_of_any_size_each_get_a_place(tmp_path: Path) -> None:
    small = Matrix.from_cells({("a", "x", 0): 0.9, ("b", "x", 0): 0.5}, {"x": 100})
    partial = Matrix.from_cells({("a", "x", 0): 0.9, ("b", "x", 0): 0.5, ("b", "submit", 0): 0.4}, {"x": 100})
    folders = [scored(tmp_path / str(k), "submit", matrix) for k, matrix in enumerate((small, partial))]
    (tmp_path / "project").mkdir()
    shutil.copytree(folders[0], tmp_path / "project/results")
    suites = site.suites_of([*folders, tmp_path / "project"], published=False)
    assert [suite.id for suite in suites] == ["submit_2", "submit_3", "submit_4"]
    assert len({suite.title for suite in suites}) == 3
    assert [len(suite.rankings) for suite in suites] == [1, 2, 1]
    site.write_site(tmp_path / "out", suites)
    page = (tmp_path / "out/index.html").read_text()
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert "a is told apart from the other one" in page
    assert rows(tmp_path / "out/data/submit_3.csv")["a"]["value_submit"] == ""


@pytest.mark.parametrize(
    ("table", "before", "after", "said"),
    [
        ("accuracy.csv", "0.9511", "0.9711", "gives .* an xScore of .*, and from accuracy.csv follows"),
        ("xscore.csv", "0.9617", "0.9717", "gives efficientnet an xScore of 0.97"),
        ("xscore.csv", "0.9617458768668047", "high", "the xScore of efficientnet is no number"),
        ("xscore.csv", "1,efficientnet", "1,other", "is of other models than accuracy.csv"),
        ("accuracy.csv", "run_efficientnet_dogs_0", "run_x", "names other runs than accuracy.csv does"),
        ("score.json", '"lam": 0.5', '"lam": 0.25', "xscore.csv has lambda 0.5 and grid anchors, score.json has"),
        ("score.json", '"grid"', '"mine"', "grid anchors, score.json has lambda 0.5 and mine anchors"),
    ],
)  # fmt: skip
def test_tables_that_do_not_agree_are_refused(tmp_path: Path, table: str, before: str, after: str, said: str) -> None:
    folder = scored(tmp_path / "lab", "lab", paper.matrix())
    forge(folder, table, before, after)
    with pytest.raises(UserError, match=said):
        site.suites_of([folder])


def test_a_folder_that_is_no_score_or_was_changed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"has no score.json; expected a results folder as `mobilebench score` leaves"):
        site.suites_of([tmp_path])
    folder = scored(tmp_path / "lab", "lab", paper.matrix())
    (folder / "noise.csv").unlink()
    with pytest.raises(UserError, match=r"noise.csv is gone, which `mobilebench score` wrote"):
        site.suites_of([folder])
    folder = scored(tmp_path / "lab2", "lab", paper.matrix())
    (folder / "accuracy.csv").write_text((folder / "accuracy.csv").read_text().replace("0.9511", "0.9611"))
    with pytest.raises(UserError, match="was changed after `mobilebench score` wrote it"):
        site.suites_of([folder])
    with pytest.raises(UserError, match=r"there is no folder .*absent; expected a results folder"):
        site.suites_of([tmp_path / "absent"])
    with pytest.raises(UserError, match="nothing to show"):
        site.suites_of([], published=False)


def test_a_result_file_that_says_otherwise_is_refused(trained: Path) -> None:
    call("score")
    path = next(Path("results/cells/blobs").glob("*.json"))
    record = json.loads(path.read_text())
    other = record | {"metrics": record["metrics"] | {"top1": record["metrics"]["top1"] / 2 + 0.1}}
    path.write_text(json.dumps(other))
    assert "test images, accuracy.csv has" in call("site", "results", fails=True).stderr
    path.write_text(json.dumps(record | {"data_digest": "0" * 64}))
    assert "was read on other data than" in call("site", "results", fails=True).stderr
    assert not Path("site").exists()


def test_a_folder_of_somebody_elses_is_left_alone(project: Path) -> None:
    mine = project / "mine"
    mine.mkdir()
    (mine / "index.html").write_text("my page")
    error = call("site", "--out", "mine", fails=True).stderr
    assert "mine holds index.html and is no site of `mobilebench site`, which would overwrite" in error
    (mine / "site.json").write_text('{"made_by": "another program", "files": ["index.html"]}')
    assert "is no site" in call("site", "--out", "mine", fails=True).stderr
    (mine / "site.json").write_text("{")
    assert "is no site" in call("site", "--out", "mine", fails=True).stderr
    assert {path.name for path in mine.iterdir()} == {"index.html", "site.json"}
    assert (mine / "index.html").read_text() == "my page"
    (project / "file").write_text("")
    assert "file is a file; expected a folder" in call("site", "--out", "file", fails=True).stderr


def test_a_site_is_replaced_and_forgets_what_is_no_longer_shown(project: Path) -> None:
    scored(project / "lab", "lab", paper.matrix())
    call("site", "lab")
    before = {path: path.read_bytes() for path in Path("site").rglob("*") if path.is_file()}
    call("site", "lab")
    assert {path: path.read_bytes() for path in Path("site").rglob("*") if path.is_file()} == before
    Path("site/data/notes.txt").write_text("mine")
    marker = json.loads(Path("site/site.json").read_text())
    marker["files"] += ["../index.html", "notes.txt", 3]  # not what a site writes: nobody's to remove
    Path("site/site.json").write_text(json.dumps(marker))
    call("site")
    assert sorted(path.name for path in Path("site/data").iterdir()) == [
        "beyond_imagenet.csv", "beyond_imagenet.json", "notes.txt",
    ]  # fmt: skip
    assert not list(Path("site").rglob("*.part"))


def test_every_command_on_the_page_exists(published_site: Path) -> None:
    page = (published_site / "index.html").read_text()
    named = {words.split()[0] for words in re.findall(r"(?:\n|<code>|  )mobilebench ([a-z][^\n<]*)", page)}
    assert named >= {"init", "models", "data", "train", "score", "sync", "site", "reproduce", "study"}
    assert named <= {name for name, entry in COMMANDS.items() if not entry.hidden}
    (suite,) = set(re.findall(r"mobilebench init (\w+)", page))
    assert suite in presets()
    assert "for dataset in cifar10 imagenette cifar100 ham10k dogs miniplaces indoor67; do" in page


def test_the_json_has_the_keys_that_the_docs_name(published_site: Path) -> None:
    """The commands of the page are carried out by tests/test_docs.py."""
    document = json.loads((published_site / "data/my_b_lab_b.json").read_text())
    named = re.findall(r"`(\w+)`", re.findall(r"`data/NAME.json` \|(.*)\|", DOCS)[0])
    assert {"experiment", "protocol", "scored", "metrics", "costs"} == set(named) <= set(document)
    columns = rows(published_site / "data/my_b_lab_b.csv")["starnet"]
    assert {"value_dogs", "low_dogs", "high_dogs", "params", "macs", "latency_ms"} <= set(columns)


@pytest.fixture
def chromium(tmp_path: Path) -> Iterator[Page]:
    with browser(tmp_path / "profile") as opened:
        yield opened
    assert opened.errors == []
    assert [url for url in opened.requests if not url.startswith(("file://", "data:"))] == []


@pytest.mark.browser
@needs_browser
@pytest.mark.parametrize("size", [DESKTOP, PHONE])
def test_the_site_in_a_browser(published_site: Path, chromium: Page, size: tuple[int, int]) -> None:
    def said(script: str) -> Any:
        return chromium.run(script)

    shown = "[...document.querySelectorAll('section.suite')].filter((s) => s.checkVisibility()).map((s) => s.id)"
    chosen = "[...document.querySelectorAll('.suites a[aria-current]')].map((a) => a.hash)"
    chromium.open(published_site / "index.html", size)
    assert said("[innerWidth, document.documentElement.scrollWidth <= innerWidth]") == [size[0], True]
    assert (said(shown), said(chosen)) == (["my_b_lab_b"], ["#my_b_lab_b"])
    said("document.querySelector('.suites a[href=\"#beyond_imagenet\"]').click()")
    said("new Promise((done) => setTimeout(done, 50))")
    assert (said(shown), said(chosen)) == (["beyond_imagenet"], ["#beyond_imagenet"])
    said("location.hash = '#checked'")
    said("new Promise((done) => setTimeout(done, 50))")
    assert said(shown) == ["beyond_imagenet"], "another place on the page chooses no suite"

    table = "document.querySelector('#table-beyond_imagenet_standings')"
    cells = f"[...{table}.tBodies[0].rows].filter((r) => !r.hidden).map((r) => r.cells[{{}}].innerText)"
    heads = said(f"[...{table}.tHead.rows[0].cells].map((h) => h.innerText)")
    assert heads == [
        "rank", "model", "xScore", "interval", "rank interval", *paper.matrix().datasets, "params (M)", "MACs (M)",
    ]  # fmt: skip
    macs = cells.format(heads.index("MACs (M)"))
    said(f"{table}.tHead.rows[0].cells[{heads.index('MACs (M)')}].querySelector('button').click()")
    ours = sorted(row.macs / 1e6 for row in paper.costs())
    assert [float(value) for value in said(macs)] == pytest.approx(ours, abs=0.05)
    said(f"{table}.closest('section').querySelector('input').focus()")
    chromium.type("mobile")
    assert sorted(said(cells.format(1))) == ["mobilenet", "mobileone", "mobilevit"]
    assert said("document.documentElement.scrollWidth <= innerWidth")
    chromium.open(published_site / "index.html", size, scripts=False)
    assert said(shown) == ["my_b_lab_b", "beyond_imagenet"], "without scripts all are there"
    assert said("document.documentElement.scrollWidth <= innerWidth")
