from __future__ import annotations

import os

import pytest

from mobilebench.system.cpu import cores
from mobilebench.system.names import did_you_mean, near

KNOWN = ("mobilenet", "mobileone", "mobilevit", "tinynet")


def test_near_names_come_best_first() -> None:
    assert near("mobilnet", KNOWN)[0] == "mobilenet"
    assert near("mobilnet", KNOWN, 1) == ["mobilenet"]
    assert near("x", KNOWN) == []


def test_the_question_names_them_or_is_empty() -> None:
    assert did_you_mean("mobilnet", KNOWN, 1) == "did you mean mobilenet?"
    assert did_you_mean("mobile", ("mobilea", "mobileb")).count(" or ") == 1
    assert not did_you_mean("x", KNOWN)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks here")
def test_an_affinity_mask_counts() -> None:
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert cores() == 1
    finally:
        os.sched_setaffinity(0, before)
    assert cores() == len(before)
