"""The audit finds what was planted, and nothing else."""

from __future__ import annotations

import csv
import io
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mobilebench.config.data import OwnData
from mobilebench.datasets import DataError
from mobilebench.datasets.audit import Audit, DatasetFinding, audit, write_csv
from mobilebench.datasets.contact_sheet import WIDE, worst, write_sheet
from mobilebench.datasets.packing.packed import open_packed
from mobilebench.datasets.phash import NEAR, hashes, near_pairs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mobilebench.datasets.packing.packed import Packed


def value(found: Audit, check: str, where: str = "all") -> float:
    return sum(line.value for line in found.findings if (line.check, line.where) == (check, where))


@pytest.fixture
def planted(image_folder: Path, packed_at: Callable[..., Path]) -> Packed:
    """20 images; test/0 a copy of a train image of the other class, one re-encoded, two groups across."""
    cats, dogs = image_folder / "cats", image_folder / "dogs"
    shutil.copy(cats / "5.jpg", dogs / "0.jpg")
    with Image.open(cats / "6.jpg") as image:
        image.save(cats / "0.jpg", "JPEG", quality=60)
    shutil.copy(cats / "8.jpg", cats / "9.jpg")
    lines = ["path,label,split,group"]
    for name in ("cats", "dogs"):
        lines += [f"{name}/{i}.jpg,{name},{'test' if i < 3 else 'train'},{name}{i // 4}" for i in range(10)]
    (image_folder / "all.csv").write_text("\n".join(lines))
    return open_packed(packed_at("mine", own={"mine": OwnData(csv=str(image_folder / "all.csv"))}))


def test_what_was_planted_is_found_and_nothing_else(planted: Packed) -> None:
    found = audit([planted])
    assert value(found, "exact_duplicates", "train / test") == 1
    assert value(found, "exact_duplicates", "train") == 1
    assert value(found, "near_duplicates", "train / test") == 1
    assert value(found, "label_conflicts_exact") == 1
    assert value(found, "label_conflicts_near") == 0
    assert value(found, "groups_crossing") == 2
    assert value(found, "images_of_train_groups", "test") == 6
    assert value(found, "largest_class", "train") == 7
    assert value(found, "pixels_changed") == 0
    assert {(p.path_a, p.path_b) for p in found.pairs} == {
        ("cats/5.jpg", "dogs/0.jpg"),
        ("cats/8.jpg", "cats/9.jpg"),
        ("cats/6.jpg", "cats/0.jpg"),
    }


def test_the_table_and_the_contact_sheet(planted: Packed, tmp_path: Path) -> None:
    found = audit([planted])
    write_csv(tmp_path / "results" / "audit.csv", DatasetFinding, found.findings)
    with (tmp_path / "results" / "audit.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == len(found.findings)
    assert lines[0]["dataset"] == "mine"
    assert write_sheet(tmp_path / "audit.png", found.pairs, {"mine": planted})
    assert worst(found.pairs)[0].conflict
    with Image.open(tmp_path / "audit.png") as sheet:
        first = np.asarray(sheet)[8 + 64, 8 : 8 + 256]
    assert np.abs(first[:128].astype(int) - first[128:]).max() == 0  # an exact pair: the halves are equal
    assert not write_sheet(tmp_path / "audit.png", [], {})
    assert not (tmp_path / "audit.png").exists()


@pytest.fixture
def planted_several(image_folder: Path, packed_at: Callable[..., Path]) -> Packed:
    """20 images: a test image equal to a train one but for its labels, one equal in these too, three of no class."""
    cats, dogs = image_folder / "cats", image_folder / "dogs"
    shutil.copy(cats / "5.jpg", dogs / "0.jpg")
    shutil.copy(cats / "6.jpg", dogs / "1.jpg")
    labels = {"cats/5.jpg": "cat|indoor", "dogs/0.jpg": "", "cats/6.jpg": "indoor|cat", "dogs/1.jpg": "cat|indoor"}
    labels |= {"cats/7.jpg": "", "dogs/2.jpg": "", "dogs/9.jpg": "puppy"}
    lines = ["path,label,split"]
    for name in ("cats", "dogs"):
        paths = [f"{name}/{i}.jpg" for i in range(10)]
        lines += [f"{p},{labels.get(p, name[:3])},{'test' if i < 3 else 'train'}" for i, p in enumerate(paths)]
    (image_folder / "all.csv").write_text("\n".join(lines))
    own = OwnData(csv=str(image_folder / "all.csv"), target="multi_label")
    return open_packed(packed_at("mine", own={"mine": own}))


def test_images_of_several_labels_are_audited_by_all_of_them(planted_several: Packed, tmp_path: Path) -> None:
    found = audit([planted_several])
    assert value(found, "exact_duplicates", "train / test") == 2
    assert value(found, "label_conflicts_exact") == 1
    assert {(pair.label_a, pair.label_b, pair.conflict) for pair in found.pairs} == {
        ("cat|indoor", "", True),
        ("cat|indoor", "cat|indoor", False),
    }
    lines = {(line.check, line.where): line for line in found.findings}
    largest = lines["largest_class", "train"]  # cats 3 to 9 without 7, dogs 3 to 8
    assert (largest.value, largest.of, largest.example) == (6, 14, "cat 6, puppy 1")
    assert (lines["images_of_no_class", "train"].value, lines["images_of_no_class", "test"].value) == (1, 2)
    absent = lines["classes_absent", "test"]
    assert (absent.value, absent.of, absent.example) == (2, 4, "dog, puppy")
    assert lines["classes_absent", "train"].value == 0
    (conflict,) = [line for line in found.findings if line.check == "label_conflicts_exact"]
    assert conflict.example == "cats/5.jpg (cat|indoor) = dogs/0.jpg (no class)"
    assert write_sheet(tmp_path / "audit.png", found.pairs, {"mine": planted_several})


def test_a_single_label_set_says_nothing_of_images_of_no_class(planted: Packed) -> None:
    assert "images_of_no_class" not in {line.check for line in audit([planted]).findings}


def test_the_sheet_writes_all_labels_of_both_images(
    planted_several: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, place, text, **_: written.append(text))
    write_sheet(tmp_path / "audit.png", audit([planted_several]).pairs, {"mine": planted_several})
    assert written == [
        *("exact, LABELS DIFFER", "mine train: cats/5.jpg", "  cat|indoor", "mine test: dogs/0.jpg", "  no class"),
        *("exact", "mine train: cats/6.jpg", "  cat|indoor", "mine test: dogs/1.jpg", "  cat|indoor"),
    ]


def test_labels_too_long_for_the_sheet_end_in_dots(
    planted_several: Packed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    monkeypatch.setattr(ImageDraw.ImageDraw, "text", lambda self, place, text, **_: written.append(text))
    pairs = [replace(pair, label_a="|".join(["word"] * 40)) for pair in audit([planted_several]).pairs]
    write_sheet(tmp_path / "audit.png", pairs, {"mine": planted_several})
    assert max(map(len, written)) == WIDE
    assert written[2].endswith("word|w...")


def test_twins_in_two_datasets_are_found_but_not_between_variants(
    planted: Packed, packed_at: Callable[..., Path], image_folder: Path, serve_official: Callable[[str], object]
) -> None:
    other = open_packed(packed_at("other", own={"other": OwnData(folder=str(image_folder))}))
    found = audit([planted, other])
    (between,) = [f for f in found.findings if f.check == "exact_duplicates" and "+" in f.dataset]
    assert (between.dataset, between.value) == ("mine + other", 18)
    variants = []
    for dataset_id in ("ham10k", "ham10k_grouped"):
        serve_official(dataset_id)
        variants.append(open_packed(packed_at(dataset_id, incomplete_ok=True)))
    assert not [f for f in audit(variants).findings if "+" in f.dataset]


@pytest.mark.parametrize(
    ("leaking", "grouped"),
    [
        ("rsna_pneumonia", "rsna_pneumonia_grouped"),
        ("breakhis_40", "breakhis_40_grouped"),
        ("melanoma", "melanoma_grouped"),
        ("ham10k", "ham10k_grouped"),
        ("cct20", "cct20_trans"),
    ],
)
def test_a_split_that_leaks_and_the_one_that_does_not_differ_in_numbers(
    leaking: str, grouped: str, obtain: Callable[[str], Any], packed_at: Callable[..., Path]
) -> None:
    """What is counted is what the index says: groups on both sides, and test images of a group that train has."""
    for dataset_id, leaks in ((leaking, True), (grouped, False)):
        packed = open_packed(packed_at(dataset_id, incomplete_ok=True, **obtain(dataset_id)))
        splits = {split: [line.group for line in packed.index if line.split == split] for split in ("train", "test")}
        shared = set(splits["train"]) & set(splits["test"]) - {""}
        found = audit([packed])
        assert value(found, "groups_crossing") == len(shared)
        assert value(found, "images_of_train_groups", "test") == sum(group in shared for group in splits["test"])
        assert bool(shared) == leaks


def test_changed_pixels_are_reported(planted: Packed) -> None:
    with (planted.path / "images.npy").open("r+b") as file:
        file.seek(5000)
        file.write(b"\x01\x02\x03")
    found = audit([open_packed(planted.path)])
    assert value(found, "pixels_changed") == 1


def test_nothing_to_audit() -> None:
    with pytest.raises(DataError, match="prepare one first"):
        audit([])


def test_near_pairs_are_those_of_a_plain_double_loop() -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2**63, (150, 4), dtype=np.uint64)
    for i, j, flips in ((3, 100, 24), (5, 140, 25), (7, 8, 1), (70, 71, 0), (20, 90, 12)):
        codes[j] = codes[i]
        for bit in rng.choice(256, flips, replace=False):
            codes[j, bit // 64] ^= np.uint64(1) << np.uint64(bit % 64)
    plain = {
        (i, j, sum(int(a ^ b).bit_count() for a, b in zip(codes[i], codes[j], strict=True)))
        for i in range(150)
        for j in range(i + 1, 150)
    }
    assert {tuple(pair) for pair in near_pairs(codes).tolist()} == {pair for pair in plain if pair[2] <= NEAR}


def test_the_hash_survives_reencoding_and_rescaling_but_tells_pictures_apart() -> None:
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (20, 8, 8, 3), np.uint8)
    large = [Image.fromarray(c).resize((160, 160), Image.Resampling.BICUBIC) for c in coarse]
    out = io.BytesIO()
    large[0].save(out, "JPEG", quality=50)
    codes = hashes(np.stack([np.asarray(image) for image in [*large, Image.open(out)]]))
    half = hashes(np.stack([np.asarray(image.resize((80, 80))) for image in large]))
    bits = np.bitwise_count(codes[:, None] ^ codes[None]).sum(axis=2)
    assert bits[0, 20] <= NEAR
    assert bits[:20, :20][~np.eye(20, dtype=bool)].min() > 2 * NEAR
    assert np.bitwise_count(codes[:20] ^ half).sum(axis=1).max() <= NEAR
