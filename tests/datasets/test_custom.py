"""Your own images: folders and CSVs, and what is said when they are not as expected."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from mobilebench.config.data import OwnData
from mobilebench.datasets import DataError
from mobilebench.datasets.packing.packed import open_packed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mobilebench.datasets.packing.packed import Packed

    Pack = Callable[[OwnData], Packed]


@pytest.fixture
def pack(packed_at: Callable[..., Path]) -> Pack:
    return lambda own: open_packed(packed_at("mine", own={"mine": own}))


def a_csv(image_folder: Path, header: str, line: Callable[[str, int, str], str]) -> Path:
    path = image_folder / "all.csv"
    lines = [line(name, i, f"{name}/{i}.jpg") for name in ("cats", "dogs") for i in range(10)]
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def test_a_folder_of_class_folders_is_split_80_20(image_folder: Path, pack: Pack) -> None:
    packed = pack(OwnData(folder=str(image_folder)))
    assert packed.meta.classes == ("cats", "dogs")
    assert packed.meta.counts == {"train": 16, "val": 0, "test": 4}
    assert Counter(packed.labels[packed.rows("test")].tolist()) == {0: 2, 1: 2}
    assert packed.index[0].path == "cats/0.jpg"


def test_split_folders_are_taken_as_they_are(image_folder: Path, pack: Pack, tmp_path: Path) -> None:
    root = tmp_path / "split"
    for i in range(10):
        for name in ("cats", "dogs"):
            to = root / ("test" if i < 3 else "val" if i < 5 else "train") / name / f"{i}.jpg"
            to.parent.mkdir(parents=True, exist_ok=True)
            (image_folder / name / f"{i}.jpg").rename(to)
    assert pack(OwnData(folder=str(root))).meta.counts == {"train": 10, "val": 4, "test": 6}


def test_a_csv_with_split_and_group(image_folder: Path, pack: Pack, tmp_path: Path) -> None:
    path = a_csv(
        image_folder,
        "path,label,split,group",
        lambda name, i, file: f"{file},{10 if name == 'cats' else 9},{'test' if i < 2 else 'train'},{name}{i // 2}",
    )
    moved = path.rename(tmp_path / "elsewhere.csv")
    packed = pack(OwnData(csv=str(moved), root=str(image_folder)))
    assert packed.meta.classes == ("9", "10")
    assert packed.meta.counts == {"train": 16, "val": 0, "test": 4}
    assert packed.index[0] == ("cats/0.jpg", 1, "test", "cats0", packed.index[0].sha1)


def test_a_csv_without_splits_keeps_groups_whole(image_folder: Path, pack: Pack) -> None:
    path = a_csv(image_folder, "path,label,group", lambda name, i, file: f"{file},{name},{name}{i // 2}")
    packed = pack(OwnData(csv=str(path)))
    test = {line.group for line in packed.index if line.split == "test"}
    assert test
    assert not test & {line.group for line in packed.index if line.split == "train"}


def test_no_mirroring_where_you_say_so(image_folder: Path, pack: Pack) -> None:
    assert pack(OwnData(folder=str(image_folder))).meta.hflip
    assert not pack(OwnData(folder=str(image_folder), hflip=False)).meta.hflip


def test_new_images_make_it_pack_again(image_folder: Path, pack: Pack) -> None:
    before = pack(OwnData(folder=str(image_folder))).meta.digest
    (image_folder / "cats" / "new.jpg").write_bytes((image_folder / "dogs" / "1.jpg").read_bytes())
    after = pack(OwnData(folder=str(image_folder)))
    assert len(after.images) == 21
    assert after.meta.digest != before


def test_packed_data_is_used_where_the_images_are_not(image_folder: Path, pack: Pack, tmp_path: Path) -> None:
    before = pack(OwnData(folder=str(image_folder))).meta.digest
    image_folder.rename(tmp_path / "gone")
    assert pack(OwnData(folder=str(image_folder))).meta.digest == before


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 lines"),
        ("path,label\n", "0 lines"),
        ("file,label\ncats/0.jpg,a\n", "columns file, label"),
        ("path,label,weight\ncats/0.jpg,a,1\n", "weight"),
        ("path,label\ncats/0.jpg,a,b,c\n", "expected columns"),
        ("path,label\ncats/0.jpg,\n", "line 2"),
        ("path,label\ncats/0.jpg,a\ncats/0.jpg,b\n", "more than once: cats/0.jpg"),
        ("path,label\ncats/none.jpg,a\n", "not below"),
        ("path,label,split\ncats/0.jpg,a,train\ndogs/0.jpg,b,dev\n", "split is 'dev'"),
        ("path,label,split\ncats/0.jpg,a,train\ndogs/0.jpg,b,train\n", "no test images"),
        ("path,label,split\ncats/0.jpg,a,train\ndogs/0.jpg,b,test\n", "'b' has no train images"),
        ("path,label,split\ncats/0.jpg,a,train\ndogs/0.jpg,a,test\n", "only one class"),
        ("path,label,split\ncats/0.jpg,a,train\ndogs/0.jpg,b,\n", "split is ''"),
        ("path,label\ncats/0.jpg,a\ndogs/0.jpg,b\n", "cannot hold out"),
    ],
)
def test_a_csv_that_is_wrong_says_how(text: str, said: str, image_folder: Path, pack: Pack) -> None:
    (image_folder / "all.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        pack(OwnData(csv=str(image_folder / "all.csv")))


def test_a_binary_csv_is_refused(image_folder: Path, pack: Pack) -> None:
    with pytest.raises(DataError, match="cannot be read as a CSV"):
        pack(OwnData(csv=str(image_folder / "cats" / "0.jpg")))


def test_folders_that_are_wrong_say_how(tmp_path: Path, pack: Pack) -> None:
    with pytest.raises(DataError, match="is not a folder"):
        pack(OwnData(folder=str(tmp_path / "none")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no images"):
        pack(OwnData(folder=str(tmp_path / "empty")))


@pytest.mark.parametrize("keys", [{}, {"folder": "a", "csv": "b"}, {"folder": "a", "root": "b"}])
def test_settings_that_contradict_each_other(keys: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="data_sources"):
        OwnData(**keys)  # type: ignore[arg-type]


def test_a_built_in_name_cannot_be_taken(image_folder: Path, packed_at: Callable[..., Path]) -> None:
    with pytest.raises(DataError, match="built-in"):
        packed_at("digits", own={"digits": OwnData(folder=str(image_folder))})
