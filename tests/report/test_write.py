"""What lies on disk after a report: complete, deterministic, with every number's n, interval or "single run"."""

from pathlib import Path

import numpy as np
import pytest

from mobilebench.report import ReportInputs, write_report


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, inputs: ReportInputs) -> Path:
    out = tmp_path_factory.mktemp("report")
    paths = write_report(out, inputs)
    assert all(path.is_file() for path in paths)
    return out


def test_markdown_shows_every_model_and_every_linked_figure_exists(folder: Path, inputs: ReportInputs) -> None:
    words = (folder / "report.md").read_text()
    assert all(model in words for model in inputs.matrix.models)
    links = [line.split("](")[1].rstrip(")") for line in words.splitlines() if line.startswith("![")]
    assert links
    for link in links:
        assert (folder / link).read_bytes().startswith(b"\x89PNG")
    assert "training seeds within each cell, then test images" in words


def test_nothing_half_written_is_left(folder: Path) -> None:
    assert not list(folder.rglob("*.part"))


def test_the_same_inputs_give_the_same_files(folder: Path, inputs: ReportInputs, tmp_path: Path) -> None:
    for path in write_report(tmp_path, inputs):
        assert path.read_bytes() == (folder / path.relative_to(tmp_path)).read_bytes(), path.name


def test_accuracy_table_holds_the_matrix(folder: Path, inputs: ReportInputs) -> None:
    lines = [line.split(",") for line in (folder / "tables" / "accuracy.csv").read_text().splitlines()[1:]]
    shown = {line[0]: [float(x) for x in line[1:]] for line in lines}
    for i, model in enumerate(inputs.matrix.models):
        assert shown[model] == pytest.approx(np.asarray(inputs.matrix.mean[i]).tolist())
