"""Derived datasets on disk: rows of a parent's images, all else as if their images had been packed by themselves."""

from __future__ import annotations

import hashlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from mobilebench.config.data import DataSource, DerivedData, OwnData
from mobilebench.config.recipe import DataPolicy
from mobilebench.datasets.audit import audit
from mobilebench.datasets.packing.packed import Packed, ParentError, Selected, open_packed, read_meta
from mobilebench.datasets.packing.prepare import find, packing_identity
from mobilebench.datasets.spec import DataError
from mobilebench.datasets.status import state_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    PackedAt = Callable[..., Path]

TENTH = DerivedData("toy_shapes", train_fraction=0.1)
# Of the toys with the default policy: a change of how rows are drawn would train all cells of derived datasets anew.
DIGESTS = {
    "tenth": "bb9defd23ce6b73f9c915309042285ea1e5f0274d380dc7482e85729c3e90a20",
    "two_each": "9d749a574ab021a7e40d4111ef5e6eb273764c85621c5df3a5a7ecccd35413cb",
    "scenes": "2344b42df95be91e2ce35e15a08657d6adf69268c8a4de2258f3a095ec942b75",
}
SOURCES: dict[str, DataSource] = {
    "tenth": TENTH,
    "two_each": DerivedData("toy_shapes", per_class=2, seed=3),
    "scenes": DerivedData("toy_scenes", max_train=50),
    "grades": DerivedData("toy_grades", train_fraction=0.05),
}


@pytest.fixture
def derived(packed_at: PackedAt) -> Callable[..., Packed]:
    def run(name: str = "tenth", policy: DataPolicy | None = None, **sources: DataSource) -> Packed:
        return open_packed(packed_at(name, policy, own=SOURCES | sources))

    return run


@pytest.mark.parametrize("name", sorted(SOURCES))
def test_it_has_the_parents_pixels_labels_val_and_test(name: str, derived: Callable[..., Packed]) -> None:
    some = derived(name, DataPolicy(val_fraction=0.2))
    assert some.meta.parent is not None
    whole = open_packed(some.path.with_name(some.meta.parent.id))
    assert isinstance(some.images, Selected)
    rows = some.images.rows
    np.testing.assert_array_equal(np.asarray(some.images), whole.images[rows])
    np.testing.assert_array_equal(some.labels, whole.labels[rows])
    assert some.index == [whole.index[row] for row in rows]
    for split in ("val", "test"):
        np.testing.assert_array_equal(rows[some.rows(split)], whole.rows(split))
    assert 0 < some.meta.counts["train"] < whole.meta.counts["train"]
    train = np.asarray(some.images)[some.rows("train")] / 255
    np.testing.assert_allclose(some.meta.mean, train.mean((0, 1, 2)), rtol=1e-9)
    np.testing.assert_allclose(some.meta.std, train.std((0, 1, 2)), rtol=1e-9)
    assert (some.meta.target, some.meta.hflip, some.meta.policy) == (
        whole.meta.target,
        whole.meta.hflip,
        whole.meta.policy,
    )
    some.verify()


def test_no_pixel_is_stored_twice(derived: Callable[..., Packed]) -> None:
    some = derived()
    assert sorted(path.name for path in some.path.iterdir()) == ["index.csv", "labels.npy", "meta.json", "rows.npy"]
    array, labels, rows = some.arrays(some.rows("train"))
    assert isinstance(array, np.memmap)
    assert array.filename == some.path.with_name("toy_shapes") / "images.npy"
    np.testing.assert_array_equal(labels[rows], some.labels[some.rows("train")])


@pytest.mark.parametrize("name", sorted(DIGESTS))
def test_what_is_drawn_is_the_same_on_every_machine(name: str, derived: Callable[..., Packed]) -> None:
    assert derived(name).meta.data_digest == DIGESTS[name]


def test_the_parent_is_as_it_is_without_it(packed_at: PackedAt, derived: Callable[..., Packed], tmp_path: Path) -> None:
    def files(folder: Path) -> dict[str, str]:
        return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}

    alone = files(packed_at("toy_shapes", out_dir=tmp_path / "alone"))
    assert files(derived().path.with_name("toy_shapes")) == alone


def own_folder(root: Path) -> dict[str, list[Path]]:
    rng = np.random.default_rng(0)
    found: dict[str, list[Path]] = {}
    for split, count in (("train", 20), ("test", 4)):
        for name in ("cats", "dogs"):
            (root / split / name).mkdir(parents=True)
            for i in range(count):
                path = root / split / name / f"{i:02d}.png"
                Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(path)
                found.setdefault(split, []).append(path)
    return found


def test_the_identity_is_that_of_its_images_packed_by_themselves(packed_at: PackedAt, tmp_path: Path) -> None:
    """So equal rows of equal images are equal data, whatever they were taken from and however that was written."""
    root, few = tmp_path / "own", tmp_path / "few"
    own_folder(root)
    sources: dict[str, DataSource] = {
        "whole": OwnData(folder=str(root)),
        "some": DerivedData("whole", train_fraction=0.25),
        "as_many": DerivedData("whole", max_train=10),
        "each": DerivedData("whole", per_class=5),
        "others": DerivedData("whole", per_class=5, seed=1),
        "all": DerivedData("whole", train_fraction=1),
        "few": OwnData(folder=str(few)),
    }
    metas = {name: read_meta(packed_at(name, own=sources)) for name in sources if name != "few"}
    for line in open_packed(packed_at("some", own=sources)).index:
        (few / line.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / line.path, few / line.path)
    metas["few"] = read_meta(packed_at("few", own=sources))
    same = {name for name, meta in metas.items() if meta.data_digest == metas["some"].data_digest}
    assert same == {"some", "as_many", "each", "few"}
    assert metas["all"].data_digest == metas["whole"].data_digest
    assert metas["few"].split_digest == metas["some"].split_digest
    assert len({meta.identity for meta in metas.values()}) == len(metas)


def test_groups_are_whole_and_stay_in_train(packed_at: PackedAt, tmp_path: Path) -> None:
    own_folder(tmp_path / "own")
    lines = [
        f"own/{split}/{kind}/{i:02d}.png,{kind},{split},{split}-{kind}-{i // 4}"
        for split in ("train", "test")
        for kind in ("cats", "dogs")
        for i in range(len(list((tmp_path / "own" / split / kind).iterdir())))
    ]
    (tmp_path / "all.csv").write_text("\n".join(["path,label,split,group", *lines]))
    sources = {"whole": OwnData(csv=str(tmp_path / "all.csv")), "some": DerivedData("whole", train_fraction=0.5)}
    some = open_packed(packed_at("some", own=sources))
    groups = [some.index[row].group for row in some.rows("train")]
    assert sorted(groups.count(group) for group in set(groups)) == [4] * 5
    assert "groups whole" in some.meta.provenance["drawn"]


def test_calling_it_again_does_nothing_and_another_parent_draws_anew(packed_at: PackedAt, tmp_path: Path) -> None:
    own_folder(tmp_path / "own")
    sources = {"whole": OwnData(folder=str(tmp_path / "own")), "some": DerivedData("whole", train_fraction=0.5)}
    folder = packed_at("some", own=sources)
    first = (folder / "rows.npy").stat().st_ino
    assert (packed_at("some", own=sources) / "rows.npy").stat().st_ino == first
    Image.new("RGB", (12, 12)).save(tmp_path / "own" / "train" / "cats" / "99.png")
    before = find("some", sources)
    packed_at("whole", own=sources)
    with pytest.raises(ParentError, match=r"is rows of .*whole as it was with .*`mobilebench data prepare some`"):
        open_packed(folder)
    assert state_of(before, tmp_path / "raw", tmp_path / "packed").name == "packed, other whole"
    assert open_packed(packed_at("some", own=sources)).meta.counts["train"] == 20
    more = packed_at("some", own=sources | {"some": DerivedData("whole", train_fraction=0.75)})
    assert open_packed(more).meta.counts["train"] == 30


def test_without_the_parent_it_says_what_to_run(derived: Callable[..., Packed], tmp_path: Path) -> None:
    folder = derived().path
    shutil.rmtree(folder.with_name("toy_shapes"))
    with pytest.raises(
        ParentError, match=r"has no pixels of its own, it is rows of .*toy_shapes, which is not here"
    ) as e:
        open_packed(folder)
    assert "mobilebench data prepare tenth" in str(e.value)
    assert "dvc pull prepare@toy_shapes" in str(e.value)
    assert state_of(find("tenth", SOURCES), tmp_path / "raw", tmp_path / "packed").name == "packed, no toy_shapes"
    derived().verify()


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(lambda rows: rows[:-1], id="one too few"),
        pytest.param(lambda rows: rows[::-1].copy(), id="not ascending"),
        pytest.param(lambda rows: rows + 10_000, id="beyond the parent"),
        pytest.param(lambda rows: rows - 1, id="below 0"),
        pytest.param(lambda rows: rows.astype(np.float64), id="no whole numbers"),
        pytest.param(lambda rows: rows[:0], id="none"),
    ],
)
def test_rows_that_cannot_be_its_own_are_found_on_opening(
    rows: Callable[[Any], Any], derived: Callable[..., Packed]
) -> None:
    folder = derived("tenth", tenth=DerivedData("toy_shapes", train_fraction=1)).path
    np.save(folder / "rows.npy", rows(np.load(folder / "rows.npy")))
    with pytest.raises(DataError, match="is damaged"):
        open_packed(folder)


def test_rows_of_other_images_are_found_by_verify(derived: Callable[..., Packed]) -> None:
    folder = derived().path
    rows = np.load(folder / "rows.npy")
    free = next(row for row in range(rows[-1]) if row not in rows)
    np.save(folder / "rows.npy", np.sort(np.append(np.delete(rows, np.abs(rows - free).argmin()), free)))
    with pytest.raises(DataError, match=r"toy_shapes/images.npy is damaged: 1 of \d+ images do not match"):
        open_packed(folder).verify()


def test_its_metric_and_policy_are_its_parents(packed_at: PackedAt, tmp_path: Path) -> None:
    own_folder(tmp_path / "own")
    some = DerivedData("whole", per_class=3)
    for metric in (None, "macro_f1"):
        sources: dict[str, DataSource] = {"whole": OwnData(folder=str(tmp_path / "own"), metric=metric), "some": some}
        meta = read_meta(packed_at("some", own=sources))
        assert meta.metric == (metric or "")
        assert meta.identity == packing_identity(find("some", sources), DataPolicy())
    small = open_packed(packed_at("some", DataPolicy(short_side=8), own=sources))
    assert small.images.shape[1:] == (8, 8, 3)


def test_a_class_with_one_image_beyond_its_share_is_said(derived: Callable[..., Packed]) -> None:
    some = derived("few", few=DerivedData("toy_shapes", train_fraction=0.001))
    assert some.meta.counts["train"] == 4
    assert "of 4 classes one image, more than their share" in some.meta.provenance["drawn"]
    assert "share" not in derived().meta.provenance["drawn"]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (
            DerivedData("toy_shape", per_class=1),
            "data_sources.mine: no dataset is called 'toy_shape'; did you mean toy_sh",
        ),
        (DerivedData("mine", per_class=1), "data_sources.mine: mine is derived itself"),
        (DerivedData("tenth", per_class=1), "tenth is derived itself, of toy_shapes; write `of: toy_shapes`"),
        (
            DerivedData("toy_shapes", per_class=999),
            "data_sources.mine, of toy_shapes: per_class is 999, and 4 of 4 classes",
        ),
        (DerivedData("toy_shapes", max_train=3), "data_sources.mine, of toy_shapes: max_train is 3, but one image"),
    ],
)
def test_what_cannot_be_derived_is_refused_by_name(
    entry: DerivedData, said: str, derived: Callable[..., Packed], tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=said):
        derived("mine", mine=entry)
    assert not list((tmp_path / "packed").glob("*mine*/*"))


def test_a_built_in_name_is_refused(derived: Callable[..., Packed]) -> None:
    with pytest.raises(DataError, match="is a built-in dataset"):
        derived("digits", digits=TENTH)


def test_the_audit_reads_its_own_images_and_does_not_compare_it_with_its_parent(derived: Callable[..., Packed]) -> None:
    some, other = derived(), derived("two_each")
    found = audit([some, other, open_packed(some.path.with_name("toy_shapes"))])
    assert {line.dataset for line in found.findings} == {"tenth", "two_each", "toy_shapes"}
    assert {pair.dataset_a for pair in found.pairs} == {pair.dataset_b for pair in found.pairs}
    sizes = {line.dataset: line.of for line in found.findings if line.check == "pixels_changed"}
    assert sizes == {"tenth": 32 + 320, "two_each": 8 + 320, "toy_shapes": 640}
    assert all(line.value == 0 for line in found.findings if line.check == "pixels_changed")


def test_meta_says_whose_images_it_has_and_an_ordinary_one_says_nothing(derived: Callable[..., Packed]) -> None:
    some = derived()
    whole = some.path.with_name("toy_shapes")
    said = json.loads((some.path / "meta.json").read_text())["parent"]
    assert said == {"id": "toy_shapes", "digest": read_meta(whole).digest, "train": 320}
    assert "parent" not in json.loads((whole / "meta.json").read_text())
