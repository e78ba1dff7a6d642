"""Verdicts move with the matrix: made worlds in which a claim is plainly true or plainly false."""

import numpy as np
import pytest

from mobilebench.scoring import Matrix, compute_scores
from mobilebench.studies.beyond_imagenet import published as reference
from mobilebench.studies.beyond_imagenet.claims import check_claims
from mobilebench.studies.beyond_imagenet.context import Context
from mobilebench.studies.study import Claim

TABLE = reference.matrix()
PLACES = ("leaders", "last")
SHARED = ("cifar10", "cifar100", "ham10k", "indoor67")  # enough of the paper's to be held against its claims


def verdicts(
    matrix: Matrix, params: dict[str, int] | None = None, only: tuple[str, ...] | None = None
) -> dict[str, Claim]:
    costs = {row.model: row for row in reference.costs()}
    sizes = params or {name: row.params for name, row in costs.items()}
    context = Context(matrix, compute_scores(matrix, draws=300), sizes, {}, reference.elements())
    return {claim.name: claim for claim in check_claims(context, only=only)}


def world(quality: np.ndarray, n_test: int = 20_000) -> Matrix:
    """Every dataset shows the same quality [11] of the paper's models, but for a slope of its own."""
    slopes = np.linspace(0.3, 0.5, len(TABLE.datasets))
    top1 = 0.4 + quality[:, None] * slopes
    return Matrix(TABLE.models, TABLE.datasets, (0,), top1[..., None], np.full(len(TABLE.datasets), n_test))


def test_the_published_table() -> None:
    found = {name: claim.verdict for name, claim in verdicts(TABLE).items()}
    assert found == {
        "leaders": "leans for",  # 0.945 of the draws: one run each, so training noise is assumed
        "last": "supported",
        "imagenette": "leans against",
        "four_suffice": "supported",
        "best_four": "leans against",
        "transformers": "not testable",
        "channel_attention": "undecided",
        "params": "leans for",
    }


def test_every_claim_states_its_rule_and_shows_evidence_with_numbers() -> None:
    for claim in verdicts(TABLE).values():
        assert claim.rule
        assert claim.pro or claim.contra
        assert any(character.isdigit() for line in (*claim.pro, *claim.contra) for character in line)


def test_a_world_in_which_others_lead_contradicts_the_leaders() -> None:
    quality = np.linspace(0.9, 0.1, 11)
    for name in ("efficientnet", "convmixer"):
        quality[TABLE.models.index(name)] = 0.05
    assert verdicts(world(quality))["leaders"].verdict == "contradicted"


def test_a_model_without_a_score_does_not_hide_who_is_last() -> None:
    top1 = TABLE.top1.copy()
    top1[TABLE.models.index("tinynet"), 0] = np.nan
    found = verdicts(Matrix(TABLE.models, TABLE.datasets, TABLE.seeds, top1, TABLE.n_test), only=PLACES)
    assert found["last"].verdict == "supported"
    assert "ranks 10 of 10" in found["last"].pro[0]


def test_models_that_share_the_last_place_are_both_last() -> None:
    quality = np.linspace(0.9, 0.1, 11)
    quality[TABLE.models.index("tinynet")] = quality[TABLE.models.index("convnext")]
    found = verdicts(world(quality), only=PLACES)
    assert found["last"].verdict == "leans against"  # half of the draws put tinynet below
    assert "ranks 10 of 11" in found["last"].pro[0]


def test_unknown_test_sizes_give_no_more_than_a_leaning() -> None:
    seeds = TABLE.mean[..., None] + 0.002 * np.random.default_rng(0).standard_normal((11, 7, 3))
    matrix = Matrix(TABLE.models, TABLE.datasets, (0, 1, 2), seeds, np.zeros(7, dtype=np.int64))
    assert {claim.verdict for claim in verdicts(matrix, only=PLACES).values()} == {"leans for"}


def test_a_world_of_one_quality_is_predicted_by_imagenette() -> None:
    found = verdicts(world(np.linspace(0.9, 0.1, 11)))
    assert found["imagenette"].verdict == "contradicted"
    assert found["four_suffice"].verdict == "supported"


def test_a_world_in_which_imagenette_is_noise_supports_the_claim() -> None:
    matrix = world(np.linspace(0.9, 0.1, 11))
    top1 = matrix.top1.copy()
    top1[:, matrix.datasets.index("imagenette"), 0] = 0.5 + 0.01 * np.array([3, 8, 1, 9, 5, 11, 4, 10, 2, 7, 6])
    changed = Matrix(matrix.models, matrix.datasets, matrix.seeds, top1, matrix.n_test)
    assert verdicts(changed)["imagenette"].verdict in {"supported", "leans for"}


def test_a_world_in_which_size_decides_contradicts_the_claim_on_parameters() -> None:
    quality = np.linspace(0.9, 0.1, 11)
    sizes = {name: int(2e6 + 1e6 * q) for name, q in zip(TABLE.models, quality, strict=True)}
    assert verdicts(world(quality), sizes)["params"].verdict == "contradicted"


def test_a_world_in_which_attention_wins_supports_it() -> None:
    has = np.array([reference.elements()["squeeze_excite"][m] for m in TABLE.models])
    quality = np.where(has, 0.9, 0.2) + np.linspace(0, 0.05, 11)
    assert verdicts(world(quality))["channel_attention"].verdict == "supported"


@pytest.mark.parametrize(
    "name", ["leaders", "last", "imagenette", "four_suffice", "best_four", "transformers", "params"]
)
def test_what_a_matrix_lacks_is_not_testable_and_named(name: str) -> None:
    cells = {(f"m{i}", d, 0): 0.5 + 0.03 * i + 0.01 * (i * k % 5) for i in range(6) for k, d in enumerate(SHARED)}
    matrix = Matrix.from_cells(cells, dict.fromkeys(SHARED, 500))
    claim = {c.name: c for c in check_claims(Context(matrix, compute_scores(matrix, draws=100)))}[name]
    assert claim.verdict == "not testable"
    assert claim.notes
