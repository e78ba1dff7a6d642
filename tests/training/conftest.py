"""What the tests of training share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mobilebench.training.accel import depthwise, native, norm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def hidden_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A machine without programs, so without a compiler; the folder where one would be looked for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    caches = (native._compiled_once, depthwise._native, norm._native)
    for made in caches:
        made.cache_clear()
    yield tmp_path
    for made in caches:
        made.cache_clear()
