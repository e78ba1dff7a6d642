"""What is particular to the datasets of the studies of transfer, on tiny copies, and what their readers refuse."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from tiny_transfer import CCT

from mobilebench.config.recipe import DataPolicy
from mobilebench.datasets import DataError, get
from mobilebench.datasets.acquire.archive import unpack
from mobilebench.datasets.catalog import eurosat
from mobilebench.datasets.packing.packed import open_packed
from mobilebench.datasets.packing.pictures import pictures

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def unpacked(official: dict[str, dict[str, bytes]], tmp_path: Path) -> Callable[[str], Path]:
    """Unpack a dataset's tiny archives, and return the folder: it is the test's, to spoil."""

    def run(raw_name: str) -> Path:
        for name, content in official[raw_name].items():
            (tmp_path / name).write_bytes(content)
            unpack(tmp_path / name, tmp_path / raw_name)
        return tmp_path / raw_name

    return run


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_aptos_is_ordinal_and_read_by_quadratic_kappa() -> None:
    assert (get("aptos2019").target, get("aptos2019").metric) == ("ordinal", "qwk")


@pytest.mark.parametrize("dataset_id", ["cassava", "aptos2019", "hpa"])
def test_the_order_of_the_table_is_of_no_consequence(dataset_id: str, unpacked: Callable[[str], Path]) -> None:
    root = unpacked(dataset_id)
    before = get(dataset_id).read(root, DataPolicy()).entries
    header, *lines = (root / "train.csv").read_text().splitlines()
    (root / "train.csv").write_text("\n".join([header, *reversed(lines)]))
    assert get(dataset_id).read(root, DataPolicy()).entries == before


CCT_LISTS = "eccv_18_annotation_files"
BANDS = "ds/images/remote_sensing/otherDatasets/sentinel_2/tif"
# dataset, file below its folder, what of it is replaced by what ("" for all of it; a folder that ends with / stays),
# and what is said
SPOILED = [
    (
        "cassava",
        "train.csv",
        "",
        "",
        r"holds no train\.csv; expected cassava-leaf-disease-classification\.zip unpacked",
    ),
    ("cassava", "train.csv", "image_id", "id", r"columns id, label; expected columns image_id, label"),
    (
        "cassava",
        "train.csv",
        ".jpg,0",
        ".jpg,5",
        r"train\.csv, line 2: label is '5', expected a whole number from 0 to 4",
    ),
    ("cassava", "train_images/0000000000.jpg", "", "", r"lacks 1 of the 50 images .*'0000000000\.jpg'"),
    ("aptos2019", "train.csv", "", "", r"holds no train\.csv; expected aptos2019-blindness-detection\.zip unpacked"),
    ("aptos2019", "train.csv", ",0", ",severe", r"line 2: diagnosis is 'severe', expected a whole number from 0 to 4"),
    ("aptos2019", "train.csv", "000000001eef", "000000000000", r"line 3: id_code '0+' is in line 2 too"),
    ("aptos2019", "train_images/000000000000.png", "", "", r"lacks 1 of the 50 images .*'000000000000\.png'"),
    (
        "plantvillage",
        "Plant_leave_diseases_dataset_without_augmentation/Apple___Apple_scab",
        "",
        "",
        r"holds no Apple___Apple_scab; expected Plant_leaf_diseases_dataset_without_augmentation\.zip unpacked",
    ),
    (
        "plantvillage",
        "Plant_leave_diseases_dataset_without_augmentation/Tomato___healthy/",
        "",
        "",
        r"Tomato___healthy holds no \*\.jpg or \*\.jpeg or \*\.png; expected a folder for each of 39 classes",
    ),
    ("plantclef", "PlantCLEF_Subset/val", "", "", r"holds no val; expected PlantCLEF_Subset/\{train,val\}"),
    ("plantclef", "PlantCLEF_Subset/val/10", "", "", r"not every species is in both train and val, for example 10\."),
    ("plantclef", "PlantCLEF_Subset/val/10/", "", "", r"val/10 holds no \*\.jpg"),
    ("plantclef", "PlantCLEF_Subset/train", "", "", r"not every species is in both train and val, for example 10, 2"),
    ("rsna_pneumonia", "stage_2_train_labels.csv", "", "", r"holds no stage_2_train_labels\.csv; expected rsna-pneu"),
    ("rsna_pneumonia", "stage_2_train_images/00000000-fd14-4e49.dcm", "", "", r"lacks 1 of the 30 images .*'0+-fd14"),
    (
        "rsna_pneumonia",
        "stage_2_train_labels.csv",
        "453.0,1",
        "453.0,0",
        r"line 4: Target of 00001eef-.* is 0, an earlier",
    ),
    (
        "rsna_pneumonia_grouped",
        "stage_2_train_labels.csv",
        "453.0,1",
        "453.0,",
        r"line 4: Target is '', expected a whole",
    ),
    ("cct20", "eccv_18_annotation_files", "", "", r"holds no eccv_18_annotation_files; expected eccv_18_annotations"),
    ("cct20", f"{CCT_LISTS}/cis_val_annotations.json", "", "", r"cis_val_annotations\.json is not the official list"),
    ("cct20_trans", f"{CCT_LISTS}/trans_val_annotations.json", "{", "[", r"trans_val_annotations\.json .*JSONDecode"),
    ("cct20", f"{CCT_LISTS}/train_annotations.json", "categories", "kinds", r"list \(KeyError: 'categories'\); fetch"),
    ("cct20", f"{CCT_LISTS}/train_annotations.json", "location", "place", r"list \(KeyError: 'location'\); fetch"),
    ("cct20", f"{CCT_LISTS}/cis_test_annotations.json", "opossum", "possum", r"category 1 is used without"),
    ("cct20", f"{CCT_LISTS}/train_annotations.json", '"id": 21,', '"id": 22,', r"category 21 is used without"),
    (
        "cct20",
        f"{CCT_LISTS}/train_annotations.json",
        '"category_id": 21',
        '"category_id": 2',
        r"category 2 is used without",
    ),
    ("cct20", "eccv_18_all_images_sm/5858train-03.jpg", "", "", r"lacks .*5858train-03\.jpg, which .*train_anno"),
    ("cct20", f"{CCT_LISTS}/cis_val_annotations.json", '"id": "5858cisval-00"', '"id": "5858cisval-01"', r"line has"),
    ("melanoma", "melanoma-2019", "", "", r"holds no melanoma-2019/train\.csv; expected folders melanoma-2020 and mel"),
    ("melanoma", "melanoma-2020/train.csv", "tfrecord", "fold", r"expected columns image_name, target, tfrecord"),
    (
        "melanoma",
        "melanoma-2020/train.csv",
        "IP_0000003",
        "",
        r"2020/train\.csv, line 5: patient_id is '', expected an",
    ),
    ("melanoma_grouped", "melanoma-2020/train.csv", "IP_0000003", "-1", r"line 5: patient_id is '-1', expected an id"),
    ("melanoma", "melanoma-2020/train.csv", "ISIC_0000001", "ISIC_0000000", r"line 3: image_name 'ISIC_0000000' is in"),
    ("melanoma", "melanoma-2019/train.csv", "1,0,1024", "2,0,1024", r"line 2: target is '2', expected a whole number"),
    ("melanoma", "melanoma-2019/train.csv", "1,0,1024", "1,-2,1024", r"line 2: tfrecord is '-2', expected a whole"),
    ("melanoma", "melanoma-2020/train/ISIC_0000090.jpg", "", "", r"lacks 1 of the 62 images .*'ISIC_0000090\.jpg'"),
    ("hpa", "train.csv", "Target", "Places", r"columns Id, Places; expected columns Id, Target"),
    ("hpa", "train.csv", "-11e8,2 0", "-11e8,2 28", r"line 2: Target is '2 28', expected numbers from 0 to 27"),
    ("hpa", "train.csv", "-11e8,2 0", "-11e8,", r"line 2: Target is '', expected numbers"),
    ("hpa", "train/00000000-bbad-11e8_yellow.png", "", "", r"lacks 1 of the 448 images .*'0+-bbad-11e8_yellow\.png'"),
    ("eurosat_ms", f"{BANDS}/AnnualCrop", "", "", r"holds no AnnualCrop; expected EuroSATallBands\.zip unpacked"),
    ("eurosat_ms", f"{BANDS}/River/", "", "", r"River holds no \*\.tif; expected a folder for each of 10 classes"),
]


@pytest.mark.parametrize(("dataset_id", "name", "old", "new", "said"), SPOILED)
def test_what_is_wrong_is_named(
    dataset_id: str, name: str, old: str, new: str, said: str, unpacked: Callable[[str], Path]
) -> None:
    root = unpacked(get(dataset_id).raw_name)
    if old:
        changed(root / name, old, new)
    elif (root / name).is_dir():
        shutil.rmtree(root / name)
        if name.endswith("/"):
            (root / name).mkdir()
    else:
        (root / name).unlink()
    with pytest.raises(DataError, match=said):
        get(dataset_id).read(root, DataPolicy())


def test_plantclef_takes_its_classes_from_the_folders_and_tests_on_val(unpacked: Callable[[str], Path]) -> None:
    reading = get("plantclef").read(unpacked("plantclef"), DataPolicy())
    assert reading.classes == ("10", "2", "abies alba")
    assert {(entry.path.split("/")[0], entry.split) for entry in reading.entries} == {
        ("train", "train"),
        ("val", "test"),
    }


def test_plantvillage_has_the_images_that_are_no_jpegs_too(unpacked: Callable[[str], Path]) -> None:
    reading = get("plantvillage").read(unpacked("plantvillage"), DataPolicy())
    assert list(reading.classes) == sorted(reading.classes)
    assert "Background_without_leaves/image (5).png" in {entry.path for entry in reading.entries}


def test_rsna_by_line_has_an_image_as_often_as_it_has_boxes_and_by_patient_once(
    unpacked: Callable[[str], Path],
) -> None:
    root = unpacked("rsna_pneumonia")
    by_line, by_patient = (get(name).read(root, DataPolicy()) for name in ("rsna_pneumonia", "rsna_pneumonia_grouped"))
    assert [len(reading.entries) for reading in (by_line, by_patient)] == [35, 30]
    assert by_line.files is not None
    assert by_patient.files is not None
    assert len({entry.path for entry in by_line.entries}) == 35
    assert set(by_line.files) == set(by_patient.files)
    assert len(set(by_patient.files)) == 30
    assert sum(entry.path.endswith("-2.dcm") for entry in by_line.entries) == 5
    for reading in (by_line, by_patient):
        assert all(str(path).endswith(f"{e.group}.dcm") for path, e in zip(reading.files, reading.entries, strict=True))
        assert sum(entry.label for entry in reading.entries) == {35: 15, 30: 10}[len(reading.entries)]


@pytest.mark.parametrize(("dataset_id", "val", "test"), [("cct20", "cis", "cis"), ("cct20_trans", "trans", "trans")])
def test_cct20_has_each_image_of_one_kind_once(
    dataset_id: str, val: str, test: str, unpacked: Callable[[str], Path]
) -> None:
    reading = get(dataset_id).read(unpacked("cct20"), DataPolicy())
    assert reading.classes == tuple(name for number, name in sorted(CCT.items()) if number != 30)
    parts = {split: [e for e in reading.entries if e.split == split] for split in ("train", "val", "test")}
    names = {split: {e.path.partition("5858")[2].partition("-")[0] for e in some} for split, some in parts.items()}
    assert names == {"train": {"train"}, "val": {f"{val}val"}, "test": {f"{test}test"}}
    # of each list the empty one and that of two kinds are left out; two dogs are one entry, and a coyote is no empty
    assert {split: len(some) for split, some in parts.items()} == {"train": 32, "val": 17, "test": 17}
    labels = [reading.classes[e.label] for e in parts["test"] if isinstance(e.label, int)]
    assert [name for name in reading.classes if labels.count(name) == 2] == ["dog", "coyote"]
    groups = [{entry.group for entry in parts[split]} for split in ("train", "test")]
    assert groups == [{"38"}, {"38"}] if dataset_id == "cct20" else groups == [{"38"}, {"7"}]


def test_melanoma_is_split_by_folds_as_the_study_drew_them(unpacked: Callable[[str], Path]) -> None:
    """Of 15 folds of 2020 and 30 of 2019 the study tested on these; the draw itself is numpy's."""
    reading = get("melanoma").read(unpacked("melanoma"), DataPolicy(split_seed=7))
    assert (reading.classes, get("melanoma").metric) == (("benign", "malignant"), "roc_auc")
    tested = {e.path for e in reading.entries if e.split == "test"}
    of_2020 = {f"2020/ISIC_{i:07d}.jpg" for i in range(60) if i % 15 in {3, 6, 8}}
    assert tested == of_2020 | {f"2019/ISIC_{1000 + i:07d}.jpg" for i in range(60) if i % 30 in {0, 2, 5, 11, 12, 21}}
    assert not any("ISIC_000009" in entry.path for entry in reading.entries)  # duplicates


def test_melanoma_takes_the_folders_by_either_name_and_2019_without_patients(unpacked: Callable[[str], Path]) -> None:
    root = unpacked("melanoma")
    before = get("melanoma_grouped").read(root, DataPolicy())
    assert {entry.group for entry in before.entries if entry.path.startswith("2019")} == {""}
    table = root / "melanoma-2019" / "train.csv"
    lines = [line.split(",") for line in table.read_text().splitlines()]
    table.write_text("\n".join(",".join([line[0], *line[2:]]) for line in lines))
    (root / "melanoma-2020").rename(root / "jpeg-melanoma-512x512")
    (root / "melanoma-2019").rename(root / "jpeg-isic2019-512x512")
    assert get("melanoma_grouped").read(root, DataPolicy()).entries == before.entries


def test_hpa_has_a_channel_a_file_and_every_place_in_train_and_is_read_by_macro_f1(
    unpacked: Callable[[str], Path], packed_at: Callable[..., Path]
) -> None:
    root = unpacked("hpa")
    packed = open_packed(packed_at("hpa", source=root, incomplete_ok=True))
    assert (packed.meta.target, packed.meta.metric) == ("multi_label", "macro_f1")
    assert packed.labels[packed.rows("train")].any(axis=0).all()
    assert len(packed.rows("val")) == 20
    for row in (0, 50):
        for channel, colour in enumerate(("red", "green", "blue", "yellow")):
            with Image.open(root / f"train/{packed.index[row].path}_{colour}.png") as image:
                assert (packed.images[row, ..., channel] == np.asarray(image)).all()
    assert packed.index[0].label == (0, 2)


def test_the_bands_of_eurosat_are_stored_as_they_are_and_split_as_the_rgb_images(
    unpacked: Callable[[str], Path], packed_at: Callable[..., Path], obtain: Callable[[str], Any]
) -> None:
    root = unpacked("eurosat_ms")
    packed = open_packed(packed_at("eurosat_ms", source=root, incomplete_ok=True))
    for row in (0, 99):
        assert (packed.images[row] == tifffile.imread(root / BANDS / packed.index[row].path)).all()
    rgb = open_packed(packed_at("eurosat", incomplete_ok=True, **obtain("eurosat")))
    splits = [{line.path[:-4]: line.split for line in some.index} for some in (packed, rgb)]
    assert splits[0] == splits[1]
    mean = packed.images[packed.rows("train")].mean((0, 1, 2))
    shown = pictures(packed.images[:], packed.meta)
    for colour, band in enumerate(("B04", "B03", "B02")):
        number = eurosat.BANDS.index(band)
        bright = packed.images[0, ..., number] > mean[number]
        assert ((shown[0, ..., colour] > 127.5) == bright).mean() > 0.99  # the mean is shown as mid-grey


def test_a_channel_that_is_damaged_is_named(unpacked: Callable[[str], Path], packed_at: Callable[..., Path]) -> None:
    root = unpacked("hpa")
    (root / "train/00000000-bbad-11e8_blue.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"1 of 112 images.*\n.*00000000-bbad-11e8: .*00000000-bbad-11e8_blue\.png"):
        packed_at("hpa", source=root, incomplete_ok=True)


@pytest.mark.parametrize(
    ("dataset_id", "image"),
    [
        ("cassava", "0000000000.jpg"),
        ("aptos2019", "000000000000.png"),
        ("plantvillage", "Apple___healthy/image (2).JPG"),
        ("plantclef", "val/10/6.jpg"),
        ("rsna_pneumonia_grouped", "00000000-fd14-4e49.dcm"),
        ("cct20_trans", "5858transval-03.jpg"),
        ("melanoma", "ISIC_0000007.jpg"),
    ],
)
def test_a_file_cut_off_is_named_and_nothing_is_packed(
    dataset_id: str, image: str, unpacked: Callable[[str], Path], packed_at: Callable[..., Path], tmp_path: Path
) -> None:
    root = unpacked(get(dataset_id).raw_name)
    (path,) = [path for path in root.rglob("*") if path.as_posix().endswith(f"/{image}")]
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3])
    with pytest.raises(
        DataError, match=rf"(?s)1 of \d+ images cannot be read:.*{re.escape(image)}: .*Nothing was packed"
    ):
        packed_at(dataset_id, source=root, incomplete_ok=True)
    assert not (tmp_path / "packed" / dataset_id).exists()
