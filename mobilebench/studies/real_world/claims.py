"""The study's statements, each put as a test that a measured matrix can pass or fail.

A verdict follows from the stated rule alone; "leans" means that the estimate says so while its 95 % interval does not
exclude the contrary. How often the rules behind them err: `python -m benchmarks.prediction`, with figures in
benchmarks/RESULTS.md.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mobilebench.studies.real_world import ablation, clip, evidence
from mobilebench.studies.study import Claim, judge

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobilebench.studies.real_world.context import Context
    from mobilebench.studies.study import Evidence

NO_TABLE = (
    "of this study no results of single models are known here; hold the claim against results of your own with "
    "--matrix FOLDER"
)


def check_claims(context: Context | None) -> tuple[Claim, ...]:
    """Return a verdict on each claim for one matrix; without one all are "not testable"."""
    return tuple(_judge(context, *entry) for entry in _CLAIMS)


def _judge(context: Context | None, name: str, statement: str, rule: str, test: Callable[[Context], Evidence]) -> Claim:
    if context is None:
        return Claim(name, statement, rule, "not testable", notes=(NO_TABLE,))
    return judge(name, statement, rule, partial(test, context))


_TREND = "supported if the 95 % interval of the correlation lies above 0, contradicted if below"
_GAIN = "mean gain over datasets, in points, with Student's 95 % interval: supported if above 0, contradicted if below"
_LITTLE = (
    "hardly is less than half a point, mean over datasets: supported if Student's 95 % interval lies below, "
    "contradicted if above"
)
_CLAIMS: tuple[tuple[str, str, str, Callable[[Context], Evidence]], ...] = (
    (
        "not_consistent",
        "Higher ImageNet accuracy does not consistently yield better results (abstract)",
        (
            "consistently is on every dataset, and to predict is to carry half the variance of the true results (r of "
            "0.71): supported if on some dataset it surely does not predict, corrected for their number, contradicted "
            "if it predicts on every one"
        ),
        evidence.not_consistent,
    ),
    ("cct20_trend", "Results on CCT-20 rise with ImageNet accuracy", _TREND, evidence.trend("cct20")),
    ("hpa_trend", "Results on HPA rise with ImageNet accuracy", _TREND, evidence.trend("hpa")),
    (
        "aptos_flat",
        "On APTOS, models after VGG show no significant improvement",
        (
            "of the models at VGG-13's ImageNet accuracy and above: what the line gains from the lowest to the highest "
            "of them is supported as none if its 95 % interval lies below 0.03 of kappa, contradicted if above"
        ),
        evidence.aptos_flat,
    ),
    (
        "melanoma_weak",
        "On melanoma the correlation is positive and weak (0.44)",
        (
            "weak is less than half the variance (r of 0.71): supported if the 95 % interval lies between 0 and that, "
            "contradicted if outside"
        ),
        evidence.melanoma_weak,
    ),
    (
        "cassava_flat",
        "On Cassava the normalised slope is near zero (0.02)",
        (
            "near zero is less than 0.1 point for a point on ImageNet either way: supported if the 95 % interval lies "
            "within, contradicted if outside"
        ),
        evidence.cassava_flat,
    ),
    (
        "eurosat_saturated",
        "On EuroSAT every model of more than 60 % on ImageNet reaches 98.5 %",
        (
            "supported if the 95 % interval of each such model lies above 98.5 %, contradicted if the interval of one, "
            "corrected for their number, lies below"
        ),
        evidence.eurosat_saturated,
    ),
    (
        "others_explain",
        "The average over the other real-world datasets explains variance beyond ImageNet accuracy",
        (
            "nested regressions, all datasets together: supported if the mean partial correlation is above 0 with "
            "permutation p of 0.025 or less; that nothing is explained no matrix of this size can show"
        ),
        evidence.others_explain,
    ),
    (
        "params",
        "Parameter count is not a good indicator of results on real-world datasets",
        (
            "to indicate is to carry half the variance of the true results: supported if log parameters surely do not "
            "on any dataset, contradicted if they surely do on more than half of them"
        ),
        evidence.params,
    ),
    (
        "rivals",
        "Number of classes and size of the dataset do not explain where ImageNet accuracy predicts",
        (
            "over datasets, Spearman of each with the correlation: supported if both 95 % intervals lie within 0.71 "
            "either way, contradicted if one lies beyond"
        ),
        evidence.rivals,
    ),
    (
        "pretrained_randaugment",
        "Pretraining with RandAugment improves results",
        _GAIN,
        ablation.gains(ablation.PRETRAINED),
    ),
    ("pretrained_augmix", "Pretraining with AugMix does not", _LITTLE, ablation.gains_little(ablation.AUGMIX)),
    (
        "fine_tuned_randaugment",
        "Fine-tuning with RandAugment usually improves results further",
        _GAIN,
        ablation.gains(ablation.FINE_TUNED),
    ),
    (
        "deit_augmentation",
        "More augmentation does not significantly improve DeiT",
        _LITTLE,
        ablation.gains_little(ablation.DEIT),
    ),
    (
        "clip_cct20",
        "CLIP ViT-L/14 at 336 px with more augmentation reaches 83.4 % on CCT-20",
        "supported if the 95 % interval of its top-1 lies above 83.4 %, contradicted if below",
        clip.reaches,
    ),
    (
        "clip_high",
        "CLIP models achieve high performance on these datasets",
        f"high is above the network of the highest ImageNet accuracy; {_GAIN}",
        clip.is_high,
    ),
)
