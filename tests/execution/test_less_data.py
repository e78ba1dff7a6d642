"""A cell of a derived dataset: its trainer gets the images that were drawn, no others, and the parent's test."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import grids
import numpy as np
import pytest
import torch
from click.testing import CliRunner

from mobilebench.cli import main
from mobilebench.config.data import DataSource, DerivedData, OwnData
from mobilebench.datasets.packing.packed import open_packed
from mobilebench.datasets.packing.prepare import prepare
from mobilebench.datasets.val_cut import cut
from mobilebench.execution.cell_run import train_data
from mobilebench.execution.suites import open_suite
from mobilebench.runs.records import read_results
from mobilebench.runs.status import grid_states
from mobilebench.sensitivity.trial import probe_data
from mobilebench.training.image_store import Store

if TYPE_CHECKING:
    from mobilebench.datasets.packing.packed import Packed
    from mobilebench.training.data import Split

SOURCES: dict[str, DataSource] = {
    "blobs": OwnData(folder="source"),
    "some": DerivedData("blobs", per_class=4),
    "scenes": DerivedData("toy_scenes", max_train=40),
}


@pytest.fixture
def packed(project: Path) -> dict[str, Packed]:
    policy = replace(grids.write(project).protocol.data, val_fraction=0.25)

    def opened(name: str) -> Packed:
        return open_packed(
            prepare(name, policy=policy, raw_dir=Path("raw"), out_dir=Path("packed"), workers=1, own=SOURCES)
        )

    return {name: opened(name) for name in ("some", "scenes", "blobs", "toy_scenes")}


def given(split: Split) -> tuple[np.ndarray, np.ndarray]:
    """What the loop takes of a split, in its order."""
    store = Store(split, torch.device("cpu"))
    ((images, labels),) = store.take([torch.arange(len(store))])
    return images.numpy(), labels.numpy()


@pytest.mark.parametrize(("name", "parent"), [("some", "blobs"), ("scenes", "toy_scenes")])
def test_the_trainer_gets_exactly_the_images_drawn(packed: dict[str, Packed], name: str, parent: str) -> None:
    few, whole = packed[name], packed[parent]
    data = train_data(few)
    assert data.val is not None
    assert data.test is not None
    lines = {line.path: row for row, line in enumerate(whole.index)}
    for split, part in data.splits.items():
        rows = [lines[few.index[row].path] for row in few.rows(split)]
        images, labels = given(part)
        np.testing.assert_array_equal(images, whole.images[np.array(rows)])
        np.testing.assert_array_equal(labels, whole.labels[rows])
        assert {whole.index[row].split for row in rows} == {split}
    assert (len(data.train), len(data.test)) == (few.meta.counts["train"], whole.meta.counts["test"])
    assert (data.mean, data.std) == (few.meta.mean, few.meta.std) != (whole.meta.mean, whole.meta.std)


def test_a_probes_trial_chooses_on_a_part_of_what_was_drawn(packed: dict[str, Packed], project: Path) -> None:
    policy = replace(grids.write(project).protocol.data, val_fraction=0.0)
    few = open_packed(
        prepare("some", policy=policy, raw_dir=Path("raw"), out_dir=Path("packed"), workers=1, own=SOURCES)
    )
    parts = cut(few, 0.25, 0)
    data = probe_data(few, parts)
    assert data.val is not None
    for part, rows in ((data.train, parts.train), (data.val, parts.val)):
        np.testing.assert_array_equal(given(part)[0], np.asarray(few.images)[rows])
    assert len(parts.train) + len(parts.val) == 8


def test_a_suite_of_a_derived_set_from_params_yaml_to_its_result(project: Path, store: Path) -> None:
    """It gives what its images give that were packed by themselves, to the last bit."""
    grids.write(project)
    shutil.rmtree("data")
    text = Path("params.yaml").read_text().replace("models: [shufflenet, starnet]", "models: [shufflenet]")
    text += "  some: {of: blobs, per_class: 4}\n  alone: {folder: few}\n"

    def call(*args: str) -> str:
        done = CliRunner().invoke(main, list(args))
        assert done.exit_code == 0, done.output
        return " ".join(done.output.split())

    Path("params.yaml").write_text(text.replace("datasets: [blobs]", "datasets: [some]"))
    assert "8 of the 32 train images of blobs (per_class 4, seed 0)" in call("data", "prepare", "some")
    call("train", "some")
    for line in open_packed("data/packed/some").index:
        (Path("few") / line.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(Path("source") / line.path, Path("few") / line.path)
    Path("params.yaml").write_text(text.replace("datasets: [blobs]", "datasets: [some, alone]"))
    call("data", "prepare", "alone")
    call("train", "alone")
    some, alone = sorted(read_results(Path("results")), key=lambda record: record.dataset != "some")
    assert (some.data_digest, some.metrics) == (alone.data_digest, alone.metrics)
    said = call("data", "list", "some")
    assert "images: 8 train, 0 val, 32 test" in said
    assert "drawn: 8 of the 32 train images of blobs" in said
    assert "some" in call("data", "audit", "some")
    assert {state.name for state in grid_states(open_suite()).values()} == {"finished"}

    shutil.rmtree("data/packed/blobs")
    states = {cell.dataset: state for cell, state in grid_states(open_suite()).items()}
    assert (states["some"].name, states["alone"].name) == ("unprepared", "finished")
    assert "it is rows of data/packed/blobs, which is not here" in states["some"].detail
    refused = CliRunner().invoke(main, ["train", "some"])
    assert refused.exit_code != 0
    assert "mobilebench data prepare some" in " ".join(refused.output.split())
    assert "packed, no blobs" in call("data", "list", "some")
