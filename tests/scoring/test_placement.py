"""Where a new model stands: published models put back among the others, a prediction by hand, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import LeaveOneOut, cross_val_predict

from mobilebench.errors import UserError
from mobilebench.scoring import Matrix
from mobilebench.scoring.placement import joined, place_new
from mobilebench.studies.beyond_imagenet import published

TABLE = published.matrix()
PRINTED = {row.model: row.xscore_7 for row in published.scores()}


def without(model: str) -> Matrix:
    return TABLE.select(models=[name for name in TABLE.models if name != model])


# Those that hold no dataset's extreme: the scale without them is the paper's.
@pytest.mark.parametrize("model", ["shufflenet", "starnet", "ghostnet", "mobilenet", "fbnet"])
def test_a_published_model_put_back_stands_where_the_paper_prints_it(model: str) -> None:
    (found,) = place_new(TABLE.select(models=[model]), without(model), draws=400)
    assert found.how == "measured"
    assert found.score == pytest.approx(PRINTED[model], abs=6e-4)
    # The paper's own table is not quite what its formulas give; the order is.
    assert found.place == 1 + sum(score > PRINTED[model] for score in PRINTED.values())
    assert found.of == 11
    assert found.place_low <= found.place <= found.place_high
    assert found.low < found.score < found.high
    assert found.missing == ()


def test_a_score_is_predicted_from_some_datasets() -> None:
    new, others = TABLE.select(models=["starnet"], datasets=published.PAPER_FOUR), without("starnet")
    (found,) = place_new(new, others, draws=20000)
    low, high = others.mean.min(axis=0), others.mean.max(axis=0)
    scaled = (others.mean - low) / (high - low)
    full = scaled.mean(axis=1) - 0.5 * scaled.var(axis=1, ddof=1)
    four = [TABLE.datasets.index(name) for name in published.PAPER_FOUR]
    own = (TABLE.mean[TABLE.models.index("starnet"), four] - low[four]) / (high - low)[four]
    score = LinearRegression().fit(scaled[:, four], full).predict(own[None])[0]
    assert found.how == "predicted"
    assert found.score == pytest.approx(score)
    assert found.place == 1 + (full > score).sum()
    assert found.missing == ("cifar10", "miniplaces", "indoor67")
    half = (found.high - found.low) / 2
    assert (found.high + found.low) / 2 == pytest.approx(score)
    # 10 models, 4 datasets and a constant: 5 degrees of freedom. The error that Student's t multiplies leaves anchors
    # out with the model, which moves it a little from leaving out with these anchors.
    held_out = cross_val_predict(LinearRegression(), scaled[:, four], full, cv=LeaveOneOut())
    assert half / stats.t.ppf(0.975, 5) == pytest.approx(root_mean_squared_error(full, held_out), rel=0.5)
    # Nearly all of the ten others lie within the interval's reach of a model in their middle.
    assert found.place_low < found.place < found.place_high


def test_each_model_is_placed_for_itself_by_what_it_ran_on() -> None:
    others = TABLE.select(models=[name for name in TABLE.models if name not in {"starnet", "fbnet"}])
    cells = {
        ("starnet", d, 3): float(TABLE.mean[TABLE.models.index("starnet"), j]) for j, d in enumerate(TABLE.datasets)
    }
    cells |= {("fbnet", d, 3): 0.5 for d in published.PAPER_FOUR}
    cells |= {("fbnet", "digits", 3): 0.9}
    whole, part = place_new(Matrix.from_cells(cells, {}), others, draws=200)
    assert (whole.how, part.how) == ("measured", "predicted")
    assert whole.of == part.of == 10
    assert part.datasets == tuple(d for d in TABLE.datasets if d in published.PAPER_FOUR)
    assert part.outside  # 50 % on CIFAR-100 is below all


def test_grids_join_on_what_both_have() -> None:
    new = Matrix.from_cells({("new", "dogs", 1): 0.5, ("new", "dogs", 2): 0.6, ("new", "mine", 1): 0.1}, {"dogs": 100})
    both = joined(TABLE, new)
    assert both.datasets == ("dogs",)
    assert both.seeds == (0, 1, 2)
    assert both.n_test.tolist() == [100]  # the smaller: no interval is too narrow
    assert both.mean[-1, 0] == pytest.approx(0.55)
    np.testing.assert_array_equal(both.mean[:-1, 0], TABLE.select(datasets=["dogs"]).mean[:, 0])


def test_what_cannot_be_placed_is_refused_with_what_to_do() -> None:
    with pytest.raises(UserError, match="starnet is among the reference's models already"):
        place_new(TABLE.select(models=["starnet"]), TABLE)
    one = Matrix.from_cells({("new", "dogs", 0): 0.5, ("new", "digits", 0): 0.5}, {})
    with pytest.raises(UserError, match=r"results on 1 of the reference's datasets \(dogs\)"):
        place_new(one, TABLE)
    by_f1 = Matrix.from_cells(
        {("new", d, 0): 0.5 for d in TABLE.datasets}, {}, dict.fromkeys(TABLE.datasets, "macro_f1")
    )
    with pytest.raises(UserError, match="are macro_f1, the reference's top1"):
        place_new(by_f1, TABLE)
