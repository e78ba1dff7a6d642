"""Broken archives, lists, pickles and images: always a message, never a traceback, never a half-written dataset."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobilebench.datasets import DataError
from mobilebench.datasets.packing.decode import ImageError, decode
from mobilebench.datasets.packing.packed import open_packed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEVEN = ["imagenette", "cifar10", "cifar100", "dogs", "ham10k", "indoor67", "miniplaces"]


def broken(content: bytes, rng: random.Random) -> bytes:
    """Cut, overwrite, insert or turn bits, at random places."""
    data = bytearray(content)
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(4)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            data[at : at + 40] = rng.randbytes(40)
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.randint(1, 2000))
        elif at < len(data):
            data[at] ^= 1 << rng.randrange(8)
    return bytes(data)


@pytest.mark.parametrize("dataset_id", SEVEN)
def test_broken_distributions(
    dataset_id: str, official: dict[str, dict[str, bytes]], packed_at: Callable[..., Path], tmp_path: Path
) -> None:
    for seed in range(12):
        rng = random.Random(f"{dataset_id} {seed}")
        source = tmp_path / f"source{seed}"
        source.mkdir()
        victim = rng.choice(sorted(official[dataset_id]))
        for name, content in official[dataset_id].items():
            (source / name).write_bytes(broken(content, rng) if name == victim else content)
        out, raw = tmp_path / f"packed{seed}", tmp_path / f"raw{seed}"
        said, folder = outcome(packed_at, dataset_id, source=source, raw_dir=raw, out_dir=out, incomplete_ok=True)
        if folder is None:
            assert len(said) > 20
            assert [path.name for path in out.iterdir()] == [f".{dataset_id}.lock"]
            assert not list((raw / dataset_id).glob("*.partial"))
        else:
            open_packed(folder).verify()


def outcome(packed_at: Callable[..., Path], dataset_id: str, **settings: Any) -> tuple[str, Path | None]:
    try:
        return "", packed_at(dataset_id, **settings)
    except DataError as error:
        return str(error), None


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    from PIL import Image

    folder, found = tmp_path_factory.mktemp("pictures"), []
    for name in ("a.jpg", "a.png", "a.gif", "a.webp", "a.bmp", "a.tiff"):
        Image.linear_gradient("L").resize((50, 40)).convert("RGB").save(folder / name)
        found.append((folder / name).read_bytes())
    return found


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(which=st.integers(0, 5), seed=st.integers(0, 2**32))
def test_broken_images(which: int, seed: int, pictures: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(broken(pictures[which], random.Random(seed)))
    try:
        image, _ = decode(tmp_path / "x", 16)
        said = ""
    except ImageError as error:
        image, said = None, str(error)
    assert "\n" not in said
    assert said or (image.mode, image.size) == ("RGB", (16, 16))


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=300))
def test_random_bytes_as_images(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(ImageError):
        decode(tmp_path / "x", 16)


def test_a_pickle_that_would_run_something_is_refused(packed_at: Callable[..., Path], tmp_path: Path) -> None:
    import pickle

    class Evil:
        def __reduce__(self) -> Any:
            return (open, (str(tmp_path / "owned"), "w"))

    root = tmp_path / "cifar-10-batches-py"
    root.mkdir()
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch", "batches.meta"]:
        (root / name).write_bytes(pickle.dumps({b"label_names": Evil(), b"data": Evil()}))
    with pytest.raises(DataError, match="wants to call"):
        packed_at("cifar10", source=tmp_path)
    assert not (tmp_path / "owned").exists()
