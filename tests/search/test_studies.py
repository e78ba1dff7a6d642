"""The study in its database: each point once, one taker, one identity; and which settings a forest calls important."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mobilebench.config.recipe import Recipe
from mobilebench.config.sensitivity import SensitivitySettings
from mobilebench.search.identity import Identity
from mobilebench.search.space import Point, plan, protocol_values
from mobilebench.search.studies import Pruning, Studies, StudyError, importances

IDENTITY = Identity("shufflenet", "blobs", 0, "r" * 12, "d" * 64, "n" * 12, 1, "c" * 12)
NAME = IDENTITY.name("shufflenet.blobs.0")
POINTS = plan(Recipe(), SensitivitySettings())
KEYS = {point.key for point in POINTS}


def free(_: str) -> bool:
    return False


@pytest.fixture
def studies(studies_file: Path) -> Studies:
    return Studies()


def test_the_name_carries_what_must_be_equal() -> None:
    for part in (
        IDENTITY.recipe_hash,
        IDENTITY.network,
        IDENTITY.data_digest[:12],
        IDENTITY.val_digest,
        "v1",
        "shufflenet.blobs.0",
    ):
        assert part in NAME


def test_a_point_is_added_once_also_by_another_process(studies: Studies) -> None:
    study = studies.open(IDENTITY, NAME)
    assert study.enqueue(POINTS) == len(POINTS)
    assert Studies().open(IDENTITY, NAME).enqueue(POINTS) == 0
    assert [row.values for row in study.rows()] == [point.values for point in POINTS]


def test_a_wider_space_keeps_what_was_tried(studies: Studies) -> None:
    study = studies.open(IDENTITY, NAME)
    study.enqueue(POINTS)
    wider = plan(Recipe(), SensitivitySettings(space=("lr", "batch", "precision"), samples=4))
    assert study.enqueue(wider) == len({p.key for p in wider} - KEYS)


def test_a_trial_is_taken_by_one_and_those_of_other_spaces_by_none(studies: Studies) -> None:
    one, two = studies.open(IDENTITY, NAME), Studies().open(IDENTITY, NAME)
    one.enqueue(POINTS)
    held: set[str] = set()
    taken = []
    for study in (one, two, one, two, one, two):
        lease = study.lease(KEYS, held.__contains__, set())
        if lease is not None:
            held.add(lease.key)
            taken.append(lease.number)
    assert sorted(taken) == list(range(len(POINTS)))
    assert one.lease({"another"}, free, set()) is None


def test_a_trial_whose_process_is_gone_comes_first(studies: Studies) -> None:
    study = studies.open(IDENTITY, NAME)
    study.enqueue(POINTS)
    gone = study.lease(KEYS, free, set())
    again = Studies().open(IDENTITY, NAME).lease(KEYS, free, set())
    assert gone is not None
    assert again == gone


def test_a_trial_of_another_machine_is_left_to_it_until_taken_over(
    studies: Studies, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = studies.open(IDENTITY, NAME)
    study.enqueue(POINTS)
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr("socket.gethostname", lambda: "elsewhere")
        theirs = study.lease(KEYS, free, set())
    assert theirs is not None
    assert study.elsewhere() == {"elsewhere": 1}
    mine = study.lease(KEYS, free, set())
    assert mine is not None
    assert mine.number != theirs.number
    study.take_over()
    assert study.lease(KEYS, free, {mine.number}) == theirs


def test_a_failed_trial_is_counted_with_its_reason_and_tried_again_only_when_asked(studies: Studies) -> None:
    study = studies.open(IDENTITY, NAME)
    study.enqueue(POINTS[:1])
    lease = study.lease(KEYS, free, set())
    assert lease is not None
    study.fail(lease, "DivergedError: the loss became nan")
    (row,) = study.rows()
    assert (row.state, row.reason) == ("failed", "DivergedError: the loss became nan")
    assert study.enqueue(POINTS[:1]) == 0
    assert study.enqueue(POINTS[:1], retry_failed=True) == 1


@pytest.mark.parametrize(
    "change", [{"recipe_hash": "q" * 12}, {"network": "m" * 12}, {"data_digest": "e" * 64}, {"val_digest": "x" * 12}]
)
def test_a_study_of_another_identity_is_refused_by_name(studies: Studies, change: dict[str, str]) -> None:
    studies.open(replace(IDENTITY, **change), NAME)
    for attempt in (studies.open, studies.find):
        with pytest.raises(StudyError) as error:
            attempt(IDENTITY, NAME)
        assert NAME in str(error.value)
        assert next(iter(change)) in str(error.value)


def test_studies_of_the_same_cell_under_other_recipes_are_named(studies: Studies) -> None:
    other = replace(IDENTITY, recipe_hash="q" * 12)
    studies.open(other, other.name("shufflenet.blobs.0"))
    studies.open(IDENTITY, NAME)
    ((name, words),) = studies.others(IDENTITY, NAME).items()
    assert name == other.name("shufflenet.blobs.0")
    assert words == [f"recipe_hash '{'q' * 12}', not '{'r' * 12}'"]


@pytest.mark.parametrize("url", ["nowhere", "foo://x/y", "postgresql://me:secret@127.0.0.1:1/db", "sqlite:///."])
def test_a_storage_that_cannot_be_used_is_an_error_without_its_password(project: Path, url: str) -> None:
    with pytest.raises(StudyError) as error:
        Studies(url)
    assert "cannot use the Optuna storage" in str(error.value)
    assert "secret" not in str(error.value)


def sampled(space: tuple[str, ...], count: int = 32) -> list[Point]:
    return plan(Recipe(), SensitivitySettings(space=space, samples=count))  # type: ignore[arg-type]


def test_fanova_finds_the_setting_that_decides() -> None:
    """The accuracy is a parabola in log10(lr), a tenth as high in label smoothing, and flat in CutMix."""
    rows = [point.values for point in sampled(("lr", "label_smoothing", "cutmix"))]
    top1 = [0.9 - 0.4 * (np.log10(row["lr"]) + 3) ** 2 - 0.2 * row["label_smoothing"] for row in rows]
    names = ("lr", "label_smoothing", "cutmix")
    found = importances(rows, top1, names, 3)
    assert np.allclose(found.sum(axis=1), 1)
    lr, smoothing, cutmix = np.median(found, axis=0)
    assert lr > 0.8
    assert cutmix < 0.1
    assert smoothing < 0.15


def test_importances_count_a_learning_rate_by_its_logarithm() -> None:
    """Half of the decades are bad: the variance is as that of a fair coin on each of two equal settings."""
    rows = [point.values for point in sampled(("lr", "cutmix"), 64)]
    top1 = [0.5 * (row["lr"] < 1e-3) + 0.5 * (row["cutmix"] < 0.5) for row in rows]
    lr, cutmix = np.median(importances(rows, top1, ("lr", "cutmix"), 3), axis=0)
    assert lr == pytest.approx(0.5, abs=0.12)
    assert cutmix == pytest.approx(0.5, abs=0.12)


def test_nothing_is_important_when_nothing_differs() -> None:
    rows = [point.values for point in sampled(("lr", "cutmix"), 8)]
    assert importances(rows, [0.5] * len(rows), ("lr", "cutmix"), 2).tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("rule", ["asha", "hyperband"])
def test_the_last_of_many_is_given_up_and_the_first_is_not(studies: Studies, rule: str) -> None:
    """Successive halving by 4 keeps the best quarter of those that came as far; the last epoch ends a trial anyway."""
    study = studies.open(IDENTITY, NAME)
    study.enqueue(sampled(("lr", "cutmix"), 8))
    verdicts = []
    for number in range(8):
        lease = study.lease({p.key for p in sampled(("lr", "cutmix"), 8)}, lambda _: True, set())
        assert lease is not None
        give_up = Pruning(study.url, study.name, lease.trial_id, rule).judge(16)
        verdicts.append(give_up(1, 0.9 - 0.1 * number))
        assert not give_up(16, 0.0)
    assert verdicts[0] is False
    assert verdicts[-1] is (rule == "asha") or any(verdicts)


def test_the_protocols_own_values_are_the_recipes() -> None:
    assert protocol_values(Recipe())["cutmix"] == Recipe().augment.cutmix_prob


def test_another_programs_database_is_refused_before_a_table_is_made(project: Path) -> None:
    import sqlite3

    with sqlite3.connect("mlflow.db") as database:  # as MLflow has it: names are all that is looked at
        for table in ("experiments", "runs", "alembic_version", "metrics"):
            database.execute(f"create table {table} (id integer)")
    before = Path("mlflow.db").read_bytes()
    with pytest.raises(StudyError, match=r"is MLflow's .*experiments.* need one of their own"):
        Studies("sqlite:///mlflow.db")
    assert Path("mlflow.db").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"no database at all, but some text" * 100])
def test_what_is_no_database_is_a_sentence(project: Path, content: bytes) -> None:
    Path("studies.db").write_bytes(content)
    if content:
        with pytest.raises(StudyError, match="cannot use the Optuna storage"):
            Studies("sqlite:///studies.db")
    else:
        Studies("sqlite:///studies.db")


@pytest.mark.parametrize(
    "address", ["", "nonsense", "sqlite://", "http://host/x", "postgresql://h:port/x", "sqlite:///."]
)
def test_an_address_of_no_database_is_a_sentence(project: Path, address: str) -> None:
    try:
        Studies(address)
    except StudyError as error:
        assert "storage" in str(error)  # noqa: PT017 - an address in memory is none and works
