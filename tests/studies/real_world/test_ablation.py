"""Claims on augmentation: a mean difference over datasets, with its interval."""

import numpy as np
import pytest
from scipy import stats

from mobilebench.config.suite import parse_suite, preset_text
from mobilebench.scoring import Matrix
from mobilebench.studies.real_world.ablation import AUGMIX, DEIT, FINE_TUNED, PRETRAINED
from mobilebench.studies.real_world.claims import check_claims
from mobilebench.studies.real_world.context import Context
from mobilebench.studies.study import Claim, Verdict

SUITE = parse_suite(preset_text("real_world_augmentation"), "real_world_augmentation")
NOISE = np.array([0.002, -0.002, 0.001, -0.001, 0.0])  # of five datasets


def claims(gain: dict[str, float], datasets: int = 5) -> dict[str, Claim]:
    """Hold the claims against a grid whose named models are better by so much than 0.8, with a little noise."""
    values = np.array([0.8 + gain.get(model, 0.0) + (NOISE if model in gain else 0 * NOISE) for model in SUITE.models])
    metrics = ("top1", "qwk", "roc_auc", "top1", "top1")[:datasets]
    matrix = Matrix(
        SUITE.models, SUITE.datasets[:datasets], (0,), values[:, :datasets, None], np.full(datasets, 5000), metrics
    )
    return {claim.name: claim for claim in check_claims(Context(matrix, {}))}


def test_the_claims_are_about_models_that_the_suite_has() -> None:
    assert {name for pair in (*PRETRAINED, *AUGMIX, *FINE_TUNED, *DEIT) for name in pair} <= set(SUITE.models)


@pytest.mark.parametrize(
    ("name", "models", "gain", "expected"),
    [
        ("pretrained_randaugment", ["resnet50_randaugment"], 0.02, "supported"),
        ("pretrained_randaugment", ["resnet50_randaugment"], -0.02, "contradicted"),
        ("pretrained_randaugment", ["resnet50_randaugment"], 0.0005, "leans for"),
        ("pretrained_augmix", ["resnet50_augmix"], 0.0, "supported"),
        ("pretrained_augmix", ["resnet50_augmix"], 0.02, "contradicted"),
        ("pretrained_augmix", ["resnet50_augmix"], 0.004, "leans for"),
        ("fine_tuned_randaugment", [better for better, _ in FINE_TUNED], 0.01, "supported"),
        ("fine_tuned_randaugment", ["resnet50_both_ra"], -0.001, "leans against"),
        ("deit_augmentation", ["deit_small_ra"], 0.0, "supported"),
        ("deit_augmentation", ["deit_small_ra"], 0.03, "contradicted"),
    ],
)
def test_a_claim_follows_its_rule(name: str, models: list[str], gain: float, expected: Verdict) -> None:
    assert claims(dict.fromkeys(models, gain))[name].verdict == expected


def test_the_interval_is_students() -> None:
    found = claims({"resnet50_randaugment": 0.01})["pretrained_randaugment"].pro[0]
    ends = stats.ttest_1samp(100 * (0.01 + NOISE), 0).confidence_interval()
    assert f"[{ends.low:+.2f}, {ends.high:+.2f}]" in found


def test_too_few_datasets_or_models_are_not_testable() -> None:
    assert claims({}, datasets=3)["deit_augmentation"].verdict == "not testable"
    matrix = Matrix(("resnet50",), ("cassava",), (0,), np.full((1, 1, 1), 0.8), np.array([100]))
    found = {claim.name: claim for claim in check_claims(Context(matrix, {}))}
    assert "the suite real_world_augmentation has them" in found["pretrained_augmix"].notes[0]
