from __future__ import annotations

from mobilebench.analysis.origins import Origin, mixture, origins

TAGS = {
    "git_commit": "a" * 40, "git_dirty": "false", "torch": "2.15.0", "torchvision": "0.30", "timm": "1.0",
    "cpu": "X x2", "device": "cpu", "mobilebench": "0.1.0",
}  # fmt: skip
SAME = Origin(2, "a" * 12, "2.15.0", "0.30", "1.0", "cpu (X x2)")


def test_runs_made_alike_are_one_line_and_nothing_is_said() -> None:
    assert origins([TAGS, dict(TAGS)]) == (SAME,)
    assert mixture(origins([TAGS, TAGS])) == ""


def test_each_kind_of_difference_is_named_with_both_values() -> None:
    for change, words in (
        ({"git_commit": "b" * 40}, f"commit {'a' * 12} and {'b' * 12}"),
        ({"torch": "1.13"}, "torch 2.15.0 and 1.13"),
        ({"timm": "0.6"}, "timm 1.0 and 0.6"),
        ({"device": "cuda", "gpu": "RTX 3090"}, "device cpu (X x2) and RTX 3090"),
    ):
        found = origins([TAGS, TAGS, TAGS | change])
        assert found[0] == SAME
        assert words in mixture(found)


def test_uncommitted_changes_are_said_though_all_have_them() -> None:
    assert "uncommitted changes" in mixture(origins([TAGS | {"git_dirty": "true"}]))


def test_an_installed_package_is_named_by_its_version() -> None:
    (only,) = origins([TAGS | {"git_commit": "unknown"}])
    assert only.commit == "version 0.1.0"
