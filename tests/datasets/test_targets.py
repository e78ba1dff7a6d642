"""Own data with several labels an image or with ordered classes, and what is said when they are not as expected."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from mobilebench.config.data import OwnData
from mobilebench.config.parsing import ConfigError, parse
from mobilebench.config.recipe import DataPolicy
from mobilebench.datasets import DataError
from mobilebench.datasets.custom import spec_of
from mobilebench.datasets.packing.packed import open_packed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mobilebench.datasets.spec import Reading

SETS = ["", "cat", "dog", "cat|dog", "dog|hen", "hen"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for i in range(60):
        (tmp_path / f"{i}.png").write_bytes(str(i).encode())
    return tmp_path


def own_csv(root: Path, *lines: str, **keys: Any) -> OwnData:
    (root / "all.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return OwnData(csv=str(root / "all.csv"), **keys)


def read(own: OwnData, root: Path) -> Reading:
    return spec_of("mine", own).read(root, DataPolicy())


def refused(own: OwnData, root: Path) -> str:
    with pytest.raises(DataError) as said:
        read(own, root)
    return str(said.value)


def several(root: Path, *more: str, **keys: Any) -> OwnData:
    lines = [f"{i}.png,{SETS[i % 6]}" for i in range(60)]
    return own_csv(root, "path,label", *lines, *more, target="multi_label", **keys)


def columns(root: Path, header: str = "cat,dog,hen", yes: str = "1", no: str = "0", **keys: Any) -> OwnData:
    rows = [[yes if name in SETS[i % 6].split("|") else no for name in ("cat", "dog", "hen")] for i in range(60)]
    lines = [f"{i}.png,{','.join(row)}" for i, row in enumerate(rows)]
    return own_csv(root, f"path,{header}", *lines, target="multi_label", **keys)


def test_labels_of_several_classes_are_read_from_one_column(root: Path) -> None:
    reading = read(several(root), root)
    assert reading.classes == ("cat", "dog", "hen")
    assert [entry.label for entry in reading.entries[:7]] == [(), (0,), (1,), (0, 1), (1, 2), (2,), ()]
    assert Counter(entry.split for entry in reading.entries) == {"train": 48, "test": 12}
    held = Counter(entry.label for entry in reading.entries if entry.split == "test")
    assert held[()] == 2


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("True", "False"), ("TRUE", " false"), (" 1 ", "0")])
def test_one_column_a_class_says_the_same(yes: str, no: str, root: Path) -> None:
    expected = read(several(root), root)
    reading = read(columns(root, yes=yes, no=no), root)
    assert (reading.classes, reading.entries) == (expected.classes, expected.entries)


def test_splits_and_groups_stand_beside_the_columns_of_the_classes(root: Path) -> None:
    lines = [f"{i % 2},{i}.png,{'test' if i < 20 else 'train'},{i % 3 // 2},g{i // 4}" for i in range(60)]
    own = own_csv(root, "odd,path,split,third,group", *lines, target="multi_label")
    reading = read(own, root)
    assert reading.classes == ("odd", "third")
    assert reading.entries[5] == ("5.png", (0, 1), "test", "g1")


def test_without_a_split_column_groups_stay_whole(root: Path) -> None:
    lines = [f"{i}.png,{SETS[i % 6]},g{i // 3}" for i in range(60)]
    reading = read(own_csv(root, "path,label,group", *lines, target="multi_label"), root)
    splits: dict[str, set[str]] = {}
    for entry in reading.entries:
        splits.setdefault(entry.group, set()).add(entry.split)
    assert {len(where) for where in splits.values()} == {1}
    assert {n for e in reading.entries if e.split == "train" for n in e.label} == {0, 1, 2}  # type: ignore[union-attr]


def test_they_are_packed_as_a_table_of_0_and_1(image_folder: Path, packed_at: Callable[..., Path]) -> None:
    lines = [f"{name}/{i}.jpg,{SETS[1 + i % 5]}" for name in ("cats", "dogs") for i in range(10)]
    (image_folder / "all.csv").write_text("\n".join(["path,label", *lines]))
    own = OwnData(
        csv=str(image_folder / "all.csv"), target="multi_label", metric="macro_f1", classes=("hen", "dog", "cat")
    )
    packed = open_packed(packed_at("mine", DataPolicy(val_fraction=0.2), own={"mine": own}))
    assert packed.meta.classes == ("hen", "dog", "cat")
    assert (packed.meta.target, packed.meta.metric) == ("multi_label", "macro_f1")
    assert packed.labels[:5].tolist() == [[0, 0, 1], [0, 1, 0], [0, 1, 1], [1, 1, 0], [1, 0, 0]]
    assert packed.labels.dtype == np.uint8
    assert packed.meta.counts == {"train": 12, "val": 4, "test": 4}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (["path,label", "0.png,cat|dog", "1.png,cat||dog"], r"line 3: label 'cat\|\|dog' has an empty name"),
        (["path,label", "0.png,cat|dog", "1.png,|"], r"line 3: label '\|' has an empty name"),
        (["path,label", "0.png,cat|dog", "1.png,dog|cat| dog"], r"line 3: label .* names 'dog' more than once"),
        (["path,label", "0.png,cat|dog", "1.png,dog|Cat"], "'Cat' and 'cat'"),
        (["path,label", "0.png,cat|cat ", "1.png,dog"], "line 2: label .* names 'cat' more than once"),
        (["path,label", "0.png,caf\u00e9|cafe\u0301", "1.png,dog"], r"'cafe\\u0301' and 'caf\\xe9'"),
        (["path,label", "0.png,", "1.png,"], "no line has a label"),
        (["path,label", "0.png,cat;dog", "1.png,dog"], r"line 2: label 'cat;dog', and no label of the file has a \|"),
        (["path,label", '0.png,"cat, dog"', "1.png,dog"], "line 2: label 'cat, dog', and no label"),
        (["path,label", "0.png,cat|dog", " ,dog"], "line 3: path must not be empty"),
        (["path,label,hen", "0.png,cat|dog,1"], "columns path, label, hen; expected columns path,label, a label being"),
        (["path,cat", "0.png,1"], "columns path, cat; expected"),
        (["path", "0.png"], "columns path; expected"),
        (["path,cat,dog,cat", "0.png,1,0,1"], "each once"),
        (["path,cat,", "0.png,1,0"], "each once"),
        (["path,cat,dog|hen", "0.png,1,0"], r"two or more without \|"),
        (["path,cat,Split", "0.png,1,0"], "'Split' and 'split'"),
        (["path,cat,Cat", "0.png,1,0"], "'Cat' and 'cat'"),
        (["path,cat,dog", "0.png,1,0", "1.png,1,2"], "line 3: column 'dog' is '2'; every column beside path"),
        (["path,cat,dog", "0.png,1,0", "1.png,1,"], "line 3: column 'dog' is ''"),
        (["path,cat,dog", "0.png,1,0", "1.png,yes,1"], "line 3: column 'cat' is 'yes'"),
        (["path,cat,dog", "0.png,1,0", "1.png,1.0,1"], "line 3: column 'cat' is '1.0'"),
        (["path,cat,dog", "0.png,1,0", "1.png,1"], "line 3: found 2 cells"),
        (["path,cat,dog", "0.png,1,0", "1.png,1,0"], "classes without an image: dog"),
        (["path,label", *[f"{i}.png,{SETS[1 + i % 3]}" for i in range(9)], "9.png,hen|cat"], "image or group: hen"),
        (["path,label", *[f"{i}.png,cat" for i in range(9)]], "only one class, 'cat'"),
        (["path,label,split", "0.png,cat|dog,train", "1.png,hen,test"], "'hen' has no train images"),
    ],
)  # fmt: skip
def test_every_line_of_several_labels_is_checked(lines: list[str], said: str, root: Path) -> None:
    assert re.search(said, refused(own_csv(root, *lines, target="multi_label"), root))


def test_a_class_may_have_a_comma_in_its_name_where_the_classes_are_listed(root: Path) -> None:
    lines = [f'{i}.png,"{name}"' for i, name in enumerate(["cat, wild", "dog"] * 5)]
    own = own_csv(root, "path,label", *lines, target="multi_label", classes=("cat, wild", "dog"))
    assert read(own, root).classes == ("cat, wild", "dog")


def test_columns_of_0_and_1_without_the_target_say_what_to_write(root: Path) -> None:
    said = refused(own_csv(root, "path,cat,dog", "0.png,1,0"), root)
    assert "For one 0/1 column a class write `target: multi_label`" in said


def graded(root: Path, names: list[str], **keys: Any) -> OwnData:
    lines = [f"{i}.png,{names[i % len(names)]}" for i in range(60)]
    return own_csv(root, "path,label", *lines, **({"target": "ordinal"} | keys))


def test_grades_have_the_order_that_is_given(root: Path) -> None:
    own = graded(root, ["severe", "none", "mild"], classes=("none", "mild", "severe"))
    reading = read(own, root)
    assert reading.classes == ("none", "mild", "severe")
    assert [entry.label for entry in reading.entries[:3]] == [2, 0, 1]


@pytest.mark.parametrize(
    ("names", "order"),
    [
        (["10", "9", "1"], ("1", "9", "10")),
        (["0", "+1", "-1"], ("-1", "0", "+1")),
        (["02", "1", "3"], ("1", "02", "3")),
    ],
)
def test_grades_that_are_whole_numbers_are_ordered_as_numbers(
    names: list[str], order: tuple[str, ...], root: Path, tmp_path: Path
) -> None:
    assert read(graded(root, names), root).classes == order
    for name in names:
        for i in range(5):
            (tmp_path / "graded" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "graded" / name / f"{i}.png").write_bytes(b"x")
    assert read(OwnData(folder=str(tmp_path / "graded"), target="ordinal"), root).classes == order


def test_a_gap_between_grades_is_said(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    read(graded(root, ["0", "1", "3"]), root)
    assert "no image has a grade between 1 and 3" in caplog.text
    caplog.clear()
    read(graded(root, ["0", "1", "3"], classes=(0, 1, 3)), root)
    assert not caplog.text


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["mild", "severe"], r"order of its classes is not known: mild, severe.*`classes: \[none, mild, severe\]`"),
        (["0", "1", "2a"], "order of its classes is not known: 0, 1, 2a"),
        (["0.5", "1"], "order of its classes is not known: 0.5, 1"),
        (["1", "01", "2"], "'01' and '1' are the same grade"),
        (["0", "9" * 200], "order of its classes is not known"),
    ],
)
def test_grades_without_a_known_order_are_refused(names: list[str], said: str, root: Path) -> None:
    assert re.search(said, refused(graded(root, names), root))


@pytest.mark.parametrize("target", ["single_label", "ordinal", "multi_label"])
def test_a_label_that_is_not_one_of_the_listed_classes_is_named_with_its_line(target: str, root: Path) -> None:
    own = graded(root, ["none", "mild", "sever"], target=target, classes=("none", "mild", "severe"))
    said = refused(own, root)
    assert "all.csv, line 4: label 'sever' is not one of the classes in data_sources; did you mean severe?" in said
    assert "no image is of severe" in refused(graded(root, ["none", "mild"], target=target, classes=own.classes), root)


def test_a_folder_or_a_column_that_is_not_one_of_the_listed_classes_is_named(root: Path) -> None:
    for name in ("cat", "dog", "hen"):
        (root / "by_class" / name).mkdir(parents=True)
        for i in range(5):
            (root / "by_class" / name / f"{i}.png").write_bytes(b"x")
    folder = str(root / "by_class")
    assert "label 'hen' is not one of the classes" in refused(OwnData(folder=folder, classes=("dog", "cat")), root)
    assert read(OwnData(folder=folder, classes=("hen", "dog", "cat")), root).classes == ("hen", "dog", "cat")
    assert "label 'hen' is not one of the classes" in refused(columns(root, classes=("cat", "dog")), root)


def test_the_classes_may_be_listed_as_numbers_and_their_order_is_kept(root: Path) -> None:
    own = graded(root, ["0", "1", "2"], target="single_label", classes=(2, 1, 0))
    assert read(own, root).classes == ("2", "1", "0")


def test_listed_classes_that_are_alike_are_refused(root: Path) -> None:
    said = refused(graded(root, ["mild", "severe"], classes=("mild", "Mild", "severe")), root)
    assert "data_sources: classes has 1 classes spelled in more than one way: 'Mild' and 'mild'" in said


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"folder": "x", "target": "multi_label"}, "target multi_label goes with csv only, for in a folder each"),
        ({"csv": "x", "target": "multi"}, "target: Input should be 'single_label', 'ordinal' or 'multi_label'"),
        ({"csv": "x", "classes": ["a"]}, "classes has 1; expected two names or more"),
        ({"csv": "x", "classes": ["a", "b", "a "]}, "classes has 'a' more than once"),
        ({"csv": "x", "classes": ["a", " "]}, "classes has an empty name"),
        ({"csv": "x", "classes": ["a", None]}, "classes"),
        ({"csv": "x", "classes": ["a|b", "c"], "target": "multi_label"}, "cannot have | in its name"),
        ({"csv": "x", "metric": "qkw", "target": "ordinal"}, "there is no metric 'qkw'; did you mean qwk"),
        ({"csv": "x", "metric": "qwk", "target": "multi_label"}, "metric qwk is not for a multi_label target; for it"),
        ({"csv": "x", "metric": "top1", "target": "multi_label"}, "there are macro_f1, roc_auc, map, nll"),
    ],
)
def test_settings_that_cannot_be_meant(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        parse(OwnData, keys, "data_sources.mine.")


def test_settings_as_they_are_written() -> None:
    own = parse(OwnData, {"csv": "x", "target": "ordinal", "classes": [0, 1, "two"], "metric": "qwk"})
    assert own.class_names == ("0", "1", "two")
    assert parse(OwnData, {"csv": "x"}).class_names == ()


def test_other_settings_pack_again_and_none_packs_nothing_again(
    image_folder: Path, packed_at: Callable[..., Path]
) -> None:
    plain = OwnData(folder=str(image_folder))
    ordered = OwnData(folder=str(image_folder), target="ordinal", classes=("dogs", "cats"))
    turned = OwnData(folder=str(image_folder), classes=("dogs", "cats"))
    metas = [open_packed(packed_at("mine", own={"mine": own})).meta for own in (plain, turned, ordered, plain)]
    assert [meta.classes for meta in metas] == [("cats", "dogs"), ("dogs", "cats"), ("dogs", "cats"), ("cats", "dogs")]
    assert [meta.target for meta in metas] == ["single_label", "single_label", "ordinal", "single_label"]
    assert len({meta.data_digest for meta in metas}) == 3
    assert metas[0] == metas[3]
