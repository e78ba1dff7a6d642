"""What the tests of the tracking store share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def empty_store(_empty_store: Path) -> Path:
    """The sqlite file of an empty store, to be copied."""
    return _empty_store
