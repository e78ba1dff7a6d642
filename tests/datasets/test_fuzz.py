"""Broken archives, lists, pickles and images: always a message, never a traceback, never a half-written dataset."""

from __future__ import annotations

import os
import random
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mobilebench.config.data import OwnData
from mobilebench.config.recipe import DataPolicy
from mobilebench.datasets import DATASETS, DataError
from mobilebench.datasets.custom import spec_of
from mobilebench.datasets.labels import label_array
from mobilebench.datasets.packing.decode import Form, ImageError, decode
from mobilebench.datasets.packing.packed import open_packed
from mobilebench.evaluation.target import ONE_CLASS, TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from mobilebench.evaluation.target import Target


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


@pytest.mark.parametrize("dataset_id", list({s.raw_name: s.id for s in DATASETS.values() if not s.generated}.values()))
def test_broken_distributions(
    dataset_id: str, official: dict[str, dict[str, bytes]], packed_at: Callable[..., Path], tmp_path: Path
) -> None:
    raw_name, needs = DATASETS[dataset_id].raw_name, DATASETS[dataset_id].needs
    if needs:
        pytest.importorskip(needs)
    for seed in range(12):
        rng = random.Random(f"{dataset_id} {seed}")
        source = tmp_path / f"source{seed}"
        source.mkdir()
        victim = rng.choice(sorted(official[raw_name]))
        for name, content in official[raw_name].items():
            (source / name).write_bytes(broken(content, rng) if name == victim else content)
        out, raw = tmp_path / f"packed{seed}", tmp_path / f"raw{seed}"
        said, folder = outcome(packed_at, dataset_id, source=source, raw_dir=raw, out_dir=out, incomplete_ok=True)
        if folder is None:
            assert len(said) > 20
            assert [path.name for path in out.iterdir()] == [f".{dataset_id}.lock"]
            assert not list((raw / raw_name).glob("*.partial"))
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
        image, _ = decode(tmp_path / "x", Form((16, 16)))
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
        decode(tmp_path / "x", Form((16, 16)))


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


WORDS = [
    "train",
    "Test",
    "val",
    "validation",
    "dev",
    "cat",
    "Cat",
    "cat ",
    "dog",
    "@eaDir",
    "thumbs.db",
    "x.png",
    "a.txt",
]
NAMES = st.one_of(
    st.sampled_from(WORDS), st.binary(min_size=1, max_size=6).map(os.fsdecode), st.text(max_size=4)
).filter(lambda name: name not in {"", ".", ".."} and not set(name) & {"/", "\0"} and encodable(name))
KINDS = st.sampled_from(
    ["file"] * 6 + ["link", "link up", "dangling", "loop", "pipe", "empty folder", "file without rights"]
)


def encodable(name: str) -> bool:
    try:
        return len(os.fsencode(name)) < 100
    except UnicodeEncodeError:
        return False


def grow(root: Path, tree: list[tuple[list[str], str]]) -> None:
    """Make what can be made of a list of paths and kinds."""
    made: list[Path] = []
    for parts, kind in tree:
        path = root.joinpath(*parts)
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            if kind in {"file", "file without rights"}:
                with path.open("xb") as file:  # and never into a pipe that is there
                    file.write(os.fsencode(path))
                path.chmod(0 if "rights" in kind else 0o600)
            elif kind == "pipe":
                os.mkfifo(path)
            elif kind == "empty folder":
                path.mkdir()
            else:
                targets = {"link": made[-1] if made else root, "link up": path.parent, "loop": path}
                path.symlink_to(targets.get(kind, root / "nowhere"))
            made.append(path)


def read_and_fingerprint(own: OwnData, root: Path) -> None:
    """Whatever is there: a reading and a fingerprint that any file and terminal takes, or an error of ours."""
    spec = spec_of("mine", own)
    assert spec.fingerprint is not None
    for work in (lambda: spec.read(root, DataPolicy()), spec.fingerprint):
        try:
            found = work()
        except DataError as error:
            str(error).encode()
        else:
            repr(found).encode()
            if not isinstance(found, str):
                "".join([*found.classes, *(entry.path for entry in found.entries)]).encode()
                assert {entry.split for entry in found.entries} >= {"train", "test"}
                labels = label_array([entry.label for entry in found.entries], own.target, len(found.classes))
                assert labels.dtype == (np.uint8 if own.target == "multi_label" else np.int64)


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tree=st.lists(st.tuples(st.lists(NAMES, min_size=1, max_size=4), KINDS), max_size=12),
    test=st.sampled_from([None, "val", "Test"]),
    target=st.sampled_from(sorted(ONE_CLASS)),
)
def test_whatever_a_folder_holds(
    tree: list[tuple[list[str], str]], test: str | None, target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with TemporaryDirectory(dir=tmp_path) as place:
        grow(Path(place), tree)
        read_and_fingerprint(OwnData(folder=place, test=test, target=target), Path(place))


FILES = [f"{name}/{i}.png" for name in "ab" for i in range(3)]
CELLS = st.one_of(
    st.sampled_from(
        ["path", "label", "split", "group", "train", "test", "a/0.png", "./a/0.png", "a/1.png", "b", "a", "A", "/"]
    ),
    st.sampled_from(["0", "1", "true", "a|b", "|", "a|a"]),
    st.text(max_size=5),
)
TABLES = st.one_of(
    st.lists(st.lists(CELLS, max_size=4), max_size=8).map(
        lambda rows: "\n".join(map(",".join, [["path", "label", "split"], *rows])).encode("utf-8", "replace")
    ),
    st.binary(max_size=60),
    st.binary(max_size=60).map(lambda rest: b"path,label\na/0.png,x\n" + rest),
    st.lists(st.sampled_from(["", "a", "b", "a|b", "0", "1", "0|1", "1|a|b"]), min_size=6, max_size=6).map(
        lambda labels: "\n".join(["path,label", *map(",".join, zip(FILES, labels, strict=True))]).encode()
    ),
    st.lists(st.tuples(*[st.sampled_from(["0", "1"])] * 3).map(",".join), min_size=6, max_size=6).map(
        lambda rows: "\n".join(["path,x,y,z", *map(",".join, zip(FILES, rows, strict=True))]).encode()
    ),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    table=TABLES,
    test=st.sampled_from([None, "val"]),
    target=st.sampled_from(TARGETS),
    names=st.sampled_from([None, ("b", "a"), ("x", "y", "z")]),
)
def test_whatever_a_csv_holds(
    table: bytes,
    test: str | None,
    target: Target,
    names: tuple[str, ...] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    grow(tmp_path, [(name.split("/"), "file") for name in FILES])
    (tmp_path / "all.csv").write_bytes(table)
    read_and_fingerprint(OwnData(csv="all.csv", test=test, target=target, classes=names), tmp_path)


def test_a_folder_that_is_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_bytes(b"x")
    for place in ("file", "file/below", "nowhere", "x" * 5000, "a\0b", "/dev/null", "/proc/self/mem", "caf\u00e9"):
        for own in (OwnData(folder=place), OwnData(csv=place), OwnData(csv="file", root=place)):
            read_and_fingerprint(own, tmp_path)
