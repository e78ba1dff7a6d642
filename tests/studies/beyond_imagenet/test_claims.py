"""Verdicts move with the matrix: made worlds in which a claim is plainly true or plainly false."""

import numpy as np
import pytest

from mobilebench.scoring import Matrix, compute_scores
from mobilebench.studies.beyond_imagenet import evidence
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
        "four_suffice": "leans against",
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
    top1 = TABLE.values.copy()
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
    top1 = matrix.values.copy()
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


CHECKS = {"four_suffice": evidence.four_suffice, "best_four": evidence.best_four}


def subset_verdicts(grids: np.ndarray) -> dict[str, list[str]]:
    """Verdicts of the two claims on the four datasets, for each of [grids, 11, 7] accuracies, single runs."""
    found: dict[str, list[str]] = {name: [] for name in CHECKS}
    for accuracy in grids:
        matrix = Matrix(TABLE.models, TABLE.datasets, (0,), accuracy[..., None], TABLE.n_test)
        context = Context(matrix, compute_scores(matrix, draws=2))
        for name, check in CHECKS.items():
            found[name].append(check(context).verdict)
    return found


@pytest.mark.slow
def test_on_equal_models_and_on_noise_the_claims_on_the_four_are_neither_supported_nor_contradicted() -> None:
    """80 grids of equal models and 80 without structure; at a rate of 0.05 more than 9 of 80 come in 1 of 100 cases."""
    rng = np.random.default_rng(4)
    equal = rng.binomial(TABLE.n_test, TABLE.mean.mean(axis=0), (80, 11, 7)) / TABLE.n_test
    for grids in (equal, rng.uniform(0.3, 0.9, (80, 11, 7))):
        for verdicts_of_one in subset_verdicts(grids).values():
            assert verdicts_of_one.count("supported") <= 1
            assert verdicts_of_one.count("contradicted") <= 9


def test_the_claims_on_the_four_are_decided_where_the_truth_is_plain() -> None:
    """Test noise and one point of training noise on worlds in which the four say everything, or nothing, or least."""
    rng = np.random.default_rng(4)
    quality = np.linspace(0.4, 0.8, 11)
    other = quality[[10, 0, 3, 4, 9, 6, 5, 1, 7, 2, 8]]  # Spearman 0 with the first
    four = np.array([name in reference.PAPER_FOUR for name in TABLE.datasets])
    one, two = np.repeat(quality[:, None], 7, axis=1), np.where(four, quality[:, None], other[:, None])

    def noisy(truth: np.ndarray) -> np.ndarray:
        chance = np.clip(truth + rng.normal(0, 0.01, (20, *truth.shape)), 0, 1)
        return rng.binomial(TABLE.n_test, chance) / TABLE.n_test

    on_one, on_two = subset_verdicts(noisy(one)), subset_verdicts(noisy(two))
    assert on_one["four_suffice"].count("supported") >= 19
    assert on_one["best_four"].count("contradicted") == 0
    assert on_two["four_suffice"].count("contradicted") >= 19
    assert on_two["best_four"].count("contradicted") >= 19


@pytest.mark.parametrize(("models", "tabled"), [(7, 0.714), (11, 0.536), (20, 0.380)])
def test_the_noise_beside_a_spearman_is_that_of_tables(models: int, tabled: float) -> None:
    """One-sided 5 % points of Spearman's rho (Zar 1972), exact, against the approximation that is shown."""
    assert evidence._noise_spearman(models) == pytest.approx(tabled, abs=0.05)


def test_single_runs_of_unknown_test_size_only_lean() -> None:
    unknown = Matrix(TABLE.models, TABLE.datasets, (0,), TABLE.values, np.zeros(7, dtype=np.int64))
    found = verdicts(unknown)["best_four"]
    assert found.verdict == "leans against"
    assert evidence.NO_INTERVAL in found.notes


@pytest.mark.parametrize("count", [4, 5])
def test_a_perfect_agreement_of_few_models_is_no_evidence(count: int) -> None:
    small = world(np.linspace(0.9, 0.1, 11)).select(models=TABLE.models[:count])
    found = verdicts(small)
    for name in CHECKS:
        assert found[name].verdict == "not testable"
        assert f"{count} models have every dataset" in found[name].notes[0]


def test_an_absent_cell_leaves_its_model_out_of_the_claims_on_the_four() -> None:
    top1 = TABLE.values.copy()
    top1[0, 0] = np.nan
    found = verdicts(Matrix(TABLE.models, TABLE.datasets, (0,), top1, TABLE.n_test))["four_suffice"]
    assert any("n = 10 models" in line for line in (*found.pro, *found.contra))
