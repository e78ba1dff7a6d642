"""Splits: stratified, grouped, reproducible."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from mobilebench.config.recipe import DataPolicy
from mobilebench.datasets import DataError
from mobilebench.datasets.packing.packed import open_packed
from mobilebench.datasets.spec import Entry
from mobilebench.datasets.splits import cut_val, holdout, manifest_digest

if TYPE_CHECKING:
    from collections.abc import Callable
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
