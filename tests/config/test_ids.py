from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mobilebench.config.ids import is_id, slug


@pytest.mark.parametrize("name", ["", "A", "a-b", "a.b", "../a", "a\n", "ä"])
def test_only_lower_case_letters_digits_and_underscores_make_an_id(name: str) -> None:
    assert not is_id(name)
    assert is_id("a_1")


names = st.text("abcz019_.:-/", min_size=1, max_size=20)


@given(names)
def test_a_slug_is_an_id_and_ids_are_their_own(name: str) -> None:
    assert re.fullmatch("[a-z0-9_]+", slug(name))
    if re.fullmatch("[a-z0-9_]+", name):
        assert slug(name) == name


@given(names, names)
def test_slugs_do_not_collide(one: str, other: str) -> None:
    assert (slug(one) == slug(other)) == (one == other)


def test_names_that_differ_in_a_separator_or_case_have_their_own_slugs() -> None:
    twins = ["timm:a.b", "timm:a_b", "timm:A_b", "timm_a_b", "timm:a-b"]
    assert len({slug(name) for name in twins}) == len(twins)
