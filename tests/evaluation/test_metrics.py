"""Every metric against scikit-learn, called here on its own, and against an example worked by hand."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from evaluation.made import drawn, predictions
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn import metrics as sk

from mobilebench.evaluation.metrics import (
    METRICS,
    Metric,
    MetricError,
    default_metric,
    get_metric,
    metric_ids,
    metrics_for,
    raise_if_undefined,
    readings,
)
from mobilebench.evaluation.target import TARGETS

if TYPE_CHECKING:
    from mobilebench.evaluation.predictions import Predictions
    from mobilebench.evaluation.target import Target

LN2, LN3, LN4 = math.log(2), math.log(3), math.log(4)


def value(name: str, p: Predictions) -> float:
    """Return a metric, NaN where it is undefined."""
    try:
        return METRICS[name].value(p)
    except MetricError:
        return math.nan


def equal(found: float, expected: float) -> bool:
    return found == pytest.approx(expected, abs=1e-12, nan_ok=True)


# ---------------------------------------------------------------------------------------------- scikit-learn


def one_class_by_scikit_learn(p: Predictions) -> dict[str, float]:
    """Return every metric of one class, by calls that share nothing with the package's."""
    classes = p.classes
    probabilities = softmax(p.logits.astype(np.float64), axis=1)
    present = np.unique(np.concatenate([p.targets, p.predicted]))
    told = [c for c in range(classes) if 0 < (p.targets == c).sum() < len(p)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        kappa = sk.cohen_kappa_score(p.targets, p.predicted, labels=list(range(classes)), weights="quadratic")
        per_class = {
            "roc_auc": [sk.roc_auc_score(p.targets == c, probabilities[:, c]) for c in told],
            "map": [sk.average_precision_score(p.targets == c, probabilities[:, c]) for c in told],
        }
        recalls = sk.recall_score(p.targets, p.predicted, labels=np.unique(p.targets), average=None)
    return {
        "top1": sk.accuracy_score(p.targets, p.predicted),
        "top5": (
            sk.top_k_accuracy_score(p.targets, p.logits, k=5, labels=list(range(classes))) if classes > 5 else math.nan
        ),
        "balanced_accuracy": recalls.mean(),
        "macro_f1": sk.f1_score(p.targets, p.predicted, labels=present, average="macro", zero_division=0.0),
        "qwk": kappa if len(present) > 1 else math.nan,
        **{name: float(np.mean(found)) if told else math.nan for name, found in per_class.items()},
        "nll": sk.log_loss(p.targets, probabilities, labels=list(range(classes))),
        "ece": ece_as_in_torchmetrics(p.targets, probabilities),
    }


def ece_as_in_torchmetrics(targets: np.ndarray, probabilities: np.ndarray, bins: int = 15) -> float:
    """Return the error as torchmetrics writes it: sum over bins of |accuracy - confidence| times the bin's share."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == targets
    error = 0.0
    for low in np.arange(bins) / bins:
        inside = (confidence > low) & (confidence <= low + 1 / bins)
        if inside.any():
            error += abs(right[inside].mean() - confidence[inside].mean()) * inside.mean()
    return error


@given(n=st.integers(1, 200), classes=st.integers(2, 12), seed=st.integers(0, 9), ties=st.booleans())
@settings(max_examples=10)
def test_metrics_of_one_class_are_those_of_scikit_learn(n: int, classes: int, seed: int, ties: bool) -> None:
    p = drawn("ordinal", n, classes, seed, ties=ties)
    expected = one_class_by_scikit_learn(p)
    assert set(expected) == {metric.id for metric in metrics_for("ordinal")}
    found = {name: value(name, p) for name in expected}
    assert {name: found[name] for name in expected if not equal(found[name], expected[name])} == {}


@given(n=st.integers(1, 200), classes=st.integers(1, 12), seed=st.integers(0, 9), ties=st.booleans())
@settings(max_examples=10)
def test_metrics_of_several_labels_are_those_of_scikit_learn(n: int, classes: int, seed: int, ties: bool) -> None:
    p = drawn("multi_label", n, classes, seed, ties=ties)
    chances = expit(p.logits.astype(np.float64))
    told = [c for c in range(classes) if 0 < p.targets[:, c].sum() < n]
    seen = [c for c in range(classes) if p.targets[:, c].any() or p.predicted[:, c].any()]

    def mean(by_class: Any, classes_of: list[int], said: np.ndarray) -> float:
        return float(np.mean([by_class(p.targets[:, c], said[:, c]) for c in classes_of])) if classes_of else math.nan

    expected = {
        "macro_f1": mean(lambda t, s: sk.f1_score(t, s, zero_division=0.0), seen, p.predicted),
        "roc_auc": mean(sk.roc_auc_score, told, chances),
        "map": mean(sk.average_precision_score, told, chances),
        "nll": float(np.mean([sk.log_loss(p.targets[:, c], chances[:, c], labels=[0, 1]) for c in range(classes)])),
    }
    assert set(expected) == {metric.id for metric in metrics_for("multi_label")}
    found = {name: value(name, p) for name in expected}
    assert {name: found[name] for name in expected if not equal(found[name], expected[name])} == {}


# ---------------------------------------------------------------------------------------------- worked by hand

# Six images of three grades. Truth 0 0 1 1 2 2; said 0 1 1 1 2 0.
GRADES = predictions("ordinal", [0, 0, 1, 1, 2, 2], np.eye(3)[[0, 1, 1, 1, 2, 0]] * 9)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("top1", 4 / 6),
        ("balanced_accuracy", (1 / 2 + 2 / 2 + 1 / 2) / 3),
        # Precision 1/2, 2/3, 1 and recall 1/2, 1, 1/2: 2PR / (P + R) is 1/2, 4/5, 2/3.
        ("macro_f1", (1 / 2 + 4 / 5 + 2 / 3) / 3),
        # Squared distances: 0 1 0 0 0 4, sum 5. By chance: every truth (2 of each) with every answer (2, 3, 1 of 6):
        # distances from 0: 3/6 + 4/6, from 1: 2/6 + 1/6, from 2: 8/6 + 3/6; two images each: 2 * 21/6 = 7.
        ("qwk", 1 - 5 / 7),
    ],
)
def test_labels_by_hand(name: str, expected: float) -> None:
    assert METRICS[name].value(GRADES) == pytest.approx(expected, abs=1e-12)


def test_a_grade_that_nobody_has_keeps_its_distance() -> None:
    """Of the grades 0, 3 and 4: 3 said for 0 costs 9 and 4 for 3 costs 1, whether 1 and 2 occur or not."""
    p = predictions("ordinal", [0, 0, 3, 4], np.eye(5)[[0, 3, 4, 4]])
    # Found: 9 + 1. By chance, answers 0, 3, 4, 4 to each truth: 0: 9 + 16 + 16, twice; 3: 9 + 1 + 1; 4: 16 + 1; over 4.
    assert METRICS["qwk"].value(p) == pytest.approx(1 - 10 / ((2 * 41 + 11 + 17) / 4), abs=1e-12)


def test_top5_by_hand() -> None:
    """Places of the true class: 5th, 6th, and among ties the larger class number comes first."""
    falling, equal_logits = [7, 6, 5, 4, 3, 2, 1], [0, 0, 0, 0, 0, 0, 0]
    p = predictions("single_label", [4, 5, 1, 2], [falling, falling, equal_logits, equal_logits])
    assert METRICS["top5"].per_image is not None
    assert METRICS["top5"].per_image(p).tolist() == [1, 0, 0, 1]
    assert METRICS["top5"].value(p) == 0.5


def test_the_log_loss_by_hand() -> None:
    """Softmax of (ln 2, 0): 2/3 and 1/3. Sigmoid of ln 3: 3/4; of 0: 1/2."""
    p = predictions("single_label", [0, 1], [[LN2, 0], [LN2, 0]])
    assert METRICS["nll"].value(p) == pytest.approx((-math.log(2 / 3) - math.log(1 / 3)) / 2, rel=1e-6)
    several = predictions("multi_label", [[1, 0]], [[LN3, 0]])
    assert METRICS["nll"].value(several) == pytest.approx((-math.log(3 / 4) - math.log(1 / 2)) / 2, rel=1e-6)


def test_calibration_by_hand() -> None:
    """Confidences 4/5 (right), 4/5 (wrong) share the bin (11/15, 12/15]; 3/5 (right) has (8/15, 9/15]."""
    p = predictions("single_label", [0, 1, 1], [[LN4, 0], [LN4, 0], [0, math.log(1.5)]])
    # Sums of hit minus confidence in the two bins: 1/5 - 4/5 = -3/5, and 2/5; over three images.
    assert METRICS["ece"].value(p) == pytest.approx((3 / 5 + 2 / 5) / 3, abs=1e-6)


def test_ranks_by_hand() -> None:
    """One label: scores 4 3 2 1 of truth 1 0 1 0. Pairs in order: 3 of 4. Precision at the positives: 1/1 and 2/3."""
    p = predictions("multi_label", [[1], [0], [1], [0]], [[4], [3], [2], [1]])
    assert METRICS["roc_auc"].value(p) == pytest.approx(3 / 4)
    assert METRICS["map"].value(p) == pytest.approx((1 + 2 / 3) / 2)


def test_tied_ranks_by_hand() -> None:
    """Scores 2 2 1 of truth 1 0 0: the pair (2, 2) counts a half, the pair (2, 1) one; precision at 2 is 1/2."""
    p = predictions("multi_label", [[1], [0], [0]], [[2], [2], [1]])
    assert METRICS["roc_auc"].value(p) == pytest.approx((1 / 2 + 1) / 2)
    assert METRICS["map"].value(p) == pytest.approx(1 / 2)


def test_ranks_of_one_class_are_a_mean_over_classes() -> None:
    """Three images, classes 0, 0, 1 of three; class 2 has no image and counts for nothing."""
    probabilities = np.array([[0.6, 0.3, 0.1], [0.3, 0.2, 0.5], [0.4, 0.5, 0.1]])
    p = predictions("single_label", [0, 0, 1], np.log(probabilities))
    # Class 0: 0.6 is above 0.4, 0.3 is not: 1/2. Class 1: 0.5 is above 0.3 and 0.2: 1.
    assert METRICS["roc_auc"].value(p) == pytest.approx((1 / 2 + 1) / 2)
    # Class 0: precision 1 at 0.6 and 2/3 at 0.3. Class 1: 1.
    assert METRICS["map"].value(p) == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)


def test_macro_f1_of_several_labels_by_hand() -> None:
    """Label 0: one right, one missed, F1 2/3. Label 1: said once, wrongly, 0. Label 2 occurs nowhere: left out."""
    p = predictions("multi_label", [[1, 0, 0], [1, 0, 0]], [[1, 1, -1], [-1, -1, -1]])
    assert METRICS["macro_f1"].value(p) == pytest.approx((2 / 3 + 0) / 2)


def test_one_label_is_one_class_not_two() -> None:
    """scikit-learn takes a single column of 0 and 1 for two classes; the label's F1 is that of its ones."""
    p = predictions("multi_label", [[1], [0], [0], [0]], [[1], [1], [-1], [-1]])
    assert METRICS["macro_f1"].value(p) == pytest.approx(2 / 3)


# ---------------------------------------------------------------------------------------------- degenerate


def undefined(p: Predictions) -> set[str]:
    return {metric.id for metric in metrics_for(p.target)} - readings(p).keys()


def test_one_class_in_test() -> None:
    p = predictions("ordinal", [1, 1, 1], np.eye(6)[[1, 1, 2]])
    assert undefined(p) == {"roc_auc", "map"}
    assert METRICS["balanced_accuracy"].value(p) == pytest.approx(2 / 3)
    # Class 1: precision 1, recall 2/3, F1 4/5; class 2 is said and never true: 0.
    assert METRICS["macro_f1"].value(p) == pytest.approx(4 / 5 / 2)
    assert METRICS["qwk"].value(p) == 0  # no better than by chance: always 1 is what chance says too
    with pytest.raises(MetricError, match=r"roc_auc is undefined for these 3 predictions: no class has both"):
        METRICS["roc_auc"].value(p)


def test_one_class_in_test_and_said() -> None:
    p = predictions("ordinal", [1, 1, 1], np.eye(6)[[1, 1, 1]])
    assert undefined(p) == {"roc_auc", "map", "qwk"}
    with pytest.raises(MetricError, match="truth and predictions are all of one class"):
        METRICS["qwk"].value(p)


def test_constant_scores_know_nothing() -> None:
    p = predictions("single_label", [0, 1, 2, 3], np.zeros((4, 4)))
    found = readings(p)
    assert (found["top1"], found["roc_auc"], found["map"]) == (0.25, 0.5, 0.25)
    assert found["nll"] == pytest.approx(LN4)
    assert found["ece"] == pytest.approx(0)  # 1/4 is the confidence and the share that is right


@pytest.mark.parametrize("target", TARGETS)
def test_one_image(target: Target) -> None:
    p = drawn(target, 1, 7)
    found = readings(p)
    assert {"roc_auc", "map"} <= undefined(p)
    assert "nll" in found
    assert all(math.isfinite(number) for number in found.values())


def test_nothing_true_and_nothing_said() -> None:
    p = predictions("multi_label", np.zeros((3, 2), np.int64), -np.ones((3, 2)))
    assert undefined(p) == {"macro_f1", "roc_auc", "map"}
    with pytest.raises(MetricError, match="no class is in the truth or predicted"):
        METRICS["macro_f1"].value(p)


def test_of_five_classes_there_is_no_top5() -> None:
    with pytest.raises(MetricError, match="of five classes or fewer"):
        METRICS["top5"].value(drawn("single_label", 20, 5))


@pytest.mark.parametrize("target", TARGETS)
def test_the_largest_logits_have_finite_metrics(target: Target) -> None:
    """A float32's largest, far beyond float16: softmax, sigmoid and log loss neither overflow nor divide by zero."""
    signs = np.where(np.random.default_rng(0).random((20, 6)) < 0.5, -1, 1)
    logits = (signs * 3e38).astype(np.float32)
    truth = (signs > 0).astype(int) if target == "multi_label" else np.arange(20) % 6
    with np.errstate(over="raise", divide="raise", invalid="raise"):
        found = readings(predictions(target, truth, logits))
        kept = readings(predictions(target, truth, logits).as_kept())
    assert found.keys() == kept.keys() >= {"nll", "roc_auc", "map", "macro_f1"}
    assert 0 <= kept["nll"] <= 2 * 65504


@given(target=st.sampled_from(TARGETS), n=st.integers(1, 60), classes=st.integers(1, 8), seed=st.integers(0, 99))
@settings(max_examples=12)
def test_values_keep_their_bounds_and_means_are_means(target: Target, n: int, classes: int, seed: int) -> None:
    p = drawn(target, n, classes, seed, ties=bool(seed % 2))
    for metric in metrics_for(target):
        found = value(metric.id, p)
        low, high = metric.bounds
        assert math.isnan(found) or low <= found <= high + 1e-12
        if metric.per_image is not None and not math.isnan(found):
            assert metric.per_image(p).shape == (n,)
            assert found == pytest.approx(metric.per_image(p).mean(), abs=1e-12)


# ---------------------------------------------------------------------------------------------- the list


def test_a_metric_of_another_target_says_which_there_are() -> None:
    message = "qwk is not for a multi_label target; for it there are macro_f1, roc_auc, map, nll"
    for ask in (METRICS["qwk"].value, METRICS["qwk"].pseudo_values):
        with pytest.raises(MetricError, match=message):
            ask(drawn("multi_label", 5, 3))


@pytest.mark.parametrize("target", TARGETS)
def test_the_default_metric_is_one_of_the_target(target: Target) -> None:
    assert default_metric(target) in metrics_for(target)


def test_an_unknown_metric_is_met_with_a_hint() -> None:
    with pytest.raises(MetricError, match=r"no metric 'macrof1'; did you mean macro_f1\? Metrics: top1, top5"):
        get_metric("macrof1")
    assert set(METRICS) <= set(metric_ids())


def test_readings_are_of_the_asked_metrics() -> None:
    assert readings(GRADES, [METRICS["top1"], METRICS["top5"]]) == {"top1": pytest.approx(4 / 6)}


@pytest.mark.parametrize(
    ("name", "number", "shown"),
    [("top1", 0.123456, "12.35"), ("qwk", -0.123456, "-0.1235"), ("nll", 2.0, "2.0000"), ("top1", math.nan, "n/a")],
)
def test_values_as_people_read_them(name: str, number: float, shown: str) -> None:
    assert METRICS[name].show(number) == shown


def test_a_value_outside_of_its_bounds_is_refused() -> None:
    percent = Metric("of_hundred", "Of a hundred", (0, 1), lambda p: 66.7)
    with pytest.raises(MetricError, match=r"of_hundred gives 66\.7, outside of its bounds 0 to 1"):
        percent.value(GRADES)


def test_what_rounding_puts_beyond_a_bound_is_brought_back() -> None:
    truth = np.repeat([[0], [1]], [2, 9], axis=0)  # of these scikit-learn sums a precision of 1.0000000000000002
    perfect = predictions("multi_label", truth, truth - 0.5 + np.arange(11)[:, None] / 1000)
    assert sk.average_precision_score(perfect.targets, perfect.logits) > 1
    assert METRICS["map"].value(perfect) == 1
    below = Metric("signed", "Signed", (-1, 1), lambda p: -1 - 1e-12)
    assert below.value(GRADES) == -1


@pytest.mark.parametrize(
    ("name", "target", "truth", "undefined"),
    [
        ("qwk", "ordinal", [1, 1, 1, 1], True),
        ("qwk", "ordinal", [1, 1, 1, 2], False),
        ("top5", "single_label", [0, 1, 2, 0], True),
        ("top1", "single_label", [1, 1, 1, 1], False),
        ("map", "multi_label", [[1, 0, 0], [1, 0, 0]], True),
        ("map", "multi_label", [[1, 0, 0], [0, 0, 0]], False),
    ],
)
def test_labels_alone_tell_where_a_metric_says_nothing(
    name: str, target: Target, truth: list[Any], undefined: bool
) -> None:
    if undefined:
        with pytest.raises(MetricError):
            raise_if_undefined(METRICS[name], target, np.array(truth), 3)
    else:
        raise_if_undefined(METRICS[name], target, np.array(truth), 3)


def test_a_metric_from_outside_may_be_undefined_for_perfect_predictions() -> None:
    def confidence_where_wrong(p: Predictions) -> float:
        wrong = p.predicted != p.targets
        return float(p.probabilities.max(axis=1)[wrong].mean()) if wrong.any() else math.nan

    raise_if_undefined(Metric("sure_and_wrong", "", (0, 1), confidence_where_wrong), "ordinal", np.array([0, 1]), 2)
    with pytest.raises(MetricError):
        raise_if_undefined(Metric("never", "", (0, 1), lambda p: math.nan), "ordinal", np.array([0, 1]), 2)


def test_a_function_that_raises_is_undefined_with_its_reason() -> None:
    def only_one_class(p: Predictions) -> float:
        return float(sk.roc_auc_score(p.targets[:0], p.targets[:0]))

    with pytest.raises(MetricError, match=r"picky cannot be had of these 6 predictions: .*0 sample"):
        Metric("picky", "Picky", (0, 1), only_one_class).value(GRADES)


def test_without_scikit_learn_readings_are_those_that_numpy_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.metrics", None)
    assert set(readings(drawn("ordinal", 50, 7))) == {"top1", "top5", "nll", "ece"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": "Top-1"}, "the metric's id is 'Top-1'; an id is made of"),
        ({"bounds": (1, 0)}, r"has the bounds \(1, 0\); expected \(lowest, highest\)"),
        ({"targets": frozenset()}, r"is for the targets \[\]; known are single_label"),
        ({"targets": frozenset({"boxes"})}, r"is for the targets \['boxes'\]; known are single_label"),
    ],
)
def test_a_metric_that_is_none(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Metric(**{"id": "mine", "title": "Mine", "bounds": (0, 1), "compute": lambda p: 0.0, **fields})


def test_a_machine_that_only_trains_imports_no_scikit_learn() -> None:
    code = (
        "import sys, mobilebench.evaluation.selection; sys.exit(str({'sklearn', 'torch', 'scipy'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100)
    assert answer.stderr.strip() == "set()"
