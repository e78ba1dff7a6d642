"""`mobilebench predict`, as a person calls it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from mobilebench.cli import main

NAME, DARK = "tiny/starnet/blobs", "source/test/dark/00.png"


def call(*words: str) -> Result:
    return CliRunner().invoke(main, ["predict", *words])


def test_a_line_an_image_with_its_classes(trained: Path) -> None:
    done = call(NAME, DARK)
    assert done.exit_code == 0, done.output
    (line,) = (line for line in done.output.splitlines() if line.startswith(DARK))
    _image, said, probability, other, rest = line.split()
    assert {said, other} == {"dark", "light"}
    assert float(probability) + float(rest) == pytest.approx(1, abs=0.0011)
    assert "next" not in call(NAME, DARK, "--top", "1").output


def test_unreadable_images_are_named_and_the_others_answered_in_the_document_too(trained: Path) -> None:
    Path("broken.jpg").write_text("no image")
    done = call(NAME, "broken.jpg", DARK, "--top", "1", "--picture", "out.png", "--json")
    assert done.exit_code == 1
    assert "1 of the images named could not be read" in done.stderr
    found = json.loads(done.stdout)
    assert (found["model"], found["dataset"], found["seed"], found["target"]) == ("starnet", "blobs", 0, "single_label")
    (answer,) = found["answers"]
    assert (answer["image"], len(answer["classes"])) == (DARK, 1)
    assert answer["said"] == [answer["classes"][0]["class"]]
    assert found["unreadable"][0]["image"] == "broken.jpg"
    assert found["written"] == ["out.png"]
    assert Path("out.png").exists()
    assert call(NAME, "broken.jpg").exit_code == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "found neither a network nor an image; expected RUN or FILE.onnx"),
        (("starnet",), "found starnet and no image"),
        (("starnet", "mynet"), "'starnet' names no run: expected run:ID or EXPERIMENT/MODEL/DATASET"),
        (("mynet", "--from", "results"), "predict has no --from"),
        (("--matrix", "results"), "predict has no --from"),
        (("mynet", "--reference", "published"), "predict has no --reference"),
    ],
)
def test_what_predict_did_before_is_sent_to_place(project: Path, words: tuple[str, ...], said: str) -> None:
    done = call(*words)
    assert done.exit_code == 2
    assert said in " ".join(done.stderr.split())
    assert "`mobilebench place`" in " ".join(done.stderr.split())
