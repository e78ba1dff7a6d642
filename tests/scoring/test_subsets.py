"""Subsets of datasets: oracles from scipy and scikit-learn, and pure noise, on which nothing may look good."""

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.model_selection import LeaveOneOut

from mobilebench.errors import UserError
from mobilebench.scoring import Matrix, subsets, xscore
from mobilebench.scoring.subsets import (
    all_subsets,
    chance,
    complete,
    direct_scores,
    members_of,
    nested_spearman,
    place,
    predict_new,
    predicted_scores,
    subset_spearman,
)
from mobilebench.studies.beyond_imagenet import published as reference

TABLE = reference.matrix()
FULL = xscore(TABLE.mean).score
OTHERS = [name for name in TABLE.datasets if name not in reference.PAPER_FOUR]


def grid(accuracy: np.ndarray) -> Matrix:
    """A matrix of single runs from accuracies [M, D]."""
    models, datasets = (tuple(f"{kind}{i}" for i in range(n)) for kind, n in zip("md", accuracy.shape, strict=True))
    return Matrix(models, datasets, (0,), accuracy[..., None], np.zeros(accuracy.shape[1], dtype=np.int64))


def test_there_is_every_subset_once_and_the_whole_agrees_with_itself() -> None:
    assert len({s.datasets for s in all_subsets(TABLE, 4)}) == 35
    (whole,) = all_subsets(TABLE, 7)
    assert (whole.whole_spearman, whole.top_k) == pytest.approx((1, 1))
    assert whole.whole_rmse == pytest.approx(0, abs=1e-12)
    assert np.isnan(whole.spearman), "nothing is left out to be held against"


def test_a_subset_is_judged_as_scipy_would() -> None:
    _, found = place(all_subsets(TABLE, 4), reference.PAPER_FOUR, "spearman")
    direct = xscore(TABLE.select(datasets=reference.PAPER_FOUR).mean).score
    rest = xscore(TABLE.select(datasets=OTHERS).mean).score
    assert found.spearman == pytest.approx(stats.spearmanr(direct, rest).statistic)
    assert found.whole_spearman == pytest.approx(stats.spearmanr(direct, FULL).statistic)
    assert found.whole_rmse == pytest.approx(np.sqrt(np.mean((direct - FULL) ** 2)))
    assert found.top_k == pytest.approx(2 / 3)


def test_a_single_dataset_left_out_is_its_own_score() -> None:
    found = next(s for s in all_subsets(TABLE, 6) if "dogs" not in s.datasets)
    direct = xscore(TABLE.select(datasets=found.datasets).mean).score
    dogs = TABLE.mean[:, TABLE.datasets.index("dogs")]
    assert found.spearman == pytest.approx(stats.spearmanr(direct, dogs).statistic)


def test_the_order_is_by_the_datasets_left_out_and_there_the_papers_four_are_in_the_middle() -> None:
    found = all_subsets(TABLE, 4)
    assert [s.spearman for s in found] == sorted((s.spearman for s in found), reverse=True)
    assert place(found, reference.PAPER_FOUR, "spearman")[0] == 19
    assert place(found, reference.PAPER_FOUR, "whole_spearman")[0] == 1
    assert place(found, reference.PAPER_FOUR, "whole_rmse")[0] == 24


def test_the_nested_number_equals_a_plain_loop() -> None:
    """One choice without each model, its two places among all models, all on the anchors of the others."""
    pairs, weights = [], []
    for left in range(len(TABLE.models)):
        others = np.delete(TABLE.mean, left, axis=0)
        low, high = others.min(axis=0), others.max(axis=0)
        scaled = (TABLE.mean - low) / (high - low)
        scores = []
        for members in members_of(TABLE, 5):
            parts = [scaled[:, members], scaled[:, ~members]]
            scores.append([part.mean(axis=1) - 0.5 * part.var(axis=1, ddof=1) for part in parts])
        seen = [stats.spearmanr(np.delete(a, left), np.delete(b, left)).statistic for a, b in scores]
        chosen = np.flatnonzero(np.array(seen) > max(seen) - 1e-9)
        for k in chosen:
            pairs.append([stats.rankdata(score)[left] - 6 for score in scores[k]])
            weights.append(1 / len(chosen))
    a, b = np.array(pairs).T
    w = np.array(weights)
    assert nested_spearman(TABLE, 5) == pytest.approx(
        (w * a * b).sum() / np.sqrt((w * a * a).sum() * (w * b * b).sum())
    )


def test_on_pure_noise_the_honest_number_is_about_zero_and_the_chosen_best_is_not() -> None:
    """11 models x 7 datasets without structure: the best of 35 agrees with the others, a nested choice does not."""
    noise = np.random.default_rng(0).uniform(0.3, 0.9, (120, 11, 7))
    members = members_of(grid(noise[0]), 4)
    best = subset_spearman(noise, members).max(axis=1)
    nested = np.array([nested_spearman(grid(accuracy), 4) for accuracy in noise])
    assert best.mean() > 0.4
    assert abs(nested.mean()) < 0.1  # three standard errors


@pytest.mark.slow
def test_noise_passes_for_better_than_noise_in_at_most_one_of_twenty_grids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subsets, "DRAWS", 100)
    noise = np.random.default_rng(7).uniform(0.3, 0.9, (60, 8, 4))
    good = {"nested": 0, "best": 0, "one": 0}
    for accuracy in noise:
        matrix = grid(accuracy)
        expected, found = chance(matrix, 2), all_subsets(matrix, 2)
        assert expected is not None
        named = next(s for s in found if s.datasets == matrix.datasets[:2])
        good["nested"] += nested_spearman(matrix, 2) > expected.nested
        good["best"] += found[0].spearman > expected.best.spearman
        good["one"] += named.spearman > expected.one
    assert max(good.values()) <= 7  # of 60: exceeded by a rate of 0.05 in 1 of 100


def test_one_order_on_all_datasets_is_found() -> None:
    quality = np.linspace(0, 1, 11)[:, None]
    matrix = grid(0.4 + quality * np.linspace(0.2, 0.5, 7))
    expected = chance(matrix, 4)
    assert nested_spearman(matrix, 4) == pytest.approx(1)
    assert expected is not None
    assert expected.nested < 1


def test_too_many_models_have_no_noise_beside_them() -> None:
    assert chance(grid(np.random.default_rng(0).uniform(size=(60, 14))), 7) is None


def test_the_prediction_equals_scikit_learns_regression() -> None:
    part = xscore(TABLE.mean).normalised[:, [TABLE.datasets.index(d) for d in reference.PAPER_FOUR]]
    ours = predicted_scores(TABLE, reference.PAPER_FOUR, held_out=False)
    assert ours == pytest.approx(LinearRegression().fit(part, FULL).predict(part))


def test_a_held_out_model_is_scored_on_the_scale_and_the_line_of_the_others() -> None:
    accuracy = TABLE.mean
    columns = [TABLE.datasets.index(d) for d in reference.PAPER_FOUR]
    expected, full = [], []
    for seen, (left,) in LeaveOneOut().split(accuracy):
        low, high = accuracy[seen].min(axis=0), accuracy[seen].max(axis=0)
        scaled = (accuracy - low) / (high - low)
        target = scaled.mean(axis=1) - 0.5 * scaled.var(axis=1, ddof=1)
        line = LinearRegression().fit(scaled[np.ix_(seen, columns)], target[seen])
        expected.append(line.predict(scaled[[left]][:, columns])[0])
        full.append(target[left])
    assert predicted_scores(TABLE, reference.PAPER_FOUR) == pytest.approx(expected)
    found = place(all_subsets(TABLE, 4), reference.PAPER_FOUR, "spearman")[1]
    assert found.predicted_rmse == pytest.approx(np.sqrt(np.mean(np.subtract(expected, full) ** 2)))


def test_too_few_models_have_no_prediction_but_a_direct_score() -> None:
    small = TABLE.select(models=TABLE.models[:5])
    assert np.isnan(predicted_scores(small, reference.PAPER_FOUR)).all()
    assert np.isfinite(direct_scores(small, reference.PAPER_FOUR)).all()


def test_where_one_model_alone_differs_on_a_dataset_nothing_is_claimed() -> None:
    """Without that model the dataset has no scale, so no choice can be made there."""
    accuracy = np.random.default_rng(0).uniform(size=(5, 3))
    accuracy[:, 1] = [0.5, 0.5, 0.5, 0.5, 0.6]
    matrix = grid(accuracy)
    assert np.isnan(nested_spearman(matrix, 2))
    assert np.isfinite([s.spearman for s in all_subsets(matrix, 2)]).all()
    expected = chance(matrix, 2)
    assert expected is not None
    assert np.isnan(expected.nested)


def test_impossible_subsets_are_refused() -> None:
    with pytest.raises(UserError, match="need 3 or more datasets; the matrix has 2"):
        all_subsets(TABLE.select(datasets=TABLE.datasets[:2]), 2)
    with pytest.raises(UserError, match="2 to 7"):
        all_subsets(TABLE, 8)
    with pytest.raises(UserError, match="not among"):
        place(all_subsets(TABLE, 3), reference.PAPER_FOUR, "whole_rmse")
    flat = TABLE.mean.copy()
    flat[:, 2] = 0.5
    with pytest.raises(UserError, match="same value on d2"):
        all_subsets(grid(flat), 4)
    cells = {(f"m{i}", d, 0): 0.5 + i / 100 for i in range(5) for d in "xy" if (i, d) != (2, "y")}
    assert complete(Matrix.from_cells(cells, {})).models == ("m0", "m1", "m3", "m4")
    with pytest.raises(UserError, match="found 3"):
        complete(Matrix.from_cells({k: v for k, v in cells.items() if k[0] != "m4"}, {}))


def test_new_models_are_predicted_by_the_references_regression() -> None:
    seen = TABLE.select(models=[m for m in TABLE.models if m != "starnet"])
    new = TABLE.select(models=["starnet"], datasets=reference.PAPER_FOUR)
    found = predict_new(new, seen)
    at = TABLE.models.index("starnet")
    assert found.predicted == pytest.approx(predicted_scores(TABLE, reference.PAPER_FOUR)[[at]])
    columns = [TABLE.datasets.index(d) for d in reference.PAPER_FOUR]
    scaled = xscore(TABLE.mean).normalised[at, columns]  # starnet holds no anchor, so the scale is the same
    assert found.direct == pytest.approx([scaled.mean() - 0.5 * scaled.var(ddof=1)])
    assert 0 < found.error < 1
    with pytest.raises(UserError, match="digits, which the reference grid lacks"):
        predict_new(Matrix.from_cells({("a", "digits", 0): 0.5}, {}), TABLE)
    with pytest.raises(UserError, match="too few"):
        predict_new(new, TABLE.select(models=TABLE.models[:5]))
