"""Tiny copies of the official distributions, made here in their exact layout, and a web server that can misbehave."""

from __future__ import annotations

import hashlib
import io
import pickle
import re
import struct
import threading
from collections import defaultdict
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tiny_archives import MORE, Files, jpeg, tar, zipped
from tiny_transfer import TRANSFER

from mobilebench.config.recipe import DataPolicy
from mobilebench.datasets import DATASETS, registry
from mobilebench.datasets.catalog import imagenette
from mobilebench.datasets.packing.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mobilebench.datasets.spec import DatasetSpec


def _imagenette() -> Files:
    files = {"imagenette2-160/noisy_imagenette.csv": b"path,noisy_labels_0\n"}
    for c, wnid in enumerate(imagenette.CLASSES):
        for i in range(3):
            files[f"imagenette2-160/train/{wnid}/{wnid}_{i}.JPEG"] = jpeg(10 * c + i, (200, 160))
        files[f"imagenette2-160/val/{wnid}/ILSVRC2012_val_{c:08d}.JPEG"] = jpeg(1000 + c, (160, 213))
    return {"imagenette2-160.tgz": tar(files, "w:gz")}


def cifar_batch(n: int, classes: int, key: str, seed: int, **more: object) -> dict[bytes, Any]:
    rng = np.random.default_rng(seed)
    return {
        b"data": rng.integers(0, 256, (n, 3072), np.uint8),
        key.encode(): [i % classes for i in range(n)],
        b"filenames": [f"picture_s_{seed:03d}{i:03d}.png".encode() for i in range(n)],
        **{name.encode(): value for name, value in more.items()},
    }


class _Python2(pickle._Pickler):
    """Writes byte strings as Python 2 and numpy 1 did, which wrote the official files."""

    dispatch = pickle._Pickler.dispatch.copy()

    def _save_bytes(self, value: bytes) -> None:
        self.write(pickle.BINSTRING + struct.pack("<i", len(value)) + value)
        self.memoize(value)

    dispatch[bytes] = _save_bytes


def python2_pickle(content: object) -> bytes:
    out = io.BytesIO()
    _Python2(out, 2).dump(content)
    return out.getvalue().replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")


def _cifar10() -> Files:
    names = [b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse", b"ship", b"truck"]
    root = "cifar-10-batches-py"
    files = {f"{root}/readme.html": b"<html/>"}
    for seed, name in enumerate([f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]):
        files[f"{root}/{name}"] = python2_pickle(cifar_batch(20, 10, "labels", seed, batch_label=b"x"))
    files[f"{root}/batches.meta"] = python2_pickle({b"label_names": names, b"num_vis": 3072})
    return {"cifar-10-python.tar.gz": tar(files, "w:gz")}


def _cifar100() -> Files:
    root = "cifar-100-python"
    fine = [f"fine_{i:02d}".encode() for i in range(100)]
    files = {f"{root}/file.txt~": b""}
    for seed, (name, n) in enumerate({"train": 300, "test": 100}.items()):
        batch = cifar_batch(n, 100, "fine_labels", seed, coarse_labels=[0] * n)
        files[f"{root}/{name}"] = python2_pickle(batch)
    files[f"{root}/meta"] = python2_pickle({b"fine_label_names": fine, b"coarse_label_names": []})
    return {"cifar-100-python.tar.gz": tar(files, "w:gz")}


def mat(names: list[str], labels: list[int]) -> bytes:
    from scipy.io import savemat

    cells = np.empty((len(names), 1), object)
    cells[:, 0] = names
    out = io.BytesIO()
    savemat(out, {"file_list": cells, "annotation_list": cells, "labels": np.array(labels, np.uint8)[:, None]})
    return out.getvalue()


def _dogs() -> Files:
    breeds = ["n02085620-Chihuahua", "n02085782-Japanese_spaniel", "n02106030-collie"]
    names = [f"{b}/{b.partition('-')[0]}_{i}.jpg" for b in breeds for i in range(8)]
    labels = [1 + i // 8 for i in range(len(names))]
    images = {f"Images/{name}": jpeg(i, (60, 50 + i)) for i, name in enumerate(names)}
    train = [i for i in range(len(names)) if i % 8 < 5]
    test = [i for i in range(len(names)) if i % 8 >= 5]
    lists = {
        "file_list.mat": mat(names, labels),
        "train_list.mat": mat([names[i] for i in train], [labels[i] for i in train]),
        "test_list.mat": mat([names[i] for i in test], [labels[i] for i in test]),
    }
    return {"images.tar": tar(images), "lists.tar": tar(lists)}


def ham_lines(n: int = 140) -> list[str]:
    """Metadata lines: seven diagnoses in turn, two images a lesion."""
    kinds = ["akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"]
    return [
        f"HAM_{7 * (i // 14) + i % 7:07d},ISIC_{24306 + i:07d},{kinds[i % 7]},histo,50.0,male,back" for i in range(n)
    ]


HAM_HEADER = "lesion_id,image_id,dx,dx_type,age,sex,localization"


def _ham10k() -> Files:
    lines = ham_lines()
    ids = [line.split(",")[1] for line in lines]
    table = "\n".join([HAM_HEADER, *lines]).replace(",", "\t") + "\n"
    parts = [{f"{name}.jpg": jpeg(int(name[5:]), (60, 45)) for name in some} for some in (ids[:70], ids[70:])]
    return {
        "HAM10000_metadata.tab": table.encode(),
        "HAM10000_images_part_1.zip": zipped(parts[0]),
        "HAM10000_images_part_2.zip": zipped(parts[1]),
    }


def _indoor67() -> Files:
    names = [f"{c}/{c}_{i}.jpg" for c in ("airport_inside", "artstudio", "bowling") for i in range(6)]
    unused = {"Images/bowling/not_in_a_list.jpg": b"not an image"}
    images = {f"Images/{name}": jpeg(i, (64, 64)) for i, name in enumerate(names)} | unused
    train = [name for i, name in enumerate(names) if i % 6 < 4]
    test = [name for i, name in enumerate(names) if i % 6 >= 4]
    return {
        "indoorCVPR_09.tar": tar(images),
        "TrainImages.txt": "\n".join(train).encode(),
        "TestImages.txt": ("\r\n".join(test) + "\r\n").encode(),
    }


def _miniplaces() -> Files:
    classes = ["a/abbey", "b/bakery/shop", "c/canyon"]
    train = [(f"train/{c}/{i:08d}.jpg", label) for label, c in enumerate(classes) for i in range(4)]
    val = [(f"val/{i:08d}.jpg", i % 3) for i in range(6)]
    images = {f"images/{name}": jpeg(i, (128, 128)) for i, (name, _) in enumerate(train + val)}
    images |= {"images/test/00000001.jpg": jpeg(99), "objects/train/a/abbey/00000001.xml": b"<annotation/>"}

    def text(pairs: list[tuple[str, int]]) -> bytes:
        return "".join(f"{name} {label}\n" for name, label in pairs).encode()

    return {
        "data.tar.gz": tar(images, "w:gz"),
        "train.txt": text(train),
        "val.txt": text(val),
        "categories.txt": text([(f"/{c}", label) for label, c in enumerate(classes)]),
    }


_MAKERS = {
    "imagenette": _imagenette,
    "cifar10": _cifar10,
    "cifar100": _cifar100,
    "dogs": _dogs,
    "ham10k": _ham10k,
    "indoor67": _indoor67,
    "miniplaces": _miniplaces,
    **MORE,
    **TRANSFER,
}


class _Made(dict[str, Files]):
    """The files of each distribution, made when they are first asked for."""

    def __missing__(self, name: str) -> Files:
        self[name] = _MAKERS[name]()
        return self[name]


@pytest.fixture(scope="session")
def official() -> dict[str, Files]:
    """The files of each official distribution, tiny, by raw name."""
    return _Made()


@dataclass
class Server:
    """Serves `files`; `tricks[name]` says, one word per request, how the next requests for a file go wrong."""

    files: Files = field(default_factory=dict)
    tricks: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    etag: str | None = '"one"'
    url: str = ""


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None: ...

        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            server.asked.append((name, self.headers.get("Range")))
            trick = server.tricks[name].pop(0) if server.tricks[name] else ""
            if name not in server.files or trick.isdecimal():
                self.send_error(int(trick or 404))
            else:
                self._send(server.files[name], trick)

        def _send(self, content: bytes, trick: str) -> None:
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "")
            fresh = self.headers.get("If-Range") in {None, server.etag}
            start = int(asked[1]) if asked and fresh and trick != "ignore range" else 0
            if asked and start >= len(content) and fresh:
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.end_headers()
                return
            body = content[start:]
            self.send_response(206 if start else 200)
            if start:
                shown = 0 if trick == "wrong range" else start
                self.send_header("Content-Range", f"bytes {shown}-{len(content) - 1}/{len(content)}")
            lie = {"too long": 1000, "too short": -len(body) // 2}.get(trick, 0)
            if trick != "no length":
                self.send_header("Content-Length", str(len(body) + lie))
            if server.etag:
                self.send_header("ETag", server.etag)
            self.end_headers()
            with suppress(ConnectionError):
                self.wfile.write(body[: len(body) // 2] if trick == "drop" else body)
            self.close_connection = True

    return Handler


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(server))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    server.url = f"http://127.0.0.1:{http.server_port}"
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


@pytest.fixture
def server() -> Iterator[Server]:
    with serving(Server()) as running:
        yield running


def redirected(spec: DatasetSpec, server: Server) -> DatasetSpec:
    """The same dataset with its sources on the test's server, checksums as that server's files have them."""
    sources = tuple(
        replace(
            s,
            url=f"{server.url}/{s.name}",
            md5=s.md5 and hashlib.md5(server.files[s.name]).hexdigest(),
            size=s.size and len(server.files[s.name]),
            sha256=s.sha256 and hashlib.sha256(server.files[s.name]).hexdigest(),
        )
        for s in spec.sources
    )
    return replace(spec, sources=sources)


@pytest.fixture
def serve_official(
    server: Server, official: dict[str, Files], monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], DatasetSpec]:
    """Put a dataset's tiny official files on the server and point its registry entry there."""

    def serve(dataset_id: str) -> DatasetSpec:
        spec = DATASETS[dataset_id]
        server.files.update(official[spec.raw_name])
        local = redirected(spec, server)
        monkeypatch.setitem(registry.DATASETS, dataset_id, local)
        return local

    return serve


@pytest.fixture
def obtain(serve_official: Callable[[str], object], official: dict[str, Files], tmp_path: Path) -> Callable[[str], Any]:
    """Make a dataset's tiny official files obtainable, and return what `prepare` is to be given for them."""

    def run(dataset_id: str) -> dict[str, Path]:
        spec = DATASETS[dataset_id]
        if spec.needs:
            pytest.importorskip(spec.needs)
        if spec.by_hand_only:
            copy = tmp_path / f"{spec.raw_name}_by_hand"
            copy.mkdir(exist_ok=True)
            for name, content in official[spec.raw_name].items():
                (copy / name).write_bytes(content)
            return {"source": copy}
        if not spec.generated:
            serve_official(dataset_id)
        return {}

    return run


@pytest.fixture
def packed_at(tmp_path: Path) -> Callable[..., Path]:
    """`prepare` into the test's folder, with the default policy and one process unless told otherwise."""

    def run(dataset_id: str, policy: DataPolicy | None = None, **more: Any) -> Path:
        settings = {"raw_dir": tmp_path / "raw", "out_dir": tmp_path / "packed", "workers": 1} | more
        return prepare(dataset_id, policy=policy or DataPolicy(), **settings)

    return run


@pytest.fixture
def image_folder(tmp_path: Path) -> Path:
    """Own data: two classes of ten images each."""
    root = tmp_path / "own"
    for seed, name in ((500, "cats"), (600, "dogs")):
        (root / name).mkdir(parents=True)
        for i in range(10):
            (root / name / f"{i}.jpg").write_bytes(jpeg(seed + i, (40, 40)))
    return root
