"""Names that are safe everywhere: in file names, DVC stages, MLflow filters and registered models."""

from __future__ import annotations

import hashlib
import re

_ID = re.compile(r"[a-z0-9_]+")


def is_id(name: str) -> bool:
    """Return whether a name is an id: lower-case letters, digits and _ only, at least one of them."""
    return _ID.fullmatch(name) is not None


def slug(model_id: str) -> str:
    """Return an id for a model: its own where it is one, or else made from it with a digest.

    The digest keeps `timm:a.b` and `timm:a_b` apart, and both from a registered model called `timm_a_b`.
    """
    if is_id(model_id):
        return model_id
    readable = re.sub(r"[^a-z0-9]+", "_", model_id.lower()).strip("_")
    return f"{readable}_{hashlib.sha256(model_id.encode()).hexdigest()[:8]}"
