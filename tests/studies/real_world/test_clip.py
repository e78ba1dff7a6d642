"""Claims on CLIP, on made grids in which they hold and do not."""

import numpy as np
import pytest
from scipy import stats

from mobilebench.config.suite import parse_suite, preset_text
from mobilebench.scoring import Matrix
from mobilebench.studies.real_world import clip
from mobilebench.studies.real_world import published as reference
from mobilebench.studies.real_world.claims import check_claims
from mobilebench.studies.real_world.context import Context
from mobilebench.studies.study import Claim, Verdict

SUITE = parse_suite(preset_text("real_world_clip"), "real_world_clip")
MODELS = ("weak", "strong", *SUITE.models)
IMAGENET = {"weak": 60.0, "strong": 83.0}
DIFFERENCES = np.array([0.01, 0.0, -0.01, 0.005, -0.005, 0.0])  # of the six datasets


def claims(gain: float, cct20: float = 0.8, n: int = 5000, **changes: object) -> dict[str, Claim]:
    """Hold the claims against a grid whose CLIP models are better than `strong` by so much, and `weak` worse."""
    strong = np.full(len(SUITE.datasets), 0.7)
    values = np.array([strong - 0.2, strong, *[strong + gain + DIFFERENCES for _ in SUITE.models]])
    values[2:, SUITE.datasets.index("cct20")] = cct20
    matrix = Matrix(MODELS, SUITE.datasets, (0,), values[..., None], np.full(len(SUITE.datasets), n))
    return {claim.name: claim for claim in check_claims(Context(matrix, IMAGENET))}


def test_the_model_is_one_of_the_suite_and_the_number_the_printed_one() -> None:
    assert clip.LARGEST in SUITE.models
    (printed,) = [each.value for each in reference.PRINTED if "CLIP" in each.what]
    assert printed == f"{100 * reference.CLIP_CCT20:g} %"


@pytest.mark.parametrize(
    ("top1", "n", "expected"),
    [
        (0.86, 5000, "supported"),
        (0.81, 5000, "contradicted"),
        (0.84, 500, "leans for"),
        (0.83, 500, "leans against"),
    ],
)
def test_a_number_is_reached_where_the_interval_lies_above_it(top1: float, n: int, expected: Verdict) -> None:
    found = claims(0.1, top1, n)["clip_cct20"]
    assert found.verdict == expected
    ends = stats.binomtest(round(top1 * n), n).proportion_ci(0.95, "wilson")
    (said,) = (*found.pro, *found.contra)
    assert said == f"{clip.LARGEST} has {100 * top1:.2f} % [{100 * ends.low:.2f}, {100 * ends.high:.2f}]"


@pytest.mark.parametrize(
    ("gain", "cct20", "expected"),
    [(0.1, 0.8, "supported"), (-0.1, 0.6, "contradicted"), (0.002, 0.703, "leans for")],
)
def test_clip_is_held_against_the_network_that_is_best_on_imagenet(
    gain: float, cct20: float, expected: Verdict
) -> None:
    assert claims(gain, cct20)["clip_high"].verdict == expected


def test_a_grid_without_clip_or_without_others_is_not_testable() -> None:
    values = np.full((2, 6, 1), 0.8)
    sizes = np.full(6, 100)
    without = Matrix(("weak", "strong"), SUITE.datasets, (0,), values, sizes)
    alone = Matrix(SUITE.models[:2], SUITE.datasets, (0,), values, sizes)
    for matrix, reason in ((without, "the suite real_world_clip has it"), (alone, "to hold CLIP against")):
        found = {claim.name: claim for claim in check_claims(Context(matrix, IMAGENET))}["clip_high"]
        assert found.verdict == "not testable"
        assert reason in found.notes[0]
