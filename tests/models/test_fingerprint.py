"""What a network's fingerprint sees, what it leaves out, and that asking for it again builds nothing."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from mobilebench import models
from mobilebench.models import fingerprint as module
from mobilebench.models.fingerprint import UNBUILT, code_digest, fingerprint, known_fingerprint
from mobilebench.models.registry import MODELS
from mobilebench.models.source import Place, source_digest
from mobilebench.models.spec import ModelSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NET = '''
"""A package's network."""
from torch import nn
from ownnet_pkg.blocks import Block
from ownnet_pkg import extra

WIDTH = 8


def build(num_classes, width=WIDTH):
    """Return the network."""
    return Net(width, num_classes)


def unrelated(x):
    return x + 1


class Net(nn.Module):
    def __init__(self, width, num_classes):
        super().__init__()
        self.block = Block(3, width)
        self.head = nn.Linear(width, num_classes)
        self.scale = 0.5

    def forward(self, images):
        return self.head(extra.pool(self.block(images)) * self.scale)
'''
BLOCKS = """
import torch
from torch import nn


class Block(nn.Conv2d):
    def __init__(self, inputs, outputs):
        super().__init__(inputs, outputs, 3)

    def forward(self, images):
        return torch.relu(super().forward(images))  # the activation
"""
EXTRA = """
def pool(maps):
    return maps.mean((2, 3))
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with a network, as a user has one, offered under the name `ownnet`."""
    folder = tmp_path / "ownnet_pkg"
    folder.mkdir()
    for name, text in (("__init__", ""), ("net", NET), ("blocks", BLOCKS), ("extra", EXTRA)):
        (folder / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    offer(monkeypatch)
    yield folder
    forget()


def offer(monkeypatch: pytest.MonkeyPatch, version: str = "1.0") -> None:
    def build(num_classes: int, **options: object) -> nn.Module:
        network: nn.Module = importlib.import_module("ownnet_pkg.net").build(num_classes, **options)
        return network

    spec = ModelSpec(
        "ownnet", "Own", "for tests", build, "entry_point", options=None, minimum=1, package=f"own=={version}",
        origin=("ownnet_pkg.net", "build"),
    )  # fmt: skip
    monkeypatch.setitem(MODELS, "ownnet", spec)


def forget() -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "ownnet_pkg"]:
        del sys.modules[name]
    module._known.cache_clear()
    importlib.invalidate_caches()


def taken(**options: object) -> str:
    forget()
    return fingerprint("ownnet", models.create("ownnet", 4, **options))


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_every_packaged_network_has_one_of_its_own(built: Callable[..., nn.Module]) -> None:
    found = {name: fingerprint(name, built(name)) for name in MODELS}
    assert len(set(found.values())) == len(MODELS)
    assert found["mobilenet"] == fingerprint("mobilenet", models.create("mobilenet", 10))


def test_initial_values_and_training_change_nothing(built: Callable[..., nn.Module]) -> None:
    network = models.create("shufflenet", 10)
    before = fingerprint("shufflenet", network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1.0)
    assert fingerprint("shufflenet", network) == before == fingerprint("shufflenet", built("shufflenet"))


@pytest.mark.parametrize("name", ["shufflenet", "mobilevit"])
def test_class_count_and_options_change_it(name: str) -> None:
    assert len({fingerprint(name, models.create(name, classes)) for classes in (2, 3)}) == 2
    options = [fingerprint("convmixer", models.create("convmixer", 3, patch_size=size)) for size in (7, 14)]
    assert options[0] != options[1]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("net.py", "WIDTH = 8", "WIDTH = 16"),
        ("net.py", "self.scale = 0.5", "self.scale = 0.25"),
        ("net.py", "* self.scale", "* self.scale * self.scale"),
        ("net.py", "nn.Linear(width, num_classes)", "nn.Linear(width, num_classes, bias=False)"),
        ("blocks.py", "torch.relu", "torch.sigmoid"),
        ("blocks.py", "outputs, 3)", "outputs, 3, padding=1)"),
        ("extra.py", "maps.mean((2, 3))", "maps.amax((2, 3))"),
        ("__init__.py", "", "import torch\ntorch.set_num_interop_threads\n"),
    ],
)
def test_an_edit_of_the_code_changes_it(package: Path, file: str, old: str, new: str) -> None:
    before = taken()
    edit(package / file, old, new)
    assert taken() != before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("net.py", '"""Return the network."""', '"""Return it."""'),
        ("net.py", "x + 1", "x + 2"),
        ("net.py", "WIDTH = 8\n", "\n\n# how wide\nWIDTH = 8\n"),
        ("blocks.py", "  # the activation", ""),
        ("__init__.py", "", "VERSION = 3\n"),
    ],
)
def test_comments_layout_and_what_the_network_does_not_use_change_nothing(
    package: Path, file: str, old: str, new: str
) -> None:
    before = taken()
    edit(package / file, old, new)
    assert taken() == before


def test_the_version_of_its_package_changes_it(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = taken()
    offer(monkeypatch, "2.0")
    assert taken() != before


def test_timms_version_is_in_the_fingerprint_of_its_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    network = models.create("timm:mobilenetv3_small_050", 4)
    before = fingerprint("timm:mobilenetv3_small_050", network)
    monkeypatch.setattr("mobilebench.models.external.metadata.version", lambda _: "0.0.1")
    assert fingerprint("timm:mobilenetv3_small_050", network) != before


def test_a_version_of_a_build_between_releases_counts_as_its_release() -> None:
    from mobilebench.models.external import _release

    assert [_release(v) for v in ("1.2.3", "1.2.4.dev12+g1a2b3c", "1.2+local", "2.0rc1")] == [
        "1.2.3", "1.2.4", "1.2", "2.0rc1",
    ]  # fmt: skip


def test_it_is_asked_for_again_without_building(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = known_fingerprint("ownnet", 4, {}, tmp_path / "kept")
    built = []
    monkeypatch.setattr(models, "create", lambda *_, **__: built.append(1))
    forget()
    assert known_fingerprint("ownnet", 4, {}, tmp_path / "kept") == first
    assert not built


def test_an_edit_is_seen_through_what_was_kept(package: Path, tmp_path: Path) -> None:
    first = known_fingerprint("ownnet", 4, {}, tmp_path / "kept")
    edit(package / "blocks.py", "torch.relu", "torch.tanh")
    forget()
    second = known_fingerprint("ownnet", 4, {}, tmp_path / "kept")
    assert second != first
    edit(package / "blocks.py", "torch.tanh", "torch.relu")
    forget()
    assert known_fingerprint("ownnet", 4, {}, tmp_path / "kept") == first


def test_what_was_kept_damaged_is_taken_again(package: Path, tmp_path: Path) -> None:
    first = known_fingerprint("ownnet", 4, {}, tmp_path / "kept")
    (file,) = (tmp_path / "kept").iterdir()
    file.write_text(file.read_text()[:20])
    forget()
    assert known_fingerprint("ownnet", 4, {}, tmp_path / "kept") == first


def test_a_network_that_cannot_be_built_has_none(package: Path, tmp_path: Path) -> None:
    edit(package / "net.py", "super().__init__()", "raise RuntimeError('no')")
    assert known_fingerprint("ownnet", 4, {}, tmp_path / "kept") == UNBUILT
    edit(package / "net.py", "raise RuntimeError('no')", "super().__init__()")
    forget()
    assert known_fingerprint("ownnet", 4, {}, tmp_path / "kept") != UNBUILT


def test_it_is_the_same_on_processors_of_other_capabilities() -> None:
    """Kernels for other instruction sets round initial values differently; the fingerprint has none in it."""
    names = ("mobilevit", "convnext", "starnet")
    code = (
        "from mobilebench import models; from mobilebench.models.fingerprint import fingerprint; import torch\n"
        f"torch.manual_seed(0)\nprint([fingerprint(n, models.create(n, 7)) for n in {names}])"
    )
    plain = subprocess.run(
        [sys.executable, "-c", code], env=os.environ | {"ATEN_CPU_CAPABILITY": "default"}, check=True,
        capture_output=True, text=True,
    ).stdout  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        here = [fingerprint(name, models.create(name, 7)) for name in names]  # by what this processor can do
    assert plain == f"{here}\n"


@pytest.mark.parametrize(
    "init",
    [
        "from ownnet_pkg.net import build",
        "from .net import *",
        "def __getattr__(name):\n    import ownnet_pkg.net\n    return getattr(ownnet_pkg.net, name)",
    ],
)
def test_code_is_found_behind_what_a_package_hands_on(package: Path, init: str) -> None:
    (package / "__init__.py").write_text(init + "\n")
    (package.parent / "outer_pkg.py").write_text("from ownnet_pkg import build\n")

    def found() -> str:
        sys.modules.pop("outer_pkg", None)
        forget()
        return source_digest([Place("outer_pkg", "build")], ["outer_pkg", "ownnet_pkg"])[0]

    before = found()
    edit(package / "net.py", "WIDTH = 8", "WIDTH = 9")
    assert found() != before


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        (
            "ACTS = {}\ndef reg(f):\n    ACTS[f.__name__] = f\n    return f\n\n@reg\ndef hs(x): return x + 1\n",
            "+ 1", "+ 2",
        ),
        ("import typing\nif typing.TYPE_CHECKING:\n    W = 3\nelse:\n    W = 1\n", "= 1", "= 2"),
    ],
    ids=["registry", "not for types"],
)  # fmt: skip
def test_what_an_import_runs_counts(package: Path, text: str, old: str, new: str) -> None:
    (package / "acts.py").write_text(text)
    edit(package / "net.py", "from ownnet_pkg import extra", "from ownnet_pkg import acts, extra")
    edit(package / "net.py", "self.scale = 0.5", "self.scale = len(acts.__name__)")
    before = taken()
    edit(package / "acts.py", old, new)
    assert taken() != before


def test_code_looked_up_at_run_time_counts_with_its_package(package: Path) -> None:
    edit(package / "net.py", "extra.pool", "__import__('importlib').import_module('ownnet_pkg.late').pool")
    (package / "late.py").write_text("def pool(maps):\n    return maps.mean((2, 3))\n")
    before = taken()
    edit(package / "late.py", "mean", "amax")
    assert taken() != before


@pytest.mark.parametrize("name", ["starnet", "mobilevit", "convnext_canonical", "timm:mobilenetv3_small_050"])
def test_an_edit_elsewhere_in_the_program_changes_no_network(
    name: str, built: Callable[..., nn.Module], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each new version, whatever it changed, would have every cell trained again."""
    before = fingerprint(name, built(name))
    monkeypatch.setattr("mobilebench.models.source._all_of", lambda package: f"{package}, edited")
    assert fingerprint(name, built(name)) == before


def test_files_beside_the_code_count(package: Path, tmp_path: Path) -> None:
    (package / "scale.json").write_text("1")
    before, kept = taken(), known_fingerprint("ownnet", 4, {}, tmp_path / "kept")
    (package / "scale.json").write_text("2")
    assert taken() != before
    assert known_fingerprint("ownnet", 4, {}, tmp_path / "kept") != kept


def test_functions_of_a_second_own_package_count(package: Path, tmp_path: Path) -> None:
    helper = package.parent / "ownhelper.py"
    helper.write_text("def pool(maps):\n    return maps.mean((2, 3))\n")
    edit(package / "net.py", "from ownnet_pkg import extra", "import ownhelper as extra")
    before, kept = taken(), known_fingerprint("ownnet", 4, {}, tmp_path / "kept")
    outside = code_digest("ownnet", tmp_path / "kept")
    edit(helper, "mean", "amax")
    sys.modules.pop("ownhelper")
    assert taken() != before
    assert known_fingerprint("ownnet", 4, {}, tmp_path / "kept") != kept
    assert code_digest("ownnet", tmp_path / "kept") != outside


def test_another_version_is_seen_through_what_was_kept(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = known_fingerprint("ownnet", 4, {}, tmp_path / "kept")
    offer(monkeypatch, "2.0")
    forget()
    assert known_fingerprint("ownnet", 4, {}, tmp_path / "kept") != first


def _digest(folder: Path, text: str, name: str = "build") -> str:
    (folder / "probe_src.py").write_text(text)
    sys.modules.pop("probe_src", None)
    importlib.invalidate_caches()
    return source_digest([Place("probe_src", name)], ["probe_src"])[0]


@pytest.mark.parametrize(
    "text",
    [
        "TABLE = {}\nTABLE['a'] = @\ndef build(): return TABLE\n",
        "if True:\n    W = @\nelse:\n    W = 3\ndef build(): return W\n",
        "def a(): return @\ndef build(f=a): return f()\n",
        "def deco(f): return @\n@deco\ndef build(): pass\n".replace("@deco", "@deco"),
        "class A:\n    x = @\nclass build(A): pass\n",
        "async def a(): return @\nb = a\ndef build(): return b\n",
        "for x in range(@): pass\ndef build(): return x\n",
    ],
)
def test_code_reached_in_any_way_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    one, other = (text.replace("@", digit, 1) for digit in "12")
    assert _digest(tmp_path, one) != _digest(tmp_path, other)
    assert _digest(tmp_path, one) == _digest(tmp_path, f"'''Text.'''\nimport typing\n{one}\ndef other(): pass\n")
