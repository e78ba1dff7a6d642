"""What a trained network says of image files."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import mobilebench as mb
from mobilebench.analysis.answers import Answers, TorchNetwork, answer_files
from mobilebench.analysis.image_files import image_files
from mobilebench.report.answer_sheet import write_sheets

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mobilebench.execution.model_file import ModelFile

pytestmark = pytest.mark.usefixtures("trained")
NAME = "tiny/starnet/blobs"


@dataclass
class Fixed:
    """Answers every image with the same logits."""

    made: ModelFile
    of_image: tuple[float, ...]

    def logits(self, stored: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.tile(np.array(self.of_image, np.float32), (len(stored), 1))


def network() -> TorchNetwork:
    return TorchNetwork(mb.load_model(NAME))


def said_of_one(logits: tuple[float, ...], target: str, classes: tuple[str, ...]) -> Answers:
    made = replace(network().made, target=target, classes=classes)
    return answer_files(Fixed(made, logits), ["source/test/dark/00.png"])


def test_test_images_have_the_answers_that_the_run_recorded() -> None:
    kept = mb.load_predictions(NAME)
    found = answer_files(network(), ["source/test"])
    by_file = {str(answer.image): answer for answer in found.answers}
    assert found.unreadable == ()
    assert len(by_file) == len(kept) == 32
    for place, name in enumerate(kept.ids):
        answer = next(answer for file, answer in by_file.items() if file.endswith(str(name)))
        assert answer.said == (("dark", "light")[kept.predicted[place]],)
        probability = dict(answer.classes)
        assert [probability["dark"], probability["light"]] == pytest.approx(kept.probabilities[place], abs=1e-3)


def test_one_class_is_said_and_its_probabilities_add_up() -> None:
    (answer,) = said_of_one((0.0, 2.0, 1.0), "ordinal", ("mild", "severe", "none")).answers
    assert answer.said == ("severe",)
    assert [name for name, _ in answer.classes] == ["severe", "none", "mild"]
    assert [p for _, p in answer.classes] == pytest.approx(np.exp([2, 1, 0]) / np.exp([2, 1, 0]).sum())


def test_of_several_labels_every_class_above_one_half_is_said() -> None:
    (answer,) = said_of_one((-1.0, 2.0, 0.5), "multi_label", ("a", "b", "c")).answers
    assert answer.said == ("b", "c")
    assert [p for _, p in answer.classes] == pytest.approx(1 / (1 + np.exp([-2, -0.5, 1])))
    (answer,) = said_of_one((-1.0, -2.0), "multi_label", ("a", "b")).answers
    assert answer.said == ()


def test_files_folders_and_patterns_stand_for_images_once(project: Path) -> None:
    Path("source/test/dark/notes.txt").write_text("no image")
    Path("source/test/dark/.hidden.png").write_text("no image")
    files, missing = image_files(["source/test/dark/03.png", "source/test/dark", "source/**/light/0[01].png"])
    assert [str(file) for file in files[:2]] == ["source/test/dark/03.png", "source/test/dark/00.png"]
    assert len(files) == 16 + 4
    assert missing == []
    Path("empty").mkdir()
    files, missing = image_files(["gone.png", "gone/*.png", "empty"])
    assert files == []
    assert [reason for _, reason in missing] == [
        "there is no such file",
        "no file matches this pattern",
        "no file below this folder is called like an image",
    ]


def test_a_name_with_the_signs_of_a_pattern_is_the_file_that_has_it() -> None:
    strange = Path("source/test/dark/00.png").rename("a[1].png")
    assert image_files(["a[1].png"]) == ([strange], [])


def test_what_cannot_be_read_is_named_and_the_others_are_answered() -> None:
    Path("broken.jpg").write_text("no image")
    found = answer_files(network(), ["broken.jpg", "source/test/light/00.png", "gone.png"])
    assert [str(answer.image) for answer in found.answers] == ["source/test/light/00.png"]
    assert {name for name, _ in found.unreadable} == {"broken.jpg", "gone.png"}
    with pytest.raises(mb.UserError, match=r"no image could be read: .*broken\.jpg: UnidentifiedImageError"):
        answer_files(network(), ["broken.jpg"])


def test_networks_that_no_image_file_suits_are_refused() -> None:
    made = network().made
    many = replace(made, mean=(0.5,) * 13, std=(1.0,) * 13, dtype="uint16")
    with pytest.raises(mb.UserError, match=re.escape("takes images of 13 channels of uint16")):
        answer_files(Fixed(many, (0, 1)), ["source/test"])
    with pytest.raises(mb.UserError, match="logits that are not finite; it has diverged"):
        answer_files(Fixed(made, (0, float("nan"))), ["source/test"])


def test_a_sheet_takes_forty_images_and_a_folder_as_many_sheets_as_it_takes() -> None:
    from PIL import Image

    net = network()
    found = answer_files(net, ["source"])
    written, left = write_sheets(Path("answers.png"), found.answers, net.made)
    assert (written, left) == ((Path("answers.png"),), 64 - 40)
    with Image.open("answers.png") as sheet:
        assert sheet.width < sheet.height  # five columns, eight rows
    written, left = write_sheets(Path("sheets"), found.answers, net.made)
    assert [path.name for path in written] == ["answers_1.png", "answers_2.png"]
    assert left == 0
    with pytest.raises(mb.UserError, match=r"expected a folder, or a file that ends in \.png"):
        write_sheets(Path("answers.pdf"), found.answers, net.made)
    with pytest.raises(mb.UserError, match="cannot be written"):
        write_sheets(Path("params.yaml/below"), found.answers, net.made)
