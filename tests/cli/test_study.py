"""`mobilebench study` prints verdicts and disagreements, for the published table and for results of one's own."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mobilebench.cli import main
from mobilebench.scoring import Matrix
from mobilebench.studies import STUDIES
from mobilebench.studies.beyond_imagenet import published as reference


def run(*arguments: str) -> Result:
    return CliRunner(env={"COLUMNS": "200"}).invoke(main, arguments, catch_exceptions=False)


def test_claims_on_the_published_table() -> None:
    output = run("study", "claims", "beyond_imagenet").output
    assert "11 models x 7 datasets" in output
    assert "leans against" in output
    assert "77 of 77 values are from a single run" in output
    assert "a tenth of its learning rate (released code)" in output


def test_claims_on_results_of_ones_own_carry_no_caveat_about_the_paper(tmp_path: Path) -> None:
    reference.matrix().to_csv(tmp_path / "accuracy.csv")
    (tmp_path / "cost.csv").write_text(
        "model,params,macs\n" + "".join(f"{r.model},{r.params},{r.macs}\n" for r in reference.costs())
    )
    output = run("study", "claims", "beyond_imagenet", "--matrix", str(tmp_path)).output
    assert "params against xScore: Spearman 0.19" in output
    assert "released code" not in output


def test_claims_against_fixed_anchors_say_what_lies_far_outside_them(tmp_path: Path) -> None:
    published = reference.matrix()
    top1 = published.values.copy()
    top1[:, 0] *= 0.1
    Matrix(published.models, published.datasets, published.seeds, top1, published.n_test).to_csv(tmp_path / "a.csv")
    words = ["study", "claims", "beyond_imagenet", "--matrix", str(tmp_path / "a.csv"), "--anchors"]
    assert "Far outside the anchors: cifar10 (11 of 11 models; the furthest, " in run(*words, "paper").output
    assert "Far outside" not in run(*words, "grid").output


def test_audit_prints_each_disagreement() -> None:
    output = run("study", "audit", "beyond_imagenet").output
    for found in ("0.735", "0.859", "237", "313 M", "4.69 M", "0.606", "0.639", "6 of 11"):
        assert found in output


@pytest.mark.slow
def test_audit_writes_the_report_of_the_published_table(tmp_path: Path) -> None:
    run("study", "audit", "beyond_imagenet", "--report", str(tmp_path / "paper"))
    assert "Published single runs, Tables 1 to 5 of Beyond ImageNet" in (tmp_path / "paper/report.html").read_text()


@pytest.mark.parametrize("command", ["claims", "audit"])
def test_an_unknown_study_gets_a_near_match_and_the_list(command: str) -> None:
    result = run("study", command, "beyond_imagnet")
    assert result.exit_code == 2
    assert "did you mean beyond_imagenet? Studies: beyond_imagenet" in result.output
    assert "Studies: beyond_imagenet" in run("study", command, "zzz").output


@pytest.mark.slow
def test_report_writes_what_audit_report_writes(tmp_path: Path) -> None:
    run("study", "audit", "beyond_imagenet", "--report", str(tmp_path / "a"))
    output = run("study", "report", "beyond_imagenet", "--out", str(tmp_path / "b")).output
    assert "report.md and" in output.replace("\n", "")
    assert (tmp_path / "a/report.html").read_text() == (tmp_path / "b/report.html").read_text()


def test_the_list_is_a_document_with_json() -> None:
    found = json.loads(run("study", "list", "--json").output)
    assert [entry["id"] for entry in found["studies"]] == list(STUDIES)


@pytest.mark.parametrize("words", [["study"], ["study", "list"]])
def test_without_a_command_the_studies_are_listed(words: list[str]) -> None:
    result = run(*words)
    assert result.exit_code == 0
    assert result.output.startswith("beyond_imagenet  Beyond ImageNet: Understanding")


@pytest.mark.parametrize(
    ("earlier", "now"),
    [
        (["claims", "--lambda", "0.3"], ["study", "claims", "beyond_imagenet", "--lambda", "0.3"]),
        (["audit-paper"], ["study", "audit", "beyond_imagenet"]),
    ],
)
def test_the_earlier_names_work_and_are_not_listed(earlier: list[str], now: list[str]) -> None:
    assert run(*earlier).output == run(*now).output
    listed = [line.split()[0] for line in run("--help").output.splitlines() if line.startswith("  ")]
    assert earlier[0] not in listed
    assert now[0] in listed


def test_claims_and_audit_of_a_study_without_an_xscore() -> None:
    output = run("study", "claims", "which_backbone").output
    assert "published: 11 models x 28 datasets" in output
    assert "Convolutional networks outperform transformers" in output
    assert "leans for (mean rank with few train images" in output
    assert "best of three runs, chosen on the test images" in output
    audited = json.loads(run("study", "audit", "which_backbone", "--json").output)
    assert {"audit", "impossible", "table_1"} <= set(audited)
    assert {"where": "Table 3, BreakHis, train + test", "printed": "7,945", "found": "7,909",
            "follows from": "section 4.7"} in audited["audit"]  # fmt: skip


def test_anchors_of_a_study_that_has_none_are_refused() -> None:
    result = run("study", "claims", "which_backbone", "--anchors", "paper")
    assert result.exit_code == 2
    assert "leave `--anchors paper` out" in " ".join(result.output.split())


def test_a_matrix_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = run("study", "claims", "beyond_imagenet", "--matrix", str(tmp_path / "absent.csv"))
    assert result.exit_code == 2
    assert "no file" in result.output
