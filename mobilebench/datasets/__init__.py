"""Datasets: what they are, how to get them, and the packed arrays that training reads. No torch, no mlflow."""

from __future__ import annotations

from mobilebench.datasets.registry import DATASETS, get
from mobilebench.datasets.spec import DataError, DatasetSpec

__all__ = ["DATASETS", "DataError", "DatasetSpec", "get"]
