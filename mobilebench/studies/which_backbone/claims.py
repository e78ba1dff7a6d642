"""The paper's statements, each put as a test that a matrix can pass or fail, with the evidence for and against.

A verdict follows from the stated rule alone. "Leans" means that the point estimate says so while the test does not
exclude the contrary; with eleven models that is the usual outcome. How often each verdict is wrong, on equal models
too, and how often it is right: `python -m benchmarks.backbone_verdicts`, with figures in benchmarks/RESULTS.md.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from mobilebench.studies.study import Claim, judge
from mobilebench.studies.which_backbone import evidence

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from mobilebench.studies.study import Evidence
    from mobilebench.studies.which_backbone.context import Context


def check_claims(context: Context, *, only: Collection[str] | None = None) -> tuple[Claim, ...]:
    """Return a verdict on each of the paper's claims (or on those named in `only`) for one matrix.

    The claims are about the paper's datasets and models, by their ids here: a claim whose models or datasets a matrix
    lacks is not testable.
    """
    return tuple(_judge(context, *entry) for entry in _CLAIMS if only is None or entry[0] in only)


def _judge(context: Context, name: str, statement: str, rule: str, test: Callable[[Context], Evidence]) -> Claim:
    def tested() -> Evidence:
        found = test(context)
        found.remarks.extend(context.remarks)
        return found

    return judge(name, statement, rule, tested)


_BY_DRAWS = "in at least 97.5 % of the draws of the true results"
_CLAIMS: tuple[tuple[str, str, str, Callable[[Context], Evidence]], ...] = (
    (
        "low_data",
        "Convolutional networks outperform transformers with little data (abstract, section 7)",
        (
            "by the mean rank over the datasets with 10 % or 1 % of the train images: supported if transformers rank "
            "lower with permutation p < 0.05, contradicted if higher"
        ),
        evidence.low_data,
    ),
    (
        "low_data_loss",
        "Transformers do poorly where the dataset is small (section 9): they lose more than others as data get fewer",
        (
            "by the change of the mean rank from all train images to 10 % or 1 % of the same datasets: supported if "
            "transformers lose more with permutation p < 0.05, contradicted if less"
        ),
        evidence.low_data_loss,
    ),
    (
        "imagenet",
        "Higher ImageNet accuracy does not mean higher fine-tuning accuracy (section 7)",
        (
            "to predict is to carry half the variance of the mean ranks over the datasets (Spearman 0.71): supported "
            "if the 95 % interval lies below, contradicted if above"
        ),
        evidence.imagenet,
    ),
    (
        "natural",
        "ConvNeXt is the best on natural images (section 7)",
        f"supported if its mean rank is the best {_BY_DRAWS}; contradicted if one model's is better in as many",
        partial(evidence.best_in, domain="natural", model="convnext_tiny"),
    ),
    (
        "astronomy",
        "WaveMix is the best on galaxies (section 7)",
        f"supported if its mean rank is the best {_BY_DRAWS}; contradicted if one model's is better in as many",
        partial(evidence.best_in, domain="astronomy", model="wavemix"),
    ),
    (
        "lighter",
        "ShuffleNet is a better choice than MobileNet (section 7)",
        (
            "ahead in a domain is ahead on more of its datasets than behind, and a domain in which it is even counts "
            f"half: supported if it is ahead in more than half of the domains {_BY_DRAWS}, contradicted if in fewer"
        ),
        evidence.lighter,
    ),
    (
        "medical",
        "ConvNeXt and Swin perform poorly on medical images (section 7)",
        (
            f"supported if convnext_tiny and both Swins have the three worst mean ranks {_BY_DRAWS}; contradicted if "
            "one of them is better than the median in as many"
        ),
        partial(evidence.poor_in, domain="medical"),
    ),
    (
        "stay_on_top",
        "Models on top with all data stay on top with little (sections 6.2, 7)",
        (
            "to stay is that the order with all train images carries half the variance of the order with fewer (mean "
            "Spearman over datasets 0.71): supported if the 95 % interval over models lies above, contradicted if it "
            "lies below what so few models and noise would leave of 0.71, where noise leaves half and more"
        ),
        evidence.stay_on_top,
    ),
    (
        "overall",
        "ConvNeXt is the best overall (Table 1)",
        (
            "by six ways of aggregating, because the paper names none: supported if no model is above it in any way "
            f"{_BY_DRAWS}, contradicted if one model is at least equal in every way and above it in some in as many; "
            "else by most of the ways"
        ),
        partial(evidence.best_overall, model="convnext_tiny"),
    ),
)
CLAIMS = tuple(name for name, *_ in _CLAIMS)
