"""Opening, checking and replacing packed datasets; nothing half-written is ever seen."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from mobilebench.config.data import OwnData
from mobilebench.config.recipe import DataPolicy
from mobilebench.datasets import DataError, get
from mobilebench.datasets.custom import spec_of
from mobilebench.datasets.labels import row_labels
from mobilebench.datasets.packing.packed import open_packed, read_meta
from mobilebench.datasets.packing.prepare import packing_identity
from mobilebench.evaluation.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DIGESTS = {
    "toy_shapes": "7f98cfbf366a68a284eb0aacbada3aad257d62f9524d2f64183f56fd7d06b7e1",
    "toy_textures": "179fd171afbf2b47b5aae3d65524e25767167c5927f45fd90bd8c9847013dcdf",
    "toy_scenes": "201977c8eaccd7a5080168ace3adf96ad704b0f760cbabda5885e876b56cd0b4",
    "toy_grades": "03359607cb69f14531b1da92415e439bdfca254a6f0e7005a488d3df13348f8e",
}


IDENTITIES = {  # of data packed with the default policy: they change with `version`
    "toy_shapes": "2720c510d06b6fe9e7981e75f68d5d07f49c0e297070accb879483db373be6d2",
    "toy_textures": "e87663944cddeede88a43975c47e7fc071744306f6bf2d90ecacd3b80ffcd6be",
    "digits": "807e963c446f07b28e0c959de9f9eec6ce8bb461bc509abf69ec4455dc025cd9",
    "cifar10": "24e4576ad330aa5053f6c6baf51f386b1da8bd88e3c9eb8cde46e4cd122f365c",
    "ham10k": "4d10e6ae1918f4b8d0bf84a43b24b660af48ba75089412a23c750a372514620d",
}


@pytest.fixture
def toy(packed_at: Callable[..., Path]) -> Path:
    return packed_at("toy_shapes")


@pytest.mark.parametrize("dataset_id", sorted(DIGESTS))
def test_the_toys_are_the_same_on_every_machine(dataset_id: str, packed_at: Callable[..., Path]) -> None:
    assert open_packed(packed_at(dataset_id)).meta.digest == DIGESTS[dataset_id]


def test_a_changed_pixel_is_found_by_verify_and_named(toy: Path) -> None:
    with (toy / "images.npy").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)[0]
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last ^ 1]))
    with pytest.raises(DataError, match=r"1 of 640 images.*rows 639"):
        open_packed(toy).verify()


@pytest.mark.parametrize("name", ["images.npy", "labels.npy", "index.csv", "meta.json"])
@pytest.mark.parametrize("how", ["cut", "empty", "gone", "garbage"])
def test_damage_is_found_on_opening(name: str, how: str, toy: Path) -> None:
    path = toy / name
    content = path.read_bytes()
    if how == "gone":
        path.unlink()
    else:
        path.write_bytes({"cut": content[: len(content) // 2], "empty": b"", "garbage": b"\x93NUMPY?!"}[how])
    with pytest.raises(DataError, match=r"damaged|holds no packed"):
        open_packed(toy)


def test_a_swapped_label_is_found_on_opening(toy: Path) -> None:
    labels = np.load(toy / "labels.npy")
    labels[0], labels[1] = labels[1], labels[0]
    np.save(toy / "labels.npy", labels)
    with pytest.raises(DataError, match="do not match the digest"):
        open_packed(toy)


@pytest.mark.parametrize("dataset_id", sorted(IDENTITIES))
def test_what_was_packed_before_need_not_be_packed_again(dataset_id: str) -> None:
    assert packing_identity(get(dataset_id), DataPolicy()) == IDENTITIES[dataset_id]


def test_a_single_label_set_has_the_files_and_the_digest_that_it_had(packed_at: Callable[..., Path]) -> None:
    folder = packed_at("toy_shapes", DataPolicy(val_fraction=0.2))
    meta = read_meta(folder)
    assert meta.data_digest == "2b221016d44fa17e9b47749cd1c2a9db8f2c44a7175acbe4cf0ca88d3b1ce3af"
    assert not {"target", "metric"} & set(json.loads((folder / "meta.json").read_text()))
    assert (meta.target, meta.metric) == ("single_label", "")


def test_the_target_is_in_the_datas_identity_and_the_metric_is_not(toy: Path) -> None:
    meta = read_meta(toy)
    digests = {replace(meta, target=target).data_digest for target in TARGETS}
    assert len(digests) == 3
    assert replace(meta, metric="macro_f1").data_digest == meta.data_digest
    spec = get("toy_shapes")
    assert len({packing_identity(replace(spec, target=target), DataPolicy()) for target in TARGETS}) == 3


@pytest.mark.parametrize(("dataset_id", "target"), [("toy_scenes", "multi_label"), ("toy_grades", "ordinal")])
def test_what_is_predicted_comes_back_from_disk(dataset_id: str, target: str, packed_at: Callable[..., Path]) -> None:
    packed = open_packed(packed_at(dataset_id))
    assert packed.meta.target == target
    assert [line.label for line in packed.index] == row_labels(packed.labels)
    packed.verify()


def test_several_labels_in_a_cell_of_the_index(packed_at: Callable[..., Path]) -> None:
    folder = packed_at("toy_scenes")
    cells = [line.split(",")[1] for line in (folder / "index.csv").read_text().splitlines()[1:16]]
    numbers = itertools.chain.from_iterable(itertools.combinations("0123", n) for n in range(4))
    assert cells == ["|".join(some) for some in numbers]


@pytest.mark.parametrize("target", ["single_label", "ordinal", "multi_label", "regression"])
@pytest.mark.parametrize("dataset_id", ["toy_scenes", "toy_grades"])
def test_labels_of_another_shape_than_the_target_says_are_refused(
    dataset_id: str, target: str, packed_at: Callable[..., Path]
) -> None:
    folder = packed_at(dataset_id)
    meta = json.loads((folder / "meta.json").read_text())
    (folder / "meta.json").write_text(json.dumps(meta | {"target": target}))
    if (target == "multi_label") is (dataset_id == "toy_scenes") and target != "regression":
        assert open_packed(folder).meta.target == target
        return
    with pytest.raises(DataError, match=f"for target {target} and|has target '{target}'"):
        open_packed(folder)


def test_a_changed_label_of_several_is_found_on_opening(packed_at: Callable[..., Path]) -> None:
    folder = packed_at("toy_scenes")
    labels = np.load(folder / "labels.npy")
    labels[0, 0] ^= 1
    np.save(folder / "labels.npy", labels)
    with pytest.raises(DataError, match="do not match the digest"):
        open_packed(folder)


def test_another_metric_is_written_into_what_is_packed_without_its_images(
    image_folder: Path, packed_at: Callable[..., Path], tmp_path: Path
) -> None:
    own = OwnData(folder=str(image_folder))
    folder = packed_at("mine", own={"mine": own})
    before, pixels = open_packed(folder), (folder / "images.npy").stat()
    image_folder.rename(tmp_path / "away")
    for metric in ("macro_f1", None):
        wanted = replace(own, metric=metric)
        after = open_packed(packed_at("mine", own={"mine": wanted}))
        assert after.meta.metric == (metric or "")
        assert after.meta.identity == packing_identity(spec_of("mine", wanted), DataPolicy())
        assert after.meta.data_digest == before.meta.data_digest
        assert (folder / "images.npy").stat().st_mtime_ns == pixels.st_mtime_ns
    assert after.meta == before.meta


def test_another_format_asks_to_prepare_again(toy: Path) -> None:
    meta = json.loads((toy / "meta.json").read_text())
    (toy / "meta.json").write_text(json.dumps(meta | {"format": 99}))
    with pytest.raises(DataError, match="format 99"):
        open_packed(toy)


def test_nothing_there_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"mobilebench data prepare nowhere.*dvc pull"):
        open_packed(tmp_path / "nowhere")


def test_another_policy_replaces_the_packed_set(toy: Path, packed_at: Callable[..., Path]) -> None:
    before = open_packed(toy).meta
    after = open_packed(packed_at("toy_shapes", DataPolicy(val_fraction=0.1))).meta
    assert (after.counts["val"], before.counts["val"]) == (32, 0)
    assert [path.name for path in toy.parent.iterdir() if path.name[0] == "."] == [".toy_shapes.lock"]


def test_a_deleted_out_is_made_again(toy: Path, packed_at: Callable[..., Path]) -> None:
    digest = open_packed(toy).meta.digest
    for path in toy.iterdir():
        path.unlink()
    assert open_packed(packed_at("toy_shapes")).meta.digest == digest


def test_rows_of_an_unknown_split(toy: Path) -> None:
    with pytest.raises(ValueError, match="validation"):
        open_packed(toy).rows("validation")


KILLED = """
import sys, time
from pathlib import Path
from mobilebench.datasets.packing import pack
from mobilebench.config.data import OwnData
from mobilebench.datasets.packing.prepare import prepare
from mobilebench.config.recipe import DataPolicy

if __name__ == "__main__":
    folder, out = sys.argv[1:]
    pack.FEW = 0
    prepare("mine", policy=DataPolicy(), raw_dir=Path(out), out_dir=Path(out), workers=2,
            own={"mine": OwnData(folder=folder)})
"""


def _children(pid: int) -> list[int]:
    import psutil

    try:
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is POSIX")
def test_killed_in_the_middle_it_leaves_nothing_and_no_processes(
    image_folder: Path, packed_at: Callable[..., Path], tmp_path: Path
) -> None:
    import psutil

    for name in ("cats", "dogs"):  # enough work for the kill to fall into
        source = (image_folder / name / "0.jpg").read_bytes()
        for i in range(10, 500):
            (image_folder / name / f"{i}.jpg").write_bytes(source)
    out = tmp_path / "packed"
    script = tmp_path / "run.py"
    script.write_text(KILLED)
    process = subprocess.Popen([sys.executable, script, image_folder, out], stderr=subprocess.DEVNULL)
    partial = out / ".mine.partial" / "images.npy"
    deadline = time.monotonic() + 60
    while not partial.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.005)
    workers = _children(process.pid)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert partial.exists()
    assert not (out / "mine").exists()
    deadline = time.monotonic() + 10
    while any(psutil.pid_exists(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in workers if psutil.pid_exists(pid)]
    packed = open_packed(packed_at("mine", own={"mine": OwnData(folder=str(image_folder))}))
    packed.verify()
    assert not partial.exists()
