"""The identity of a cell's result: equal identity, equal result, so it is not trained again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mobilebench.config.parsing import digest
from mobilebench.training import VERSION

if TYPE_CHECKING:
    from mobilebench.config.suite import Cell
    from mobilebench.runs.records import Record


def identity(cell: Cell, protocol_hash: str, data_digest: str, code_version: int = VERSION) -> str:
    """Return the digest of (cell, protocol, data, numerics version of the training code)."""
    return digest([cell.model, cell.dataset, cell.seed, protocol_hash, data_digest, code_version])


def record_identity(record: Record) -> str:
    """Return the identity under which a record was made."""
    return identity(record.cell, record.protocol_hash, record.data_digest, record.code_version)
