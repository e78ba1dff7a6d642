"""Splits: stratified, grouped, reproducible."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from mobilebench.config.recipe import DataPolicy
from mobilebench.datasets import DataError, get
from mobilebench.datasets.catalog import eurosat, neu, ucmerced
from mobilebench.datasets.packing.packed import open_packed
from mobilebench.datasets.spec import Entry
from mobilebench.datasets.splits import cut_val, holdout, manifest_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


@given(
    st.lists(st.integers(6, 40), min_size=2, max_size=5),  # so that a fifth has an image of every class
    st.sampled_from([0.2, 0.3, 0.5]),
    st.integers(0, 2**31),
)
def test_every_class_gives_its_share(sizes: list[int], fraction: float, seed: int) -> None:
    labels = [c for c, n in enumerate(sizes) for _ in range(n)]
    test = holdout(labels, fraction=fraction, seed=seed)
    assert len(test) == -(-len(labels) * round(fraction * 10) // 10)
    for c, n in enumerate(sizes):
        assert (
            abs(sum(labels[i] == c for i in test) - n * fraction) < 2
        )  # scikit-learn rounds the shares to the exact total
    assert test == holdout(labels, fraction=fraction, seed=seed)


def test_without_groups_it_is_scikit_learns_split() -> None:
    labels = [0] * 50 + [1] * 30
    _, theirs = train_test_split(np.arange(80), test_size=0.3, stratify=labels, random_state=42)
    assert holdout(labels, fraction=0.3, seed=42) == set(theirs.tolist())


@given(st.lists(st.integers(1, 6), min_size=20, max_size=60), st.integers(0, 999))
def test_groups_stay_whole(sizes: list[int], seed: int) -> None:
    groups = [f"g{g}" for g, n in enumerate(sizes) for _ in range(n)]
    labels = [g % 2 for g, n in enumerate(sizes) for _ in range(n)]
    test = holdout(labels, fraction=0.3, seed=seed, groups=groups)
    held = {groups[i] for i in test}
    assert {i for i, g in enumerate(groups) if g in held} == test
    assert abs(len(held) - 0.3 * len(sizes)) <= 2


def test_images_without_a_group_stand_alone() -> None:
    labels = [0, 1] * 20
    test = holdout(labels, fraction=0.25, seed=0, groups=[""] * 40)
    assert len(test) == 10


@pytest.mark.parametrize("labels", [[], [0], [0, 0, 1], [0, 1, 2, 3]])
def test_too_few_images_are_refused(labels: list[int]) -> None:
    with pytest.raises(DataError, match="cannot hold out"):
        holdout(labels, fraction=0.3, seed=0)


SEVERAL = st.sets(st.integers(0, 4), max_size=3).map(lambda numbers: tuple(sorted(numbers)))


def rarest(labels: list[tuple[int, ...]]) -> list[int]:
    """Count directly which class of each image the fewest images have; -1 for an image of none."""
    sizes = {c: sum(c in label for label in labels) for c in range(20)}
    return [min(label, key=lambda c: (sizes[c], c)) if label else -1 for label in labels]


def random_labels(n: int, shares: list[float], seed: int = 0) -> list[tuple[int, ...]]:
    """Draw n images, each class there or not by itself with its share."""
    draws = np.random.default_rng(seed).random((n, len(shares))) < shares
    return [tuple(np.flatnonzero(row).tolist()) for row in draws]


@given(st.lists(SEVERAL, min_size=40, max_size=120), st.sampled_from([0.2, 0.3, 0.5]), st.integers(0, 2**31))
def test_several_labels_are_held_out_by_the_rarest(labels: list[tuple[int, ...]], fraction: float, seed: int) -> None:
    held = holdout(labels, fraction=fraction, seed=seed)
    assert held == holdout(labels, fraction=fraction, seed=seed)
    strata = rarest(labels)
    sizes = Counter(strata)
    n_held = -(-len(labels) * round(fraction * 10) // 10)
    assert 0 <= n_held - len(held) <= 5  # one put back for each class at most
    for stratum, n in sizes.items():
        if min(sizes.values()) >= 2:  # none is put together with another, for 0.2 of 40 images has room for all six
            assert abs(sum(strata[i] == stratum for i in held) - n * fraction) < 2
    for c in {c for label in labels for c in label}:
        assert any(c in labels[i] for i in set(range(len(labels))) - held)


def test_images_of_one_class_each_are_split_as_scikit_learn_splits_them() -> None:
    one = [0] * 50 + [1] * 30 + [2] * 6
    assert holdout([(c,) for c in one], fraction=0.3, seed=42) == holdout(one, fraction=0.3, seed=42)


def test_every_class_gives_its_share_where_images_have_several() -> None:
    shares = [0.5, 0.3, 0.1, 0.02]
    labels = random_labels(2000, shares)
    held = holdout(labels, fraction=0.2, seed=0)
    for c in range(4):
        total = sum(c in label for label in labels)
        got = sum(c in labels[i] for i in held)
        assert abs(got - 0.2 * total) < 0.02 * total + 3
    none = [i for i, label in enumerate(labels) if not label]
    assert abs(len(held & set(none)) - 0.2 * len(none)) < 2


def test_strata_too_small_to_share_are_put_together() -> None:
    labels = [(0,)] * 30 + [(c, 0) for c in range(1, 15)] + [()]  # 14 classes of a single image, one image of none
    held = holdout(labels, fraction=0.2, seed=1)
    assert held == holdout(labels, fraction=0.2, seed=1)
    assert held <= set(range(30)) | {44}  # a class of one image stays where it can be learned
    assert len(held) >= 5


def test_groups_of_images_with_several_labels_stay_whole() -> None:
    labels = random_labels(300, [0.4, 0.2, 0.05])
    groups = [f"g{i // 3}" if i < 240 else "" for i in range(300)]
    held = holdout(labels, fraction=0.25, seed=3, groups=groups)
    taken = {groups[i] for i in held} - {""}
    assert {i for i in range(240) if groups[i] in taken} == held & set(range(240))
    units = [set().union(*labels[i : i + 3]) for i in range(0, 240, 3)] + [set(labels[i]) for i in range(240, 300)]
    where = [3 * u for u in range(80)] + list(range(240, 300))
    for c in range(3):
        of_class = [at for at, unit in zip(where, units, strict=True) if c in unit]
        assert abs(len(held & set(of_class)) - 0.25 * len(of_class)) < 0.1 * len(of_class) + 2


def test_a_set_in_which_every_image_is_the_last_of_a_class_cannot_be_cut() -> None:
    with pytest.raises(DataError, match="in the rest a class would have none"):
        holdout([(0,), (1,), (2,), (3,)], fraction=0.25, seed=0)
    with pytest.raises(DataError, match="cannot hold out"):
        holdout([(0,)], fraction=0.2, seed=0)


def test_val_of_several_labels_comes_out_of_train_only() -> None:
    labels = random_labels(200, [0.5, 0.2])
    entries = [Entry(f"{i}", label, "test" if i < 40 else "train") for i, label in enumerate(labels)]
    cut = cut_val(entries, 0.25, seed=1)
    assert cut[:40] == entries[:40]
    assert Counter(entry.split for entry in cut) == {"test": 40, "val": 40, "train": 120}
    val = [i for i, entry in enumerate(cut) if entry.split == "val"]
    assert {i - 40 for i in val} == holdout(labels[40:], fraction=0.25, seed=1)


def test_val_comes_out_of_train_only_with_groups_whole() -> None:
    entries = [Entry(f"{i}", i % 2, "test" if i < 20 else "train", f"g{i // 4}") for i in range(100)]
    cut = cut_val(entries, 0.25, seed=1)
    assert [e for e in cut if e.split == "test"] == entries[:20]
    where = {e.group: {x.split for x in cut if x.group == e.group} for e in cut}
    assert all(len(splits) == 1 for splits in where.values())
    assert Counter(e.split for e in cut)["val"] == 20


def test_a_manifests_digest_knows_splits_but_not_order() -> None:
    entries = [Entry("a", 0, "train"), Entry("b", 1, "test")]
    assert manifest_digest(entries) == manifest_digest(entries[::-1])
    assert manifest_digest(entries) != manifest_digest([entries[0], Entry("b", 1, "train")])


def test_no_lesion_crosses_the_grouped_split_and_some_cross_the_papers(
    serve_official: Callable[[str], object], packed_at: Callable[..., Path]
) -> None:
    crossing = {}
    for dataset_id in ("ham10k", "ham10k_grouped"):
        serve_official(dataset_id)
        packed = open_packed(packed_at(dataset_id, DataPolicy(val_fraction=0.2), incomplete_ok=True))
        splits: dict[str, set[str]] = {}
        for line in packed.index:
            splits.setdefault(line.group, set()).add(line.split)
        crossing[dataset_id] = sum({"train", "test"} <= where for where in splits.values())
        assert all(len(where & {"train", "val"}) < 2 for where in splits.values())
    assert crossing["ham10k_grouped"] == 0
    assert crossing["ham10k"] > 10


def test_the_released_split_is_scikit_learns_test_first_then_val_of_the_shuffled_rest(
    serve_official: Callable[[str], object], official: dict[str, dict[str, bytes]], packed_at: Callable[..., Path]
) -> None:
    import io

    import pandas as pd
    from sklearn.model_selection import train_test_split

    table = pd.read_csv(io.BytesIO(official["ham10k"]["HAM10000_metadata.tab"]), sep="\t")
    rest, test = train_test_split(table, test_size=0.15, stratify=table["dx"], random_state=42)
    train, val = train_test_split(rest, test_size=0.15 / 0.85, stratify=rest["dx"], random_state=42)
    serve_official("ham10k_released")
    packed = open_packed(packed_at("ham10k_released", incomplete_ok=True))
    for split, part in (("train", train), ("val", val), ("test", test)):
        found = {line.path for line in packed.index if line.split == split}
        assert found == {f"{name}.jpg" for name in part["image_id"]}


def test_the_order_of_the_metadata_is_of_no_consequence(
    official: dict[str, dict[str, bytes]], packed_at: Callable[..., Path], tmp_path: Path
) -> None:
    from mobilebench.datasets.acquire.archive import unpack

    digests = []
    for name, turn in (("one", False), ("two", True)):
        copy = tmp_path / name
        (copy / "HAM10000_images_part_1").mkdir(parents=True)
        for file, content in official["ham10k"].items():
            (tmp_path / file).write_bytes(content)
        header, *lines = official["ham10k"]["HAM10000_metadata.tab"].decode().splitlines()
        table = "\n".join([header, *(lines[::-1] if turn else lines)])
        (copy / "HAM10000_metadata.csv").write_text(table.replace("\t", ",") if turn else table)
        unpack(tmp_path / "HAM10000_images_part_1.zip", copy / "HAM10000_images_part_1")
        unpack(tmp_path / "HAM10000_images_part_2.zip", copy / ("b" if turn else "HAM10000_images_part_1"))
        folder = packed_at("ham10k", source=copy, out_dir=tmp_path / f"{name}_packed", incomplete_ok=True)
        digests.append(open_packed(folder).meta.digest)
    assert digests[0] == digests[1]


# images by class of the drawn splits whose files' names are known without the files; a class's files in their order
_EUROSAT = dict.fromkeys(eurosat.CLASSES, 3000) | {
    **dict.fromkeys(("Highway", "Industrial", "PermanentCrop", "River"), 2500),
    "Pasture": 2000,
}


def named(dataset_id: str, counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """(path, class) of every image in the reader's order: of the classes, then of the paths or, of NEU, the numbers."""
    forms = {"ucmerced": "{0}/{0}{1:02d}.tif", "neu": "{0}_{1}", "eurosat_ms": "{0}/{0}_{1}.tif"}
    form = forms.get(dataset_id, "{0}/{0}_{1}.jpg")
    first = 0 if dataset_id == "ucmerced" else 1
    found = []
    for name, n in counts.items():
        paths = [form.format(name, i) for i in range(first, first + n)]
        found += [(path, name) for path in (paths if dataset_id == "neu" else sorted(paths))]
    return found


@pytest.mark.parametrize(
    ("dataset_id", "test", "full", "tiny"),
    [
        ("neu", 0.2, dict.fromkeys(neu.CLASSES, 300), 10),
        ("eurosat", 0.3, _EUROSAT, 10),
        ("eurosat_80", 0.2, _EUROSAT, 10),
        ("eurosat_ms", 0.3, _EUROSAT, 10),
        ("ucmerced", 0.2, dict.fromkeys(ucmerced.CLASSES, 100), 5),
    ],
)
def test_pinned_splits_are_those_of_scikit_learn_over_the_names(
    dataset_id: str,
    test: float,
    full: dict[str, int],
    tiny: int,
    obtain: Callable[[str], Any],
    packed_at: Callable[..., Path],
) -> None:
    def digest(counts: Mapping[str, int]) -> str:
        pairs = named(dataset_id, counts)
        _, held = train_test_split(pairs, test_size=test, stratify=[name for _, name in pairs], random_state=42)
        tested = {path for path, _ in held}
        lines = sorted(f"{path}\t{'test' if path in tested else 'train'}\n" for path, _ in pairs)
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    spec = get(dataset_id)
    assert sum(full.values()) == sum(spec.counts.values())
    assert digest(full) == spec.split_digest
    packed = open_packed(packed_at(dataset_id, incomplete_ok=True, **obtain(dataset_id)))
    assert digest(dict.fromkeys(full, tiny)) == packed.meta.split_digest
