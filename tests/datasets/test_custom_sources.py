"""What a user's folders and CSVs can hold: understood, or refused with the name of what is in the way."""

from __future__ import annotations

import os
import re
import shutil
import unicodedata
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mobilebench.config.data import OwnData
from mobilebench.config.recipe import DataPolicy
from mobilebench.config.suite import parse_suite, preset_text
from mobilebench.datasets import DataError
from mobilebench.datasets.acquire.listing import files_below
from mobilebench.datasets.custom import spec_of
from mobilebench.datasets.custom_image import role
from mobilebench.datasets.packing.packed import open_packed
from mobilebench.datasets.packing.prepare import packing_identity
from mobilebench.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobilebench.datasets.spec import Reading


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return root


def classes(*parts: str, n: int = 5) -> list[str]:
    return [f"{part}{name}/{i}.png" for part in parts for name in ("cat", "dog") for i in range(n)]


def read(root: Path, **keys: str) -> Reading:
    own = OwnData(**({"folder": str(root)} | keys))  # type: ignore[arg-type]
    return spec_of("mine", own).read(root, DataPolicy())


def refused(root: Path, **keys: str) -> str:
    with pytest.raises(DataError) as said:
        read(root, **keys)
    return str(said.value)


def counts(reading: Reading) -> dict[str, int]:
    return dict(Counter(entry.split for entry in reading.entries))


def a_csv(root: Path, *lines: str) -> dict[str, str]:
    (root / "all.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return {"csv": str(root / "all.csv"), "folder": None}  # type: ignore[dict-item]


@pytest.mark.parametrize(
    "spelling",
    [
        ("train", "test"),
        ("Train", "Test"),
        ("TRAIN", "TEST"),
        ("training", "testing"),
        ("train_set", "test_set"),
        ("Training Set", "Test Set"),
        ("trainset", "testset"),
        ("train2017", "test2017"),
        ("images_train", "images_test"),
        ("01-train", "02-test"),
        ("train-images", "test-images"),
    ],
    ids=" ".join,
)
def test_split_folders_in_any_usual_spelling(spelling: tuple[str, str], tmp_path: Path) -> None:
    train, test = spelling
    touch(tmp_path, *classes(f"{train}/", n=4), *classes(f"{test}/", n=1))
    reading = read(tmp_path)
    assert reading.classes == ("cat", "dog")
    assert counts(reading) == {"train": 8, "test": 2}


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val", "val_256", "Validation"])
def test_train_and_val_alone_are_refused_until_the_test_part_is_named(val: str, tmp_path: Path) -> None:
    touch(tmp_path, *classes("train/", n=4), *classes(f"{val}/", n=1))
    assert f"no test folder: to be tested on {val}, as is done with ImageNet, write `test: {val}`" in refused(tmp_path)
    assert counts(read(tmp_path, test=val)) == {"train": 8, "test": 2}
    assert "no folder of that name" in refused(tmp_path, test="tset")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (classes("train/", "test/", "unlabeled/"), "beside unlabeled"),
        (classes("train/", "test/", "extra/"), "beside extra"),
        (classes("train/", "dev/"), "beside dev"),
        (classes("train/", "holdout/"), "beside holdout"),
        (classes("train/"), "no test folder: to hold out a fifth"),
        (classes("val/", "test/"), "no train folder"),
        (classes("train/", "Train2/", "test/"), "both train"),
        (classes("train/", "val/", "validation/", "test/"), "both val"),
        (["train/cat.0.png", "train/dog.0.png", "test/1.png"], "images of no class"),
        ([*classes("train/", "test/"), "test/loose.png"], "test holds 1 images of no class, loose.png"),
        ([*classes(""), "loose.JPEG"], "images of no class, loose.JPEG"),
        ([f"{c}/{s}/{i}.png" for c in ("cat", "dog") for s in ("Train", "test") for i in range(3)], "splits within"),
        ([*classes(""), "Cat/1.png"], "'Cat' and 'cat'"),
        ([*classes(""), "cat /1.png"], "'cat' and 'cat '"),
        ([*classes(""), "c at/1.png"], "'c at' and 'cat'"),
        ([*classes("train/", "test/"), "test/Dog/1.png"], "'Dog' and 'dog'"),
        ([*classes(""), "café/1.png", "cafe\u0301/1.png"], "in more than one way"),
        ([*classes(""), "cat\u200b/1.png"], r"'cat\u200b'"),
        ([*classes(""), "bird/1.png"], "single image or group: bird"),
        (["a.png", "b.png"], "images of no class"),
    ],
)
def test_layouts_that_would_be_guessed_are_refused(names: list[str], said: str, tmp_path: Path) -> None:
    assert said in refused(touch(tmp_path, *names))


def test_a_class_folder_without_an_image_is_named(tmp_path: Path) -> None:
    touch(tmp_path, *classes(""))
    (tmp_path / "bird").mkdir()
    assert "without an image: bird" in refused(tmp_path)


@pytest.mark.parametrize("names", [("bus", "train"), ("valid", "wrong"), ("A", "a"), ("01", "1")])
def test_classes_that_only_look_alike_or_like_splits(names: tuple[str, str], tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/{i}.png" for name in names for i in range(5)))
    assert read(tmp_path).classes == tuple(sorted(names))


@pytest.mark.parametrize(
    "name", ["protrain", "retrain", "trainer", "latest", "interval", "value", "contest", "test tube"]
)
def test_words_that_hold_a_splits_name_name_none(name: str) -> None:
    assert role(name) == ""


@pytest.mark.parametrize(
    "litter",
    [
        "@eaDir", "#recycle", "#Recycle", "@Recycle", ".@__thumb", "__MACOSX", "__macosx", "$RECYCLE.BIN",
        "$Recycle.Bin", "System Volume Information", "lost+found", "#snapshot", ".Trash-1000", ".ipynb_checkpoints",
    ],
)  # fmt: skip
def test_litter_folders_are_no_classes_and_hold_no_images(litter: str, tmp_path: Path) -> None:
    touch(tmp_path, *classes(""), f"{litter}/a.png", f"cat/{litter}/0.png/thumb.jpg")
    reading = read(tmp_path)
    assert (reading.classes, len(reading.entries)) == (("cat", "dog"), 10)


@pytest.mark.parametrize("litter", ["thumbs.db", "THUMBS.DB", "Desktop.ini", "ehthumbs.db", ".DS_Store", "._0.png"])
def test_litter_files_are_no_images(litter: str, tmp_path: Path) -> None:
    assert len(read(touch(tmp_path, *classes(""), f"cat/{litter}")).entries) == 10


def test_linked_files_and_folders_are_read_like_others(tmp_path: Path) -> None:
    store = touch(tmp_path / "store", *(f"{i}.png" for i in range(5)), *(f"dogs/{i}.png" for i in range(5)))
    root = tmp_path / "own"
    (root / "cat").mkdir(parents=True)
    for i in range(5):
        (root / "cat" / f"{i}.png").symlink_to(store / f"{i}.png")
    (root / "dog").symlink_to(store / "dogs")
    (tmp_path / "mine").symlink_to(root)
    for folder in (root, tmp_path / "mine"):
        assert [entry.path for entry in read(folder).entries] == classes("")


def test_several_links_to_one_file_of_a_store_are_like_copies(tmp_path: Path) -> None:
    store = touch(tmp_path / "store", "x.png")
    root = touch(tmp_path / "own", *classes(""))
    for name in ("8.png", "9.png"):
        (root / "cat" / name).symlink_to(store / "x.png")
    assert len(read(root).entries) == 12
    (root / "dog" / "9.png").symlink_to(store / "x.png")
    assert "lists 1 files more than once: cat/8.png = cat/9.png = dog/9.png" in refused(root)


@pytest.mark.parametrize(
    ("link", "target", "said"),
    [
        ("cat/gone.png", "/nowhere/gone.png", "cat/gone.png is a link to /nowhere/gone.png, which is not there"),
        ("bird", "nowhere", "bird is a link to nowhere, which is not there"),
        ("cat/round.png", "round.png", "round.png"),
        ("cat/up", "..", "cat/up leads back to a folder above it"),
        ("cat/self", ".", "cat/self leads back to a folder above it"),
        ("cat/again.png", "0.png", "cat/0.png = cat/again.png"),
        ("dog/again.png", "../cat/0.png", "cat/0.png = dog/again.png"),
        ("kitten", "cat", "lists 5 files more than once"),
    ],
)
def test_links_that_lead_nowhere_in_a_circle_or_to_a_listed_file(
    link: str, target: str, said: str, tmp_path: Path
) -> None:
    touch(tmp_path, *classes(""))
    (tmp_path / link).symlink_to(target)
    assert said in refused(tmp_path)


def test_very_deep_folders(tmp_path: Path) -> None:
    deep = touch(tmp_path, *classes(""), "cat/" + "a/" * 300 + "x.png")
    assert len(read(deep).entries) == 11


def test_pipes_are_refused_and_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, *classes(""))
    os.mkfifo(tmp_path / "cat" / "pipe.png")
    assert "pipe.png is no regular file" in refused(tmp_path)
    assert "no regular file" in refused(tmp_path, **a_csv(tmp_path, "path,label", "cat/pipe.png,a", "dog/0.png,b"))
    assert spec_of("mine", OwnData(csv=str(tmp_path / "all.csv"))).fingerprint()  # type: ignore[misc]
    pipe = {"csv": str(tmp_path / "cat" / "pipe.png"), "folder": None}
    assert "no regular file" in refused(tmp_path, **pipe)  # type: ignore[arg-type]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_named(tmp_path: Path) -> None:
    touch(tmp_path, *classes(""))
    (tmp_path / "cat").chmod(0)
    try:
        assert "cat cannot be read (Permission denied)" in refused(tmp_path)
    finally:
        (tmp_path / "cat").chmod(0o700)


def test_a_system_that_refuses_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, *classes(""))
    real = os.scandir

    def scandir(place: Path) -> object:
        if Path(place).name == "cat":
            raise PermissionError(13, "Permission denied", str(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", scandir)
    assert "cat cannot be read (Permission denied)" in refused(tmp_path)


@pytest.mark.parametrize("keys", [{"folder": "file"}, {"folder": "/dev/null"}, {"csv": "."}, {"csv": "/dev/zero"}])
def test_a_file_for_a_folder_a_folder_for_a_file_and_devices(keys: dict[str, str], tmp_path: Path) -> None:
    touch(tmp_path, "file")
    own = {key: str(tmp_path / value) for key, value in keys.items()}
    assert any(s in refused(tmp_path, **({"folder": None} | own)) for s in ("is not a folder", "cannot be read as"))  # type: ignore[arg-type]


@pytest.mark.parametrize("blocked", ["packed", "packed/mine", "packed/.mine.partial"])
def test_a_file_where_the_packed_data_should_go_is_named(
    blocked: str, image_folder: Path, packed_at: Callable[..., Path], tmp_path: Path
) -> None:
    touch(tmp_path, blocked)
    own = {"mine": OwnData(folder=str(image_folder))}
    if blocked == "packed/mine":  # in the way of nothing else
        open_packed(packed_at("mine", own=own))
        return
    with pytest.raises(UserError, match=f"cannot write .*{Path(blocked).parts[0]}"):
        packed_at("mine", own=own)


@pytest.mark.parametrize("place", ["cat", "gr\udcfcn"])
def test_names_that_are_no_utf_8_are_packed_as_escapes(
    place: str, image_folder: Path, packed_at: Callable[..., Path]
) -> None:
    (image_folder / "cats" / "0.jpg").rename(image_folder / "cats" / "gr\udcfcn.jpg")
    (image_folder / "cats").rename(image_folder / place)
    packed = open_packed(packed_at("mine", own={"mine": OwnData(folder=str(image_folder))}))
    named = place.replace("\udcfc", "\\xfc")
    assert named in packed.meta.classes
    assert f"{named}/gr\\xfcn.jpg" in {row.path for row in packed.index}
    (image_folder / place / "gr\udcfcn.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"gr\\xfcn\.jpg: ") as said:
        packed_at("mine", own={"mine": OwnData(folder=str(image_folder))})
    str(said.value).encode()


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["path,label", "cat/0.png,cat", "dog/0.png,dog, small"], r"line 3: found 3 cells \('dog/0.png', 'dog', ' sm"),
        (["path,label,split", "cat/0.png,cat,train", "dog/0.png,dog"], "line 3: found 2 cells"),
        (["path,label", "cat/0.png,cat", "", '"dog/0.png"'], "line 4: found 1 cells"),
        (["path,label", "cat/0.png,cat", "dog/0.png, "], "line 3: path and label must not be empty"),
        (["path,label", "cat/0.png,cat", " ,dog"], "line 3: path and label must not be empty"),
        (["path,label,label", "cat/0.png,cat,x"], "each once"),
        (["path,label", "cat/0.png,cat", "cat/1.png,Cat"], "'Cat' and 'cat'"),
        (["path,label", "cat/0.png,hot dog", "cat/1.png,hotdog"], "'hot dog' and 'hotdog'"),
        (["path,label", "cat/0.png,caf\u00e9", "cat/1.png,cafe\u0301"], r"'cafe\\u0301' and 'caf\\xe9'"),
        (["path,label", "cat/0.png,a", "./cat/0.png,b"], "more than once: cat/0.png"),
        (["path,label", "cat/0.png,a", "dog/../cat/0.png,b"], "more than once: cat/0.png"),
        (["path,label", "cat/0.png,a", "link.png,b"], "more than once: cat/0.png = link.png"),
        (["path,label", "cat/0.png,a", "gone.png,b"], r"'gone.png' \(is a link to nowhere, which is not there\)"),
        (["path,label", "cat/0.png,a", "dog,b"], r"'dog' \(is a folder\)"),
        (["path,label", "cat/0.png,a", f"{'x' * 5000}.png,b"], "File name too long"),
        (["path,label", "cat/0.png,a", "a\0b.png,b"], "is not there"),
        (["path,label,split", "cat/0.png,a,train", "dog/0.png,b,"], "split is ''"),
        (["path,label,split", "cat/0.png,a,train", "dog/0.png,b,eval"], "line 3: split is 'eval'"),
        (["path,label,split", "cat/0.png,a,train", "dog/0.png,b,val"], "write `test: val` beside `csv`"),
        (["path,label", *[f"cat/{i}.png,cat" for i in range(5)], "dog/0.png,dog"], "single image or group: dog"),
        (["path,label,group", "cat/0.png,a,1", "cat/1.png,a,2", "dog/0.png,b,x", "dog/1.png,b,x"], "or group: b"),
        (["path,label", *[f"cat/{i}.png,{'9' * 5000}" for i in range(5)], "dog/0.png,1"], "single image"),
    ],
)  # fmt: skip
def test_every_line_of_a_csv_is_checked(lines: list[str], said: str, tmp_path: Path) -> None:
    touch(tmp_path, *classes(""))
    (tmp_path / "link.png").symlink_to("cat/0.png")
    (tmp_path / "gone.png").symlink_to("nowhere")
    assert re.search(said, refused(tmp_path, **a_csv(tmp_path, *lines)))


def test_blanks_around_cells_and_spellings_of_splits_are_nothing(tmp_path: Path) -> None:
    touch(tmp_path, *classes(""))
    lines = [f"cat/{i}.png, cat ,{' Train' if i < 4 else 'testing'}, g" for i in range(5)]
    lines += [f"dog/{i}.png,dog{' ' * i},{'TRAIN ' if i < 4 else 'Validation'},g" for i in range(5)]
    reading = read(tmp_path, **a_csv(tmp_path, " path, label ,split,group", *lines))
    assert reading.classes == ("cat", "dog")
    assert counts(reading) == {"train": 8, "test": 1, "val": 1}
    assert {entry.group for entry in reading.entries} == {"g"}


def test_a_value_of_the_split_column_can_be_the_test_part(tmp_path: Path) -> None:
    touch(tmp_path, *classes(""))
    lines = [f"{c}/{i}.png,{c},{'train' if i < 4 else 'held out'}" for c in ("cat", "dog") for i in range(5)]
    keys = a_csv(tmp_path, "path,label,split", *lines)
    assert counts(read(tmp_path, test="held out", **keys)) == {"train": 8, "test": 2}
    assert "line 6: split is 'held out'" in refused(tmp_path, test="rest", **keys)
    split = a_csv(tmp_path, "path,label,split", *(line.replace("held out", "test") for line in lines))
    assert "no line" in refused(tmp_path, test="rest", **split)


def test_one_file_in_two_cases_is_found_where_the_file_system_ignores_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, *classes(""))
    stat = Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **keys: stat(Path(str(self).replace("CAT", "cat")), **keys))
    lines = [f"{c}/{i}.png,{c}" for c in ("cat", "dog") for i in range(5)]
    said = refused(tmp_path, **a_csv(tmp_path, "path,label", *lines, "CAT/0.png,dog"))
    assert "cat/0.png = CAT/0.png" in said


def test_composed_and_decomposed_folder_names_give_one_class_name(tmp_path: Path) -> None:
    for form in ("NFC", "NFD"):
        root = tmp_path / form
        touch(root, *classes(""), *(f"{unicodedata.normalize(form, 'café')}/{i}.png" for i in range(5)))
        assert read(root).classes == ("caf\u00e9", "cat", "dog")


def test_listing_is_in_order_of_the_paths(tmp_path: Path) -> None:
    names = ["b/2.png", "b/10.png", "b.png", "a/x/1.png", "a/x.png", "B/1.png"]
    found = files_below(touch(tmp_path, *names))
    assert found == sorted(tmp_path / name for name in names)


def fingerprint(**keys: str) -> str:
    spec = spec_of("mine", OwnData(**keys))  # type: ignore[arg-type]
    assert spec.fingerprint is not None
    return spec.fingerprint()


def test_a_domain_says_what_images_are_of_and_changes_no_identity(tmp_path: Path) -> None:
    root = str(touch(tmp_path / "own", *classes("")))
    plain, scans = OwnData(folder=root), OwnData(folder=root, domain="medical")
    assert [spec_of("mine", own).domain for own in (plain, scans)] == ["", "medical"]
    identities = {packing_identity(spec_of("mine", own), DataPolicy()) for own in (plain, scans)}
    assert len(identities) == 1
    assert fingerprint(folder=root) == fingerprint(folder=root, domain="medical")
    with pytest.raises(UserError, match=r"(?s)data_sources\.mine\.domain.*'remote sensing'"):
        parse_suite(f"{preset_text('demo')}data_sources:\n  mine: {{folder: own, domain: Medical}}\n", "params.yaml")


def test_packed_data_stay_valid_without_their_source_and_only_as_long_as_the_settings_say_the_same(
    image_folder: Path, packed_at: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    lines = [f"{c}/{i}.jpg,{c},{'train' if i < 8 else 'val'}" for c in ("cats", "dogs") for i in range(10)]
    table = tmp_path / "all.csv"
    table.write_text("\n".join(["path,label,split", *lines]))
    by_csv = OwnData(csv=str(table), root=str(image_folder), test="val")
    by_folder = OwnData(folder=str(image_folder))
    packed = {
        name: open_packed(packed_at(name, own={name: own})).meta
        for name, own in {"by_csv": by_csv, "by_folder": by_folder}.items()
    }
    before = fingerprint(folder=str(image_folder))
    away = tmp_path / "away"
    image_folder.rename(away)
    for empty in (False, True):  # absent, and a place where nothing is mounted
        if empty:
            image_folder.mkdir()
        assert open_packed(packed_at("by_csv", own={"by_csv": by_csv})).meta == packed["by_csv"]
        assert open_packed(packed_at("by_folder", own={"by_folder": by_folder})).meta == packed["by_folder"]
        for name, own in (
            ("by_folder", OwnData(folder=str(image_folder), test="val")),
            ("by_csv", OwnData(csv=str(table), root=str(image_folder))),
        ):
            with pytest.raises(DataError):  # read otherwise than it was packed, and nothing to read it from
                packed_at(name, own={name: own})
    table.write_text("\n".join(["path,label,split", *lines[:-1]]))
    with pytest.raises(DataError, match=r"lists 19 files that are not below"):
        packed_at("by_csv", own={"by_csv": by_csv})
    assert fingerprint(folder=str(away)) == before


def test_what_is_no_image_of_a_class_changes_nothing(
    image_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = fingerprint(folder=str(image_folder))
    (image_folder / "README.txt").write_text("hello")
    (image_folder / "cats" / "Thumbs.db").write_bytes(b"x")
    assert fingerprint(folder=str(image_folder)) == before
    shutil.copy(image_folder / "cats" / "0.jpg", image_folder / "cats" / "1.jpg")
    assert fingerprint(folder=str(image_folder)) != before
