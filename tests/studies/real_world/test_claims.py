"""Made-up worlds in which each claim holds and fails; without a matrix none can be tested."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobilebench.errors import UserError
from mobilebench.report.published import published_inputs
from mobilebench.scoring import Matrix
from mobilebench.studies import load_study
from mobilebench.studies.real_world import published as reference
from mobilebench.studies.real_world.claims import check_claims
from mobilebench.studies.real_world.context import Context, load_context
from mobilebench.studies.study import Verdict

DATASETS = ("cct20", "aptos2019", "hpa", "melanoma_grouped", "cassava", "eurosat_80")
METRICS = ("top1", "qwk", "macro_f1", "roc_auc", "top1", "top1")
X = np.linspace(57, 83, 19)
MODELS = tuple(f"m{i}" for i in range(19))


def unrelated(count: int = 1) -> np.ndarray:
    """Return [19, count] standardised columns that X does not explain."""
    basis, _ = np.linalg.qr(np.column_stack([np.ones(19), X, np.random.default_rng(2).standard_normal((19, count))]))
    return np.asarray(basis[:, 2:] * math.sqrt(18))


LINE = (X - X.mean()) / X.std(ddof=1)


def world(**columns: np.ndarray) -> Context:
    """Return a context whose columns are 0.8 + 0.03 y, of a noise that is small; `eurosat_80` are values."""
    names = [name for name in DATASETS if name in columns]
    values = np.column_stack([
        columns[name] if name == "eurosat_80" else 0.8 + 0.03 * columns[name] for name in names
    ])  # fmt: skip
    metrics = tuple(METRICS[DATASETS.index(name)] for name in names)
    noise = np.broadcast_to(np.eye(19) * 1e-6, (len(names), 19, 19))
    # Two seeds that agree: training noise is known to be none.
    matrix = Matrix(
        MODELS, tuple(names), (0, 1), np.repeat(values[..., None], 2, axis=2), np.full(len(names), 5400), metrics, noise
    )
    return Context(
        matrix,
        dict(zip(MODELS, X.tolist(), strict=True)),
        {m: int(10 ** (6 + i % 7 / 5)) for i, m in enumerate(MODELS)},
    )


def verdict(context: Context, name: str) -> Verdict:
    (found,) = [claim for claim in check_claims(context) if claim.name == name]
    return found.verdict


def mixed(r: float) -> np.ndarray:
    return r * LINE + math.sqrt(1 - r * r) * unrelated()[:, 0]


def test_nothing_can_be_tested_on_what_the_study_prints() -> None:
    checked = load_study("real_world").check_claims("published", 0.5, "grid")
    assert checked.matrix is None
    assert {claim.verdict for claim in checked.claims} == {"not testable"}
    assert all("results of single models" in claim.notes[0] for claim in checked.claims)


@pytest.mark.parametrize(
    ("name", "column", "r", "expected"),
    [
        ("cct20_trend", "cct20", 0.8, "supported"),
        ("cct20_trend", "cct20", -0.8, "contradicted"),
        ("cct20_trend", "cct20", 0.2, "leans for"),
        ("hpa_trend", "hpa", 0.8, "supported"),
        ("hpa_trend", "hpa", -0.2, "leans against"),
        ("melanoma_weak", "melanoma_grouped", 0.44, "leans for"),
        ("melanoma_weak", "melanoma_grouped", 0.97, "contradicted"),
        ("melanoma_weak", "melanoma_grouped", -0.8, "contradicted"),
        ("cassava_flat", "cassava", 0.9, "contradicted"),
        ("cassava_flat", "cassava", 0.0, "leans for"),
        ("aptos_flat", "aptos2019", 0.99, "contradicted"),
        ("aptos_flat", "aptos2019", -0.9, "supported"),
    ],
)
def test_a_claim_on_one_dataset_follows_its_rule(name: str, column: str, r: float, expected: Verdict) -> None:
    scale = 2 if name == "aptos_flat" else 1
    assert verdict(world(**{column: scale * mixed(r)}), name) == expected


def test_a_flat_line_is_near_zero_where_models_differ_little() -> None:
    assert verdict(world(cassava=0.1 * mixed(0.1)), "cassava_flat") == "supported"


def test_one_dataset_that_surely_does_not_follow_is_enough() -> None:
    assert verdict(world(cct20=mixed(0.99), cassava=mixed(0.0)), "not_consistent") == "supported"
    assert verdict(world(cct20=mixed(0.99), cassava=mixed(0.98)), "not_consistent") == "contradicted"
    assert verdict(world(cct20=mixed(0.99), cassava=mixed(0.75)), "not_consistent") == "leans against"


def test_eurosat_is_about_its_worst_model() -> None:
    high, one_low = np.full(19, 0.993), np.full(19, 0.993)
    high[3], one_low[18] = 0.99, 0.97
    assert verdict(world(eurosat_80=high), "eurosat_saturated") == "supported"
    assert verdict(world(eurosat_80=one_low), "eurosat_saturated") == "contradicted"
    one_low[18], one_low[0] = 0.993, 0.9  # at 57 % on ImageNet nothing is claimed
    assert verdict(world(eurosat_80=one_low), "eurosat_saturated") == "supported"


def test_a_common_skill_supports_that_others_explain_and_none_does_not() -> None:
    columns = unrelated(5)
    common = {name: LINE + columns[:, 4] + 0.5 * columns[:, i] for i, name in enumerate(DATASETS[:4])}
    assert verdict(world(**common), "others_explain") == "supported"
    apart = {name: LINE + columns[:, i] for i, name in enumerate(DATASETS[:4])}
    assert verdict(world(**apart), "others_explain") in {"leans for", "leans against"}


def test_parameters_say_nothing_unless_they_do() -> None:
    context = world(cct20=mixed(0.5), cassava=mixed(0.5))
    size = np.log10([context.params[m] for m in MODELS])
    size = (size - size.mean()) / size.std(ddof=1)
    follows = world(cct20=size + 0.05 * unrelated()[:, 0], cassava=size + 0.05 * unrelated()[:, 0])
    assert verdict(follows, "params") == "contradicted"
    apart = mixed(0.0)
    apart = apart - size * (apart @ size) / 18
    assert verdict(world(cct20=apart, cassava=apart[::1]), "params") == "supported"
    (claim,) = [c for c in check_claims(replace(context, params={})) if c.name == "params"]
    assert claim.verdict == "not testable"


def test_rivals_need_datasets_of_known_size() -> None:
    context = world(**{name: mixed(0.2 * i) for i, name in enumerate(DATASETS[:5])}, eurosat_80=0.9 + mixed(0.9) / 99)
    assert verdict(context, "rivals") == "not testable"
    sized = replace(
        context,
        classes={name: 2 * 3**i for i, name in enumerate(DATASETS)},
        train={name: 1000 + i % 3 for i, name in enumerate(DATASETS)},
    )
    assert verdict(sized, "rivals") == "contradicted"  # the correlations rise with the classes here


def test_too_few_models_or_another_grid_are_not_testable() -> None:
    context = world(cct20=mixed(0.8))
    few = replace(context, imagenet={m: context.imagenet[m] for m in MODELS[:4]}, params={})
    assert {claim.verdict for claim in check_claims(few)} == {"not testable"}
    other = replace(context, matrix=replace(context.matrix, datasets=("flowers102",)))
    assert {claim.verdict for claim in check_claims(other)} == {"not testable"}


@pytest.mark.slow  # it imports torchvision
def test_a_folder_of_results_gets_its_accuracies_from_the_suite_and_from_a_file(tmp_path: Path) -> None:
    values = np.array([0.5, 0.6, 0.7])[:, None, None]
    matrix = Matrix(("resnet50", "deit_tiny", "mine"), ("cassava",), (0,), values, np.array([4280]))
    matrix.to_csv(tmp_path / "accuracy.csv")
    (tmp_path / "imagenet.csv").write_text("model,top1\nmine,71.5\n")
    context = load_context(str(tmp_path))
    assert context.imagenet == {"resnet50": 76.13, "deit_tiny": 72.172, "mine": 71.5}
    assert context.classes == {"cassava": 5}


def test_every_printed_number_is_of_a_known_dataset() -> None:
    assert {each.dataset for each in reference.PRINTED} == {*reference.DATASETS, ""}
    printed = {(each.dataset, each.what): each.value for each in reference.PRINTED}
    for dataset, r in reference.CORRELATIONS.items():
        assert printed[dataset, "correlation with ImageNet accuracy"] == f"{r}"
    assert printed["cassava", "normalised slope"] == f"{reference.CASSAVA_SLOPE}"
    assert printed["eurosat", "accuracy of all models of more than 60 % on ImageNet"] == (
        f"above {100 * reference.EUROSAT_FLOOR} %"
    )


def test_without_a_matrix_there_is_no_report() -> None:
    with pytest.raises(UserError, match="no table of models and datasets is known"):
        published_inputs(load_study("real_world"))
