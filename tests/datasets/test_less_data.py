"""Which train images a derived dataset has, drawn from labels and names alone."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import train_test_split

from mobilebench.config.data import DerivedData
from mobilebench.datasets.labels import class_numbers
from mobilebench.datasets.less_data import draw, share
from mobilebench.datasets.spec import ClassLabel, DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

CLASSES = tuple("abcdef")
one_class = st.lists(st.integers(0, 5), min_size=1, max_size=120)
several = st.lists(st.frozensets(st.integers(0, 5)).map(lambda s: tuple(sorted(s))), min_size=1, max_size=60)
fractions = st.floats(0.001, 1.0)
seeds = st.integers(0, 5)


def drawn(labels: Sequence[ClassLabel], groups: Sequence[str] = (), **amount: Any) -> list[int]:
    names = [f"{i}.png" for i in range(len(labels))]
    return draw(labels, names, groups or [""] * len(labels), DerivedData("parent", **amount), CLASSES)


def counts(labels: Sequence[ClassLabel], places: Sequence[int]) -> Counter[int]:
    return Counter(number for i in places for number in class_numbers(labels[i]))


def shuffled(sizes: Sequence[int]) -> list[int]:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return [int(label) for label in np.random.default_rng(0).permutation(labels)]


@st.composite
def grouped(draw_from: st.DrawFn, labels: st.SearchStrategy[list[Any]]) -> tuple[list[ClassLabel], list[str]]:
    found = draw_from(labels)
    group = st.sampled_from(["", "p", "q", "r", "s", "t", "u"])
    return found, draw_from(st.lists(group, min_size=len(found), max_size=len(found)))


@given(grouped(one_class | several), fractions, fractions, seeds)
def test_the_smaller_fraction_is_inside_the_larger(
    data: tuple[list[ClassLabel], list[str]], one: float, other: float, seed: int
) -> None:
    labels, groups = data
    small, large = (drawn(labels, groups, train_fraction=f, seed=seed) for f in sorted([one, other]))
    assert set(small) <= set(large)


@given(grouped(one_class | several), seeds)
def test_every_larger_amount_holds_the_smaller(data: tuple[list[ClassLabel], list[str]], seed: int) -> None:
    labels, groups = data
    number_of = counts(labels, range(len(labels)))
    least = len(drawn(labels, groups, train_fraction=1e-9, seed=seed))
    cut = [set(drawn(labels, groups, max_train=n, seed=seed)) for n in range(max(least, 1), len(labels) + 1)]
    assert all(small <= large for small, large in pairwise(cut))
    assert all(len(some) <= n for n, some in enumerate(cut, max(least, 1)))
    if number_of.keys() == set(range(len(CLASSES))):
        each = [set(drawn(labels, groups, per_class=k, seed=seed)) for k in range(1, min(number_of.values()) + 1)]
        assert all(small <= large for small, large in pairwise(each))


@given(grouped(one_class | several), fractions, seeds)
def test_every_class_keeps_an_image_and_every_group_is_whole(
    data: tuple[list[ClassLabel], list[str]], fraction: float, seed: int
) -> None:
    labels, groups = data
    some = drawn(labels, groups, train_fraction=fraction, seed=seed)
    assert some == sorted(set(some))
    assert counts(labels, some).keys() == counts(labels, range(len(labels))).keys()
    taken = {groups[i] for i in some if groups[i]}
    assert all((i in set(some)) is (group in taken) for i, group in enumerate(groups) if group)


@given(st.lists(st.integers(1, 60), min_size=2, max_size=6), fractions, seeds)
def test_each_class_has_its_share(sizes: list[int], fraction: float, seed: int) -> None:
    """The bound of a divisor method: all shares are rounded at one common fraction, near the one asked for."""
    labels = shuffled(sizes)
    some = drawn(labels, train_fraction=fraction, seed=seed)
    found, wanted = counts(labels, some), share(fraction, len(labels))
    assert len(some) == max(wanted, len(sizes))
    if all(fraction * size >= 1 for size in sizes):  # no class has an image beyond its share
        for number, size in enumerate(sizes):
            assert abs(found[number] - wanted * size / len(labels)) <= 0.5 + len(sizes) / 2 * size / len(labels)


@given(
    st.integers(1, 10), st.lists(st.integers(1, 8), min_size=2, max_size=6), st.sampled_from([2, 4, 5, 8, 10]), seeds
)
def test_the_classes_have_the_sizes_that_scikit_learn_gives_them(
    kept: int, times: list[int], of: int, seed: int
) -> None:
    """Where every share is a whole number there is one stratified answer."""
    kept = min(kept, of - 1)
    labels = shuffled([n * of for n in times])
    some = drawn(labels, train_fraction=kept / of, seed=seed)
    theirs, _ = train_test_split(labels, train_size=kept * sum(times), stratify=labels, random_state=seed)
    assert counts(labels, some) == Counter(theirs)


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param((4693, 779, 769, 359, 228, 99, 80), id="as HAM10000's classes"),
        pytest.param((5000,) * 10, id="as CIFAR-10's"),
        pytest.param((101, 57, 31, 17, 13), id="primes"),
    ],
)
@pytest.mark.parametrize("fraction", [0.01, 0.05, 0.1, 0.29, 0.5])
def test_of_real_sizes_no_class_differs_by_more_than_one_from_scikit_learns(
    sizes: tuple[int, ...], fraction: float
) -> None:
    labels = shuffled(sizes)
    names = [str(i) for i in range(len(labels))]
    settings = DerivedData("x", train_fraction=fraction)
    some = draw(labels, names, [""] * len(labels), settings, [""] * len(sizes))
    theirs, _ = train_test_split(labels, train_size=max(len(some), len(sizes)), stratify=labels, random_state=0)
    found = counts(labels, some)
    assert all(abs(found[number] - Counter(theirs)[number]) <= 1 for number in range(len(sizes)))


@given(st.lists(st.integers(3, 40), min_size=6, max_size=6), st.integers(1, 3), seeds)
def test_per_class_is_exact_where_an_image_has_one_class(sizes: list[int], k: int, seed: int) -> None:
    labels = shuffled(sizes)
    assert set(counts(labels, drawn(labels, per_class=k, seed=seed)).values()) == {k}


@given(grouped(one_class | several), seeds)
def test_per_class_is_the_least_where_groups_are_whole_or_labels_several(
    data: tuple[list[ClassLabel], list[str]], seed: int
) -> None:
    labels, groups = data
    labels += [(n,) if isinstance(labels[0], tuple) else n for n in range(6)] * 2
    groups += [""] * 12
    found = counts(labels, drawn(labels, groups, per_class=2, seed=seed))
    assert min(found[number] for number in range(6)) >= 2


def test_images_of_no_class_are_drawn_too() -> None:
    labels: list[ClassLabel] = [(0,), (1,), (2,), (3,), (4,), (5,), (0, 1), (), (), ()] * 4
    assert sum(not labels[i] for i in drawn(labels, per_class=2)) == 2
    assert sum(not labels[i] for i in drawn(labels, train_fraction=0.5)) in {5, 6, 7}


def test_a_fraction_with_groups_is_as_near_as_whole_groups_allow() -> None:
    labels, groups = [0] * 60 + [1] * 60, [f"g{i // 6}" for i in range(120)]
    assert len(drawn(labels, groups, train_fraction=0.5)) == 60
    assert len(drawn(labels, groups, train_fraction=0.58)) == 72  # 69 wanted
    assert len(drawn(labels, groups, max_train=69)) == 66
    assert len(drawn(labels, groups, train_fraction=0.01)) == 12  # a group of each class


def test_another_seed_draws_others_and_the_same_one_does_not() -> None:
    labels = shuffled([50, 50])
    one, again, other = (drawn(labels, train_fraction=0.2, seed=seed) for seed in (0, 0, 1))
    assert one == again != other
    assert counts(labels, one) == counts(labels, other)


def test_an_image_added_leaves_the_order_of_the_others() -> None:
    """So a set of one's own that grows keeps what was drawn of it, but for what the new image stands before."""
    names, labels = [f"{i}" for i in range(60)], [i % 2 for i in range(60)]
    settings = DerivedData("x", max_train=20)
    before = {names[i] for i in draw(labels, names, [""] * 60, settings, "ab")}
    grown, more = ["new", *names], [0, *labels]
    after = {grown[i] for i in draw(more, grown, [""] * 61, settings, "ab")}
    assert len(before & after) >= 18


@pytest.mark.parametrize(("fraction", "images", "wanted"), [(0.1, 30, 3), (0.29, 100, 29), (0.01, 4434, 44), (1, 7, 7)])
def test_a_fraction_is_read_as_it_is_written(fraction: float, images: int, wanted: int) -> None:
    assert share(fraction, images) == wanted


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        ({"per_class": 4}, "per_class is 4, and 2 of 6 classes have fewer train images: e 3, f 2"),
        ({"max_train": 5}, "max_train is 5, but one image or whole group of every class are 6 images"),
    ],
)
def test_what_the_classes_cannot_give_is_refused(amount: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        drawn(shuffled([9, 8, 7, 6, 3, 2]), **amount)
