"""Unpacking what is not trusted, and using local copies."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from typing import TYPE_CHECKING, Any

import pytest

from mobilebench.datasets import DATASETS, DataError
from mobilebench.datasets.acquire.archive import unpack
from mobilebench.datasets.packing.packed import open_packed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def a_tar(path: Path, *members: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w") as archive:
        for member in members:
            archive.addfile(member, io.BytesIO(b"x" * member.size))
    return path


def member(name: str, size: int = 3, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size, kind, target
    return info


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/absolute_out.txt", "C:\\out.txt", "..\\o"])
def test_names_that_leave_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    tar = a_tar(tmp_path / "a.tar", member("fine.txt"), member(name))
    zipped = tmp_path / "a.zip"
    with zipfile.ZipFile(zipped, "w") as archive:
        archive.writestr("fine.txt", b"x")
        info = zipfile.ZipInfo("x")
        info.filename = name
        archive.writestr(info, b"x")
    for path in (tar, zipped):
        with pytest.raises(DataError, match="outside its folder"):
            unpack(path, tmp_path / "into" / "deep")
    assert {path.name for path in tmp_path.rglob("*")} <= {"a.tar", "a.zip", "into", "deep", "fine.txt"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind: bytes, tmp_path: Path) -> None:
    path = a_tar(tmp_path / "a.tar", member("link", 0, kind, "/etc/passwd"))
    with pytest.raises(DataError, match="link or device"):
        unpack(path, tmp_path / "into")


def test_links_in_a_zip_are_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(DataError, match="link or device"):
        unpack(tmp_path / "a.zip", tmp_path / "into")


def test_a_zip_made_on_windows_unpacks_to_folders(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for name in ("cats\\", "cats\\0.png", "cats/1.png", "deep\\er\\2.png"):
            info = zipfile.ZipInfo("x")
            info.filename, info.create_system = name, 0
            archive.writestr(info, b"" if name.endswith("\\") else name.encode())
    unpack(tmp_path / "a.zip", into := tmp_path / "into")
    found = {path.relative_to(into).as_posix() for path in into.rglob("*")}
    assert found == {"cats", "cats/0.png", "cats/1.png", "deep", "deep/er", "deep/er/2.png"}
    assert (into / "cats" / "0.png").read_bytes() == b"cats\\0.png"


@pytest.mark.parametrize("suffix", ["tar.gz", "zip"])
def test_a_bomb_is_refused_before_it_fills_the_disk(suffix: str, tmp_path: Path) -> None:
    path, zeros = tmp_path / f"bomb.{suffix}", b"\0" * (100 << 20)
    if suffix == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("zeros", zeros)
    else:
        with tarfile.open(path, "w:gz", compresslevel=1) as archive:
            archive.addfile(member("zeros", len(zeros)), io.BytesIO(zeros))
    with pytest.raises(DataError, match="20 times its size"):
        unpack(path, tmp_path / "into")
    assert not any((tmp_path / "into").iterdir())


@pytest.mark.parametrize("how", ["folder", "folder of archives", "unpacked parent"])
def test_from_takes_folders_and_archives(
    how: str, official: Any, packed_at: Callable[..., Path], tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    for name, content in official["indoor67"].items():
        (copy / name).write_bytes(content)
    if how != "folder of archives":
        unpack(copy / "indoorCVPR_09.tar", copy)
        (copy / "indoorCVPR_09.tar").unlink()
    source = tmp_path if how == "unpacked parent" else copy
    before = sorted(copy.rglob("*"))
    packed = open_packed(packed_at("indoor67", source=source, incomplete_ok=True))
    assert len(packed.images) == 18
    assert packed.meta.provenance["from"] == "a local copy"
    assert sorted(copy.rglob("*")) == before


def test_from_takes_one_archive(official: Any, packed_at: Callable[..., Path], tmp_path: Path) -> None:
    archive = tmp_path / "mine.tgz"
    archive.write_bytes(official["imagenette"]["imagenette2-160.tgz"])
    assert len(open_packed(packed_at("imagenette", source=archive, incomplete_ok=True)).images) == 40


@pytest.mark.parametrize(("name", "said"), [("nowhere", "no such file"), ("file.txt", "folder or an archive")])
def test_from_says_what_it_cannot_use(name: str, said: str, packed_at: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "file.txt").write_text("no archive")
    with pytest.raises(DataError, match=said):
        packed_at("imagenette", source=tmp_path / name)


@pytest.mark.parametrize(
    ("dataset_id", "said"),
    [
        ("imagenette", "imagenette2-160"),
        ("cifar10", "data_batch_1"),
        ("cifar100", "cifar-100-python"),
        ("dogs", "train_list.mat"),
        ("ham10k", "HAM10000_metadata"),
        ("indoor67", "TrainImages.txt"),
        ("miniplaces", "categories.txt"),
        ("flowers102", "setid.mat"),
        ("dtd", r"dtd/\{images,labels\}"),
        ("food101", r"food-101/\{images,meta\}"),
        ("eurosat", "2750/<class>"),
        ("tiny_imagenet", "wnids.txt"),
        ("cub200", "train_test_split.txt"),
        ("ucmerced", "UCMerced_LandUse/Images"),
        ("galaxy10", "Galaxy10_DECals"),
        ("neu", r"Cr_1\.bmp"),
        ("stanford_cars", "devkit/"),
        ("breakhis_100", "no image at 100x"),
    ],
)
def test_an_empty_folder_gets_told_what_was_expected(
    dataset_id: str, said: str, packed_at: Callable[..., Path], tmp_path: Path
) -> None:
    if DATASETS[dataset_id].needs:
        pytest.importorskip(DATASETS[dataset_id].needs)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=said):
        packed_at(dataset_id, source=tmp_path / "empty")
