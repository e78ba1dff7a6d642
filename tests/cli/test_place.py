"""`mobilebench place`: a new network on the paper's scale, and what is said where the two do not compare."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from mobilebench.cli import main
from mobilebench.config.suite import parse_suite, preset_text
from mobilebench.report.placement import ordinal
from mobilebench.runs.records import Record, write_result
from mobilebench.scoring import Matrix
from mobilebench.studies.beyond_imagenet import published

VALUES = {"cifar10": 0.93, "imagenette": 0.88, "cifar100": 0.76, "ham10k": 0.80, "dogs": 0.58, "miniplaces": 0.59,
          "indoor67": 0.55}  # fmt: skip


def call(*words: str, code: int = 0) -> str:
    answer = CliRunner(env={"COLUMNS": "200"}).invoke(main, ["place", *words])
    assert answer.exit_code == code, answer.output
    return " ".join(answer.output.split())


def results(datasets: tuple[str, ...], recipe: str = "") -> None:
    """Write result files of a new model under the paper's protocol, or another recipe."""
    protocol = parse_suite(preset_text("paper_v1"), "paper_v1").protocol
    sizes = {row.dataset: row.test for row in published.datasets()}
    for dataset in datasets:
        record = Record(
            f"run-{dataset}", "new_net", dataset, 0, "p", f"digest-{dataset}", 1, "FINISHED", {"top1": VALUES[dataset]},
            sizes[dataset], recipe_hash=recipe or protocol.recipe_hash_for("new_net", dataset),
        )  # fmt: skip
        write_result(Path("results"), record)


def test_a_network_on_all_seven_datasets(project: Path) -> None:
    results(tuple(VALUES))
    said = call()
    # Between mobilevit (0.735) and mobilenet (0.706) of Table 4, by Eq. 1 to 3 with the table's extremes.
    low_high = published.paper_anchors()
    scaled = [(VALUES[d] - low_high[d][0]) / (low_high[d][1] - low_high[d][0]) for d in VALUES]
    mean = sum(scaled) / 7
    score = mean - 0.5 * sum((x - mean) ** 2 for x in scaled) / 6
    assert f"new_net stands 4th of 12 (95% interval: 3rd to 6th): xScore {score:.3f} [" in said
    assert "other settings" not in said
    folder = Path("results/place")
    (line,) = [line for line in (folder / "row.tex").read_text().splitlines() if not line.startswith("%")]
    assert line.startswith(r"\textbf{new\_net} & \textbf{93.00} & \textbf{88.00} &")
    assert line.endswith(r"\\")
    assert line in (folder / "placement.tex").read_text()
    assert (folder / "placement.pdf").read_bytes().startswith(b"%PDF")
    with (folder / "placement.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert (row["model"], row["how"], row["place"], row["of"]) == ("new_net", "measured", "4", "12")
    again = (folder / "placement.pdf").read_bytes()
    call("new_net")
    assert (folder / "placement.pdf").read_bytes() == again


@pytest.mark.slow
def test_a_network_on_the_proxys_datasets_says_what_is_missing(project: Path) -> None:
    results(published.PAPER_FOUR)
    said = call()
    assert "new_net would stand 3rd of 12" in said
    assert "predicted from imagenette, cifar100, ham10k, dogs" in said
    assert "No results on cifar10, miniplaces, indoor67" in said
    assert "mobilebench init paper_v1 --model NAME" in said
    answer = json.loads(CliRunner().invoke(main, ["place", "--json"]).output)
    (row,) = answer["placements"]
    assert (row["how"], row["missing"]) == ("predicted", "cifar10 miniplaces indoor67")


@pytest.mark.slow
def test_other_settings_than_the_papers_are_said(project: Path) -> None:
    results(tuple(VALUES), recipe="of a short trial")
    said = call()
    assert "7 of 7 runs were trained by other settings than the protocol that suite paper_v1 has" in said
    results(("dogs",))
    assert "6 of 7 runs" in call()
    Matrix.from_cells({("csv_net", d, 0): v for d, v in VALUES.items()}, {}).to_csv("mine.csv")
    assert "do not say by which settings" in call("--from", "mine.csv")


def test_against_a_reference_of_ones_own(project: Path) -> None:
    table = published.matrix()
    replace(table, values=table.values * 0.9).to_csv("lab.csv")
    results(tuple(VALUES))
    said = call("--reference", "lab.csv")
    assert "new_net stands 1st of 12" in said
    assert "as published" not in said
    Matrix.from_cells({("mine", d, 0): VALUES[d] for d in published.PAPER_FOUR}, {}).to_csv("mine.csv")
    said = call("--from", "mine.csv", "--reference", "lab.csv")
    assert "a measurement: add them to `datasets:` in params.yaml" in said
    assert "paper_v1" not in said


def test_what_has_no_place_is_refused_with_what_to_train(project: Path) -> None:
    Matrix.from_cells({("new_net", "digits", 0): 0.9}, {}).to_csv("digits.csv")
    said = call("--from", "digits.csv", code=2)
    assert "mobilebench init proxy_4 --model NAME" in said
    assert "there is no" in call("--from", "nowhere.csv", code=2)
    results(("dogs", "cifar10"))
    assert "no model other in the matrix" in call("other", code=2)


def test_a_model_of_the_references_name_is_told_from_it(project: Path) -> None:
    Matrix.from_cells({("starnet", d, 0): v for d, v in VALUES.items()}, {}).to_csv("mine.csv")
    assert "starnet (yours) stands" in call("--from", "mine.csv")


@pytest.mark.parametrize(
    ("place", "said"), [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd")]
)
def test_ordinals(place: int, said: str) -> None:
    assert ordinal(place) == said
