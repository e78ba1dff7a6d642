"""What is particular to the datasets of the studies of transfer, on tiny copies, and what their readers refuse."""

from __future__ import annotations

import io
import shutil
import zipfile
from typing import TYPE_CHECKING

import pytest

from mobilebench.config.recipe import DataPolicy
from mobilebench.datasets import DataError, get

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def unpacked(official: dict[str, dict[str, bytes]], tmp_path: Path) -> Callable[[str], Path]:
    """Unpack a dataset's tiny archives, and return the folder: it is the test's, to spoil."""

    def run(raw_name: str) -> Path:
        for name, content in official[raw_name].items():
            if name.endswith(".zip"):
                with zipfile.ZipFile(io.BytesIO(content)) as archive:
                    archive.extractall(tmp_path / raw_name)
        return tmp_path / raw_name

    return run


def changed(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_aptos_is_ordinal_and_read_by_quadratic_kappa() -> None:
    assert (get("aptos2019").target, get("aptos2019").metric) == ("ordinal", "qwk")


@pytest.mark.parametrize("dataset_id", ["cassava", "aptos2019"])
def test_the_order_of_the_table_is_of_no_consequence(dataset_id: str, unpacked: Callable[[str], Path]) -> None:
    root = unpacked(dataset_id)
    before = get(dataset_id).read(root, DataPolicy()).entries
    header, *lines = (root / "train.csv").read_text().splitlines()
    (root / "train.csv").write_text("\n".join([header, *reversed(lines)]))
    assert get(dataset_id).read(root, DataPolicy()).entries == before


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
