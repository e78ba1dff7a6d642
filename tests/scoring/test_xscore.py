"""Eq. 1 to 3 on hand-worked numbers, against numpy's variance, and at the edges the paper leaves open."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mobilebench.errors import UserError
from mobilebench.scoring import Anchors, anchors_from_matrix, xscore

HAND = [[0.9, 0.2], [0.5, 0.6], [0.7, 0.5]]  # normalised: [1, 0], [0, 1], [0.5, 0.75]
MATRICES = hnp.arrays(
    np.float64, st.tuples(st.integers(2, 8), st.integers(2, 6)), elements=st.integers(0, 1000).map(lambda k: k / 1000),
)  # fmt: skip


def test_hand_worked_example() -> None:
    result = xscore(HAND, lam=0.5)
    assert result.normalised == pytest.approx(np.array([[1, 0], [0, 1], [0.5, 0.75]]))
    assert result.g == pytest.approx([0.5, 0.5, 0.625])
    assert result.v == pytest.approx([0.5, 0.5, 0.03125])
    assert result.score == pytest.approx([0.25, 0.25, 0.609375])
    assert not result.outside.any()


@given(MATRICES, st.floats(0, 1))
def test_equals_the_equations_written_out_one_model_at_a_time(accuracy: np.ndarray, lam: float) -> None:
    result = xscore(accuracy, lam=lam)
    flat = (accuracy.max(axis=0) == accuracy.min(axis=0)).any()
    for i, row in enumerate(accuracy):
        if flat:
            assert np.isnan(result.score[i])
            continue
        a = [(x - c.min()) / (c.max() - c.min()) for x, c in zip(row, accuracy.T, strict=True)]
        assert result.score[i] == pytest.approx(np.mean(a) - lam * np.var(a, ddof=1), abs=1e-9)


@given(MATRICES, st.integers(1, 9), st.floats(0, 0.05))
def test_a_rescaled_dataset_leaves_the_score_alone(accuracy: np.ndarray, tenths: int, shift: float) -> None:
    scaled = accuracy * (tenths / 10) + shift
    assert xscore(scaled).score == pytest.approx(xscore(accuracy).score, abs=1e-6, nan_ok=True)


def test_fixed_anchors_keep_and_mark_what_leaves_the_range() -> None:
    result = xscore([[0.9, 0.5]], anchors=Anchors(np.array([0.4, 0.6]), np.array([0.8, 0.8])))
    assert result.normalised == pytest.approx(np.array([[1.25, -0.5]]))
    assert result.outside.tolist() == [[True, True]]
    assert result.g == pytest.approx([0.375])


def test_a_new_model_under_fixed_anchors_moves_nobody_else() -> None:
    anchors = anchors_from_matrix(HAND)
    before = xscore(HAND, anchors=anchors).score
    after = xscore([*HAND, [0.99, 0.1]], anchors=anchors).score
    assert after[:3].tolist() == before.tolist()
    assert xscore([*HAND, [0.99, 0.1]]).score[0] != pytest.approx(before[0])


def test_an_absent_cell_leaves_only_its_own_model_without_a_score() -> None:
    result = xscore([[0.9, 0.2], [0.5, np.nan], [0.7, 0.5]])
    assert np.isnan(result.score).tolist() == [False, True, False]
    assert anchors_from_matrix([[0.9, np.nan], [0.5, np.nan]]).low == pytest.approx([0.5, np.nan], nan_ok=True)


def test_a_dataset_without_a_range_and_a_single_dataset_have_no_score() -> None:
    assert np.isnan(xscore([[0.9, 0.5], [0.8, 0.5]]).score).all()
    single = xscore([[0.9], [0.8]])
    assert single.g.tolist() == [1.0, 0.0]
    assert np.isnan(single.v).all()
    assert np.isnan(single.score).all()
    assert xscore([[0.9], [0.8]], lam=0).score.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("accuracy", "options", "words"),
    [
        ([[95.1, 80.0], [90.0, 70.0]], {}, "divide percent by 100"),
        (HAND, {"lam": 1.5}, "lambda is 1.5"),
        (HAND, {"lam": float("nan")}, "lambda is nan"),
        ([0.5, 0.6], {}, r"shape \[2\]"),
        (HAND, {"anchors": Anchors(np.array([0.1]), np.array([0.9]))}, "1 anchors for 2 datasets"),
    ],
)
def test_bad_input_is_refused_in_words(accuracy: list[object], options: dict[str, object], words: str) -> None:
    with pytest.raises(UserError, match=words):
        xscore(accuracy, **options)
