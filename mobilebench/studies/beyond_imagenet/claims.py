"""The paper's statements, each put as a test that a matrix can pass or fail, with the evidence for and against.

A verdict follows from the stated rule alone. "Leans" means that the point estimate says so while its 95 % interval
does not exclude the contrary; with eleven models that is the usual outcome. How often each verdict is wrong, on equal
models too, and how often it is right: `python -m benchmarks.verdicts`, with figures in benchmarks/RESULTS.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.studies.beyond_imagenet import evidence
from mobilebench.studies.study import Claim, judge

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from mobilebench.studies.beyond_imagenet.context import Context
    from mobilebench.studies.study import Evidence


# The row of Table 5 that a claim is about.
_ELEMENT_OF = {"transformers": "layerwise_transformer", "channel_attention": "squeeze_excite"}


def check_claims(context: Context, *, only: Collection[str] | None = None) -> tuple[Claim, ...]:
    """Return a verdict on each of the paper's claims (or on those named in `only`) for one matrix.

    The claims are about the paper's datasets: a matrix with fewer than four of them can test none.
    """
    return tuple(_judge(context, *entry) for entry in _CLAIMS if only is None or entry[0] in only)


def _judge(context: Context, name: str, statement: str, rule: str, test: Callable[[Context], Evidence]) -> Claim:
    def tested() -> Evidence:
        evidence.require_papers_datasets(context)
        return test(context)

    return judge(name, statement, rule, tested, *_on_elements(context, name))


def _on_elements(context: Context, name: str) -> tuple[str, ...]:
    """Return what a reader must know of the flags behind a claim about an architectural element."""
    if name not in _ELEMENT_OF:
        return ()
    return (*context.element_notes.get(_ELEMENT_OF[name], ()), *context.element_remarks)


_SINGLE_RUNS = "Single runs: training noise is assumed, 1 point (standard deviation) at an accuracy of 50 %"
_CLAIMS: tuple[tuple[str, str, str, Callable[[Context], Evidence]], ...] = (
    (
        "leaders",
        "EfficientNet and ConvMixer lead (sections 4.1, 5)",
        (
            "supported if both hold the first two ranks in at least 97.5 % of the draws of the true scores; "
            "contradicted if two models each stand above one of them in at least 97.5 %. " + _SINGLE_RUNS
        ),
        evidence.leaders,
    ),
    (
        "last",
        "ConvNeXt has the lowest xScore (section 4.1)",
        (
            "supported if it is last in at least 97.5 % of the draws of the true scores; contradicted if one "
            "model stands below it in at least 97.5 %. " + _SINGLE_RUNS
        ),
        evidence.last,
    ),
    (
        "imagenette",
        "Imagenette accuracy does not reliably predict cross-dataset performance (abstract, 4.2, 5)",
        (
            "to predict is to carry half the variance of the ranks on the other datasets (Spearman 0.71): supported if "
            "the 95 % interval lies below, contradicted if above"
        ),
        evidence.imagenette,
    ),
    (
        "four_suffice",
        "Four datasets closely approximate the full xScore (4.1, 5)",
        (
            "to approximate is to carry half the variance of the ranks on the datasets outside the four (Spearman "
            "0.71): supported if the 90 % interval lies above, contradicted if below, undecided where the datasets "
            "do not order the models alike beyond noise"
        ),
        evidence.four_suffice,
    ),
    (
        "best_four",
        "Imagenette, CIFAR-100, HAM10k and Dogs are the best four (4.1)",
        (
            "by Spearman with the datasets outside the subset, on draws of the test images: supported if first alone "
            "in 95 % of them, contradicted if behind a quarter of all subsets in 95 %, undecided where the datasets "
            "do not order the models alike beyond noise"
        ),
        evidence.best_four,
    ),
    (
        "transformers",
        "Transformer blocks add little (abstract, 4.1)",
        "needs two networks with them; contradicted if they score higher with permutation p < 0.05",
        evidence.transformers,
    ),
    (
        "channel_attention",
        "Channel-wise attention promotes generalisation (abstract, 4.3)",
        "supported if networks with squeeze-and-excite score higher with permutation p < 0.05",
        evidence.channel_attention,
    ),
    (
        "params",
        "Parameter count is not what drives xScore (section 5)",
        (
            "to drive is to carry half the variance of the ranks (Spearman beyond 0.71 either way): supported if the "
            "95 % interval lies within, contradicted if beyond"
        ),
        evidence.params,
    ),
)
