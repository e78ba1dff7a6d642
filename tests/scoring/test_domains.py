"""Standings by domain are those worked out by hand."""

from __future__ import annotations

import numpy as np

from mobilebench.scoring import Matrix
from mobilebench.scoring.domains import by_domain

# datasets: two medical, one texture, one of no domain, one medical by another metric (lower is better)
VALUES = np.array([
    [0.90, 0.70, 0.50, 0.1, 0.3],
    [0.90, 0.80, 0.60, 0.2, 0.2],
    [0.60, 0.60, 0.55, 0.3, 0.1],
    [0.80, np.nan, 0.40, 0.4, 0.4],
])  # fmt: skip
DATASETS = ("eyes", "skin", "cloth", "other", "lungs")
DOMAINS = {"eyes": "medical", "cloth": "texture", "skin": "medical", "other": ""}


def matrix(metrics: tuple[str, ...] = ("top1",) * 4 + ("nll",)) -> Matrix:
    return Matrix(("a", "b", "c", "d"), DATASETS, (0,), VALUES[:, :, None], np.full(5, 100), metrics)


def test_ranks_and_results_are_means_over_the_datasets_of_a_domain() -> None:
    medical, texture = by_domain(matrix(), DOMAINS)
    assert (medical.domain, medical.datasets, medical.metric) == ("medical", ("eyes", "skin"), "top1")
    # eyes: a and b share place 1, d 3, c 4; skin: b 1, a 2, c 3, and d has no result there
    np.testing.assert_allclose(medical.rank, [1.5, 1.0, 3.5, np.nan])
    np.testing.assert_allclose(medical.value, [0.80, 0.85, 0.60, np.nan])
    assert (texture.domain, texture.datasets) == ("texture", ("cloth",))
    np.testing.assert_allclose(texture.rank, [3, 1, 2, 4])
    np.testing.assert_allclose(texture.value, VALUES[:, 2])


def test_of_several_metrics_there_are_ranks_alone_and_a_lower_loss_is_better() -> None:
    medical, _ = by_domain(matrix(), DOMAINS | {"lungs": "medical"})
    assert medical.datasets == ("eyes", "skin", "lungs")
    assert medical.metric == ""
    # lungs: c 1, b 2, a 3, d 4
    np.testing.assert_allclose(medical.rank, [6 / 3, 4 / 3, 8 / 3, np.nan])
    assert np.isnan(medical.value).all()


def test_without_domains_there_is_nothing() -> None:
    assert by_domain(matrix(), {}) == ()
