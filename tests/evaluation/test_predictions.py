"""Predictions: what is refused, what a file holds, and that only its content decides the digest."""

from __future__ import annotations

import io
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from evaluation.made import drawn, names, predictions
from hypothesis import given, settings
from hypothesis import strategies as st

from mobilebench.evaluation.predictions import Predictions, PredictionsError, load_predictions
from mobilebench.evaluation.target import TARGETS

if TYPE_CHECKING:
    from mobilebench.evaluation.target import Target

SMALL = {
    "target": np.array("single_label"),
    "targets": np.array([0, 1, 2]),
    "predicted": np.array([0, 2, 2]),
    "logits": np.array([[2.0, 1, 0], [0, 1, 2], [0, 1, 2]], np.float16),
    "ids": np.array(["a", "b", "c"]),
}


TEXTS = st.text('a\n", \\', max_size=3)
PAIRS = st.tuples(TEXTS, TEXTS)


def write(path: Path, **changed: Any) -> Path:
    """Write a file of predictions as another program might; None leaves an array out."""
    arrays = {name: array for name, array in {**SMALL, **changed}.items() if array is not None}
    np.savez(path, **arrays)
    return path


def test_what_logits_say() -> None:
    one = predictions("single_label", [0, 1], [[1, 3, 3], [0, 0, -1]])
    assert one.predicted.tolist() == [1, 0]  # the first of equal ones
    several = predictions("multi_label", [[1, 0], [1, 1]], [[0.1, -0.1], [0, 5]])
    assert several.predicted.tolist() == [[1, 0], [0, 1]]  # 0 is a chance of one half and not above it
    assert (len(one), one.classes) == (2, 3)


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_read_is_what_was_saved(target: Target, tmp_path: Path) -> None:
    p = drawn(target, 30, 8)
    digest = p.save(tmp_path / "deep" / "p.npz")
    again = load_predictions(tmp_path / "deep" / "p.npz", digest)
    kept = p.as_kept()
    assert (again.target, again.digest) == (target, digest) == (kept.target, kept.digest)
    for name in ("targets", "predicted", "logits", "ids"):
        found, expected = getattr(again, name), getattr(kept, name)
        assert found.dtype == expected.dtype
        assert np.array_equal(found, expected)


def test_equal_predictions_make_equal_files(tmp_path: Path) -> None:
    for name in ("one.npz", "two.npz"):
        drawn("single_label", 30, 8).save(tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.npz") as file:
        assert {member.date_time[0] for member in file.infolist()} == {1980}  # no time of writing in it


@pytest.mark.parametrize(
    "changed",
    [
        {"targets": SMALL["targets"].astype(np.int16)},
        {"targets": SMALL["targets"].astype(">i8"), "predicted": SMALL["predicted"].astype(np.uint8)},
        {"logits": SMALL["logits"].astype(np.float32)},
        {"logits": SMALL["logits"].astype(">f8")},
        {"logits": np.asfortranarray(SMALL["logits"])},
        {"logits": np.where(SMALL["logits"] == 0, np.float16(-0.0), SMALL["logits"])},
        {"ids": SMALL["ids"].astype("<U40")},
        {"comment": np.array("written by hand")},
    ],
)
def test_equal_content_has_an_equal_digest_whatever_wrote_it(changed: dict[str, Any], tmp_path: Path) -> None:
    known = Predictions(**{**SMALL, "target": "single_label"})  # type: ignore[arg-type]
    digest = known.save(tmp_path / "ours.npz")
    theirs = load_predictions(write(tmp_path / "theirs.npz", **changed), digest)
    assert (theirs.logits.dtype, theirs.targets.dtype) == (np.float16, np.int64)


def test_other_content_has_another_digest() -> None:
    p = predictions("single_label", [0, 1, 2], [[2, 1, 0], [0, 1, 2], [0, 1, 2]])
    logits = p.logits.copy()
    logits[0, 2] = 0.001
    others = [
        replace(p, target="ordinal"),
        replace(p, targets=np.array([0, 1, 1])),
        replace(p, predicted=np.array([0, 1, 2])),
        replace(p, logits=logits),
        replace(p, ids=np.array(["test/0.png", "test/1.png", "test/3.png"])),
        replace(p, ids=p.ids[[1, 0, 2]]),
        replace(p, logits=p.logits[:, [0, 1, 2, 2]]),
    ]
    assert len({p.digest, *(other.digest for other in others)}) == len(others) + 1


@settings(max_examples=50)
@given(first=PAIRS, second=PAIRS)
def test_ids_of_any_text_keep_their_borders(first: tuple[str, str], second: tuple[str, str]) -> None:
    p = predictions("single_label", [0, 1], [[2, 1], [0, 1]])
    one, two = replace(p, ids=np.array(first)), replace(p, ids=np.array(second))
    assert (one.digest == two.digest) == np.array_equal(one.ids, two.ids)


def test_a_border_between_ids_is_no_line_end() -> None:
    p = predictions("single_label", [0, 1], [[2, 1], [0, 1]])
    assert replace(p, ids=np.array(["a\nb", "c"])).digest != replace(p, ids=np.array(["a", "b\nc"])).digest


def test_a_name_that_is_no_unicode_is_kept(tmp_path: Path) -> None:
    p = replace(drawn("single_label", 2, 3), ids=np.array(["caf\udce9.png", "ü.png"]))
    digest = p.save(tmp_path / "p.npz")
    assert load_predictions(tmp_path / "p.npz", digest).ids.tolist() == ["caf\udce9.png", "ü.png"]


# ---------------------------------------------------------------------------------------------- refused


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("target", TARGETS)
def test_logits_that_are_not_finite_are_refused(target: Target, wrong: float) -> None:
    p = drawn(target, 5, 3)
    logits = p.logits.copy()
    logits[3, 1] = wrong
    with pytest.raises(PredictionsError, match=r"logits of 1 of 5 images are not finite, first of '?.*test/3.png"):
        Predictions.of_logits(target, p.targets, logits, p.ids)


@pytest.mark.parametrize(
    ("target", "targets", "logits", "ids", "message"),
    [
        ("boxes", [0], [[1.0]], names(1), "of a 'boxes' target; known are single_label"),
        ("single_label", [0, 1], np.zeros((0, 2), np.float32), names(0), "for 0 images; expected floats"),
        ("single_label", [0], np.zeros((1, 0), np.float32), names(1), r"logits are float32 \(1, 0\); expected"),
        ("single_label", [0], np.zeros(1, np.float32), names(1), r"logits are float32 \(1,\); expected floats"),
        ("single_label", [0], np.zeros((1, 2), np.int64), names(1), r"logits are int64 \(1, 2\) for 1 images"),
        ("single_label", [0], np.zeros((2, 2), np.float32), names(1), r"float32 \(2, 2\) for 1 images"),
        (
            "single_label",
            [0, 1],
            np.zeros((1, 2), np.float32),
            names(1),
            r"targets are int64 \(2,\); expected integers",
        ),
        ("single_label", [2], np.zeros((1, 2), np.float32), names(1), "targets go from 2 to 2; expected 0 to 1"),
        ("ordinal", [-1], np.zeros((1, 2), np.float32), names(1), "targets go from -1 to -1; expected 0 to 1"),
        ("ordinal", [0.5], np.zeros((1, 2), np.float32), names(1), "not all of them whole numbers"),
        ("multi_label", [[2, 0]], np.zeros((1, 2), np.float32), names(1), "targets go from 0 to 2; expected 0 to 1"),
        ("multi_label", [[-1, 0]], np.zeros((1, 2), np.float32), names(1), "not all of them whole numbers"),
        ("multi_label", [1], np.zeros((1, 2), np.float32), names(1), r"uint8 \(1,\); expected integers \(1, 2\)"),
        ("single_label", [0], np.zeros((1, 2), np.float32), np.array([7]), r"ids are int64 \(1,\); expected texts"),
        ("single_label", [0], np.zeros((1, 2), np.float32), np.array([["a"]]), r"ids are <U1 \(1, 1\); expected texts"),
    ],
)
def test_arrays_that_do_not_belong_together(target: Any, targets: Any, logits: Any, ids: Any, message: str) -> None:
    with pytest.raises(PredictionsError, match=message):
        Predictions.of_logits(target, np.array(targets), np.asarray(logits), ids)


def pickled() -> np.ndarray:
    return np.array([{"a": 1}, {"b": 2}, {}], dtype=object)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"logits": np.full((3, 3), np.nan, np.float16)}, "logits of 3 of 3 images are not finite"),
        ({"logits": np.full((3, 3), np.inf, np.float32)}, "logits of 3 of 3 images are not finite"),
        ({"logits": None}, "logits"),
        ({"ids": pickled()}, "allow_pickle"),
        ({"targets": np.array([0, 1, 3])}, "targets go from 0 to 3"),
        ({"predicted": np.array([0.0, 1, 2])}, "predicted are float64"),
        ({"target": np.array("boxes")}, "of a 'boxes' target"),
        ({"target": np.arange(400)}, "target; known are"),
        ({"ids": np.array([b"a", b"b", b"c"])}, "ids are |S1"),
    ],
)
def test_a_file_of_something_else_is_refused(changed: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "p.npz", **changed)
    with pytest.raises(PredictionsError, match=message) as refusal:
        load_predictions(path)
    assert str(path) in str(refusal.value)
    assert "mobilebench train" in str(refusal.value)


def foreign() -> dict[str, bytes]:
    """Return files that are no predictions at all."""
    array, archive = io.BytesIO(), io.BytesIO()
    np.save(array, np.arange(3))
    with zipfile.ZipFile(archive, "w") as file:
        for name in SMALL:
            file.writestr(f"{name}.npy", "no array")
    return {
        "empty": b"",
        "text": b"epoch,top1\n1,0.5\n",
        "one array": array.getvalue(),
        "pickle": pickle.dumps(SMALL),
        "other zip": archive.getvalue(),
    }


@pytest.mark.parametrize("kind", list(foreign()))
def test_a_foreign_file_is_refused(kind: str, tmp_path: Path) -> None:
    (tmp_path / "p.npz").write_bytes(foreign()[kind])
    with pytest.raises(PredictionsError, match="is no file of predictions or is damaged"):
        load_predictions(tmp_path / "p.npz")


def test_a_pickle_is_not_run(tmp_path: Path) -> None:
    class Touch:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "ran",)

    (tmp_path / "p.npz").write_bytes(pickle.dumps(Touch()))
    write(tmp_path / "inside.npz", ids=np.array([Touch()] * 3, dtype=object))
    for name in ("p.npz", "inside.npz"):
        with pytest.raises(PredictionsError):
            load_predictions(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_absent_predictions_say_where_they_are(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match=r"there are no predictions at .*; `mobilebench train` fetches"):
        load_predictions(tmp_path / "absent.npz")


def test_a_folder_is_no_file_of_predictions(tmp_path: Path) -> None:
    with pytest.raises(PredictionsError, match="is no file of predictions"):
        load_predictions(tmp_path)


def test_predictions_of_another_run_are_refused(tmp_path: Path) -> None:
    drawn("single_label", 5, 3).save(tmp_path / "p.npz")
    with pytest.raises(PredictionsError, match="its record names 0123456789ab; they are of another run"):
        load_predictions(tmp_path / "p.npz", "0123456789abcdef")


WHOLE = {target: drawn(target, 12, 4) for target in TARGETS}


def saved(target: Target) -> bytes:
    with TemporaryDirectory() as folder:
        WHOLE[target].save(Path(folder) / "p.npz")
        return (Path(folder) / "p.npz").read_bytes()


BYTES = {target: saved(target) for target in TARGETS}


@settings(max_examples=120)
@given(
    target=st.sampled_from(TARGETS),
    how=st.sampled_from(["cut", "flip", "insert", "zero"]),
    at=st.floats(0, 1, exclude_max=True),
    size=st.integers(1, 60),
    noise=st.binary(min_size=1, max_size=8),
)
def test_damaged_bytes_are_refused_or_the_same(target: Target, how: str, at: float, size: int, noise: bytes) -> None:
    """Whatever happened to a file, its reader gets the content its digest names or a PredictionsError."""
    whole = BYTES[target]
    place = int(at * len(whole))
    damaged = {
        "cut": whole[:place],
        "flip": whole[:place] + bytes(byte ^ (1 + noise[0] % 255) for byte in whole[place:][:1]) + whole[place + 1 :],
        "insert": whole[:place] + noise + whole[place:],
        "zero": whole[:place] + bytes(len(whole[place : place + size])) + whole[place + size :],
    }[how]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "p.npz"
        path.write_bytes(damaged)
        try:
            found = load_predictions(path, WHOLE[target].digest)
        except PredictionsError as error:
            assert str(path) in str(error)  # noqa: PT017  # both ends are right
        else:
            assert np.array_equal(found.logits, WHOLE[target].as_kept().logits)
