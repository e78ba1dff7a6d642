"""The card's name, by a driver that the test plays: which card is asked for, and what is said where there is none."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import Any

import pytest

from mobilebench.execution.estimate import device_here
from mobilebench.system.gpu import card_name
from mobilebench.system.provenance import processor


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Two cards, number 1 being GPU-b; returns the list of those that are asked for."""
    asked: list[object] = []

    def find(card: object, handle: Any) -> int:
        asked.append(card)
        return 0 if card in {0, 1, b"GPU-b"} else 6

    def name(handle: Any, buffer: Any, length: int) -> int:
        buffer.value = b"NVIDIA H200" if asked[-1] == 0 else b"NVIDIA A100"
        return 0

    library = SimpleNamespace(
        nvmlInit_v2=lambda: 0,
        nvmlDeviceGetHandleByIndex_v2=find,
        nvmlDeviceGetHandleByUUID=find,
        nvmlDeviceGetName=name,
    )
    monkeypatch.setattr(ctypes, "CDLL", lambda _: library)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return asked


@pytest.mark.parametrize(
    ("visible", "number", "expected"),
    [
        (None, 0, "NVIDIA H200"),
        (None, 1, "NVIDIA A100"),
        ("1,0", 0, "NVIDIA A100"),
        ("1, 0", 1, "NVIDIA H200"),
        ("1", 1, ""),
        ("GPU-b", 0, "NVIDIA A100"),
        ("", 0, ""),
        ("-1", 0, ""),
        (None, 7, ""),
    ],
)
def test_the_card_that_pytorch_would_take(
    driver: list[object], monkeypatch: pytest.MonkeyPatch, visible: str | None, number: int, expected: str
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert card_name(number) == expected


def test_the_device_here_is_the_card_only_where_cells_are_trained_on_it(driver: list[object]) -> None:
    assert device_here("auto") == device_here("cuda:0") == "NVIDIA H200"
    assert device_here("cuda:1") == "NVIDIA A100"
    assert device_here("cpu") == processor()
    assert device_here("mps") == f"mps, {processor()}"


def test_without_a_driver_there_is_no_card(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(_: str) -> object:
        raise OSError("libnvidia-ml.so.1: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert not card_name()
