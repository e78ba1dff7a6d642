"""Claims on the published tables, and on made-up worlds in which each of them holds and fails."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobilebench.errors import UserError
from mobilebench.scoring import Matrix
from mobilebench.studies import load_study
from mobilebench.studies.study import Claim
from mobilebench.studies.which_backbone import published as reference
from mobilebench.studies.which_backbone.claims import CLAIMS, check_claims
from mobilebench.studies.which_backbone.context import Context, domain_of, fractions, full, load_context

TABLE = reference.whole()
MODELS = TABLE.models


def verdicts(matrix: Matrix, *only: str, imagenet: dict[str, float] | None = None) -> dict[str, Claim]:
    context = Context(matrix, imagenet or reference.imagenet_top1(), draws=300)
    return {claim.name: claim for claim in check_claims(context, only=only or None)}


def world(order: list[str], columns: dict[str, list[str]] | None = None, seeds: int = 3) -> Matrix:
    """Every dataset orders the models so, 3 points apart, best first; `columns` orders some otherwise."""
    accuracy = np.empty((len(MODELS), len(TABLE.datasets)))
    for k, name in enumerate(TABLE.datasets):
        best_first = (columns or {}).get(name, order)
        accuracy[:, k] = [0.9 - 0.03 * best_first.index(model) for model in MODELS]
    noise = 0.001 * np.random.default_rng(0).standard_normal((*accuracy.shape, seeds))
    return Matrix(MODELS, TABLE.datasets, tuple(range(seeds)), accuracy[..., None] + noise, TABLE.n_test)


def moved(last: tuple[str, ...] = (), first: tuple[str, ...] = ()) -> list[str]:
    rest = [model for model in MODELS if model not in {*first, *last}]
    return [*first, *rest, *last]


LOW = [name for name in TABLE.datasets if reference.split_fraction(name)[1] < 100]
SWINS = ("swin_t", "swin_v2_t")
BY_IMAGENET = sorted(MODELS, key=lambda model: -reference.imagenet_top1()[model])


def of(domain: str, order: list[str]) -> dict[str, list[str]]:
    return dict.fromkeys([name for name in TABLE.datasets if domain_of(name) == domain], order)


def test_verdicts_on_the_published_tables() -> None:
    found = {name: claim.verdict for name, claim in verdicts(TABLE).items()}
    assert found == {
        "low_data": "supported", "low_data_loss": "leans for", "imagenet": "leans for", "natural": "leans for",
        "astronomy": "supported", "lighter": "leans for", "medical": "supported", "stay_on_top": "leans for",
        "overall": "leans against",
    }  # fmt: skip
    assert tuple(found) == CLAIMS


@pytest.mark.parametrize(
    ("claim", "matrix", "expected"),
    [
        ("low_data", world(moved(last=SWINS)), "supported"),
        ("low_data", world(moved(first=SWINS)), "contradicted"),
        ("low_data_loss", world(moved(first=SWINS), dict.fromkeys(LOW, moved(last=SWINS))), "supported"),
        ("low_data_loss", world(moved(last=SWINS), dict.fromkeys(LOW, moved(first=SWINS))), "contradicted"),
        ("imagenet", world(BY_IMAGENET), "contradicted"),
        ("imagenet", world(BY_IMAGENET[::-1]), "supported"),
        ("natural", world(moved(first=("convnext_tiny",))), "supported"),
        ("natural", world(moved(last=("convnext_tiny",))), "contradicted"),
        ("astronomy", world(moved(), of("astronomy", moved(first=("wavemix",)))), "supported"),
        ("astronomy", world(moved(last=("wavemix",))), "contradicted"),
        ("lighter", world(moved(first=("shufflenet_v2_x2_0",))), "supported"),
        ("lighter", world(moved(first=("mobilenet_v3_large",))), "contradicted"),
        ("medical", world(moved(last=("convnext_tiny", *SWINS))), "supported"),
        ("medical", world(moved(), of("medical", moved(first=("swin_t",)))), "contradicted"),
        ("stay_on_top", world(moved()), "supported"),
        ("stay_on_top", world(moved(), dict.fromkeys(LOW, moved()[::-1])), "contradicted"),
        ("overall", world(moved(first=("convnext_tiny",))), "supported"),
        ("overall", world(moved(last=("convnext_tiny",))), "contradicted"),
    ],
)
def test_each_claim_can_hold_and_fail(claim: str, matrix: Matrix, expected: str) -> None:
    found = verdicts(matrix, claim)[claim]
    assert found.verdict == expected
    assert found.pro if expected == "supported" else found.contra


def test_the_permutation_p_is_counted_by_hand() -> None:
    """55 pairs of 11 models: the two last have the most extreme mean on one side, one pair in 55."""
    text = verdicts(world(moved(last=SWINS)), "low_data")["low_data"].pro[0]
    assert "permutation p = 0.036 (smallest possible 0.036)" in text  # the two first are as extreme
    assert "+5.50 places" in text  # 10.5 less 5.0


def test_what_a_verdict_on_printed_numbers_says_of_them() -> None:
    checked = load_study("which_backbone").check_claims("published", 0.5, "grid")
    assert all("best of three runs" in claim.notes[-1] for claim in checked.claims)
    assert "leans for (mean rank with few train images" in checked.caveats["low_data"]
    assert "Spearman 0.37" in checked.caveats["imagenet"]
    assert checked.scores is None


def test_a_measured_grid_has_no_caveat_and_other_names_of_the_same_datasets(tmp_path: Path) -> None:
    ours = {"rsna_pneumonia": "rsna_pneumonia_grouped", "rsna_pneumonia_p10": "rsna_pneumonia_grouped_p10"}
    names = tuple(ours.get(name, name) for name in TABLE.datasets)
    matrix = world(moved(last=SWINS))
    path = replace(matrix, datasets=names).to_csv(tmp_path / "accuracy.csv")
    checked = load_study("which_backbone").check_claims(str(path), 0.5, "grid")
    found = {claim.name: claim for claim in checked.claims}
    assert not checked.caveats
    assert found["low_data"].verdict == "supported"
    assert "rsna_pneumonia_grouped" in found["low_data"].pro[0]
    assert not any("best of three" in note for note in found["low_data"].notes)


def test_columns_that_belong_together_are_found() -> None:
    context = Context(TABLE, {})
    part, pairs = fractions(context)
    assert [(part.datasets[a], part.datasets[b], p) for a, b, p in pairs][:2] == [
        ("cifar10", "cifar10_p10", 10), ("cifar10", "cifar10_p1", 1),
    ]  # fmt: skip
    assert len(pairs) == 9
    assert len(full(context).datasets) == 19
    assert len(full(context, "medical").datasets) == 5
    assert domain_of("breakhis_40_grouped") == "medical"
    assert domain_of("flowers102") == "natural"
    assert domain_of("ham10k") == ""


@pytest.mark.parametrize(
    ("datasets", "models", "claim", "why"),
    [
        (["cifar10", "dogs"], None, "low_data", "no dataset of the paper is there both with all and with fewer"),
        (["cifar10", "dogs"], None, "medical", "no medical dataset of the paper among cifar10, dogs"),
        (None, [m for m in MODELS if m not in SWINS], "low_data", "no result of swin_t, swin_v2_t"),
        (None, list(MODELS[:5]), "stay_on_top", "5 models have every result; 6 are needed"),
        (None, ["convnext_tiny", *SWINS, "resnet50", "wavemix"], "medical", "of 5 models three are always among"),
        (None, list(MODELS[:3]), "natural", "needs 4 or more models"),
    ],
)
def test_not_testable_says_what_is_missing(
    datasets: list[str] | None, models: list[str] | None, claim: str, why: str
) -> None:
    found = verdicts(TABLE.select(datasets=datasets, models=models), claim)[claim]
    assert found.verdict == "not testable"
    assert why in found.notes[0]


def test_equal_models_have_no_order_to_keep() -> None:
    equal = replace(TABLE, values=np.full_like(TABLE.values, 0.8))
    found = verdicts(equal, "stay_on_top", "natural", "overall")
    assert found["stay_on_top"].verdict == "not testable"
    assert found["natural"].verdict == found["overall"].verdict == "leans against"


def test_without_test_sizes_a_verdict_leans_at_most() -> None:
    unknown = replace(TABLE, n_test=np.zeros_like(TABLE.n_test))
    found = verdicts(unknown, "astronomy", "medical", "overall", "stay_on_top")
    assert {claim.verdict for claim in found.values()} <= {"leans for", "leans against"}
    assert "noise over test images is unknown" in found["astronomy"].notes[0]


def test_a_paper_without_anchors_refuses_them() -> None:
    with pytest.raises(UserError, match="no anchors; leave `--anchors paper` out"):
        load_context("published", anchors="paper")
