"""Joules from the kernel's and the driver's counters, which are files and a library made here."""

from __future__ import annotations

import ctypes
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
import torch

from mobilebench.system.energy import Meter, meter_of, nvml, rapl

if TYPE_CHECKING:
    from pathlib import Path


def zone(folder: Path, name: str, energy: int, wrap: int = 1000) -> Path:
    made = folder / name
    made.mkdir(parents=True)
    for key, value in {"name": "package-0", "energy_uj": energy, "max_energy_range_uj": wrap}.items():
        (made / key).write_text(f"{value}\n")
    return made / "energy_uj"


def test_energy_is_counted_per_package_and_over_the_counters_end(tmp_path: Path) -> None:
    energy = zone(tmp_path, "intel-rapl:0", 900_000, wrap=1_000_000)
    zone(tmp_path, "intel-rapl:0:0", 1)  # a part of package 0
    meter = Meter(rapl(tmp_path))
    assert meter.source == "RAPL package-0"
    energy.write_text("950000\n")
    assert meter.lap() == pytest.approx(0.05)
    energy.write_text("150000\n")
    assert meter.lap() == pytest.approx(0.2)
    assert Meter([]).lap() is None


class Driver:
    """NVML as far as it is called: two cards, the second without a counter; other functions do not exist."""

    millijoules = {b"GPU-aaaa": 5_000, b"GPU-bbbb": 70_000}  # noqa: RUF012 - a stand-in
    cards = [*millijoules, b"GPU-old"]  # noqa: RUF012 - in the order of the bus

    def nvmlInit_v2(self) -> int:  # noqa: N802 - NVML's names
        return 0

    def nvmlDeviceGetHandleByUUID(self, uuid: bytes, handle: object) -> int:  # noqa: N802
        if uuid not in self.cards:
            return 6  # NVML_ERROR_NOT_FOUND
        handle._obj.value = 1 + self.cards.index(uuid)  # type: ignore[attr-defined]
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: ctypes.c_void_p, value: object) -> int:  # noqa: N802
        uuid = self.cards[(handle.value or 0) - 1]
        if uuid not in self.millijoules:
            return 3  # NVML_ERROR_NOT_SUPPORTED
        value._obj.value = self.millijoules[uuid]  # type: ignore[attr-defined]
        return 0


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Driver:
    made = Driver()
    monkeypatch.setattr(ctypes, "CDLL", lambda _: made)
    monkeypatch.setattr("mobilebench.system.energy._RAPL", tmp_path)
    return made


def test_the_card_trained_on_is_counted_whatever_its_number(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    visible = ["bbbb", "aaaa"]  # CUDA_VISIBLE_DEVICES=1,0
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda d: SimpleNamespace(uuid=visible[d.index or 0]))
    meters = [meter_of(torch.device(name)) for name in ("cuda:0", "cuda:1", "cuda")]
    assert [meter.source for meter in meters] == ["NVML GPU-bbbb", "NVML GPU-aaaa", "NVML GPU-bbbb"]
    monkeypatch.setattr(driver, "millijoules", {b"GPU-aaaa": 5_250, b"GPU-bbbb": 72_000})
    assert [meter.lap() for meter in meters] == [2.0, 0.25, 2.0]
    assert meter_of(torch.device("cpu")).lap() is None


def test_a_counter_that_fails_for_once_costs_the_reading_alone(driver: Driver, monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter(nvml("GPU-aaaa"))
    monkeypatch.setattr(driver, "millijoules", {})
    assert meter.lap() is None
    monkeypatch.setattr(driver, "millijoules", {b"GPU-aaaa": 9_000})
    assert meter.lap() is None  # since when is not known
    monkeypatch.setattr(driver, "millijoules", {b"GPU-aaaa": 9_500})
    assert meter.lap() == 0.5
    monkeypatch.setattr(driver, "millijoules", {b"GPU-aaaa": 10})  # the driver was loaded again
    assert meter.lap() is None


@pytest.mark.parametrize("uuid", ["GPU-old", "GPU-elsewhere", ""])
def test_a_card_that_counts_no_energy_or_is_not_known_is_left_out(uuid: str, driver: Driver) -> None:
    assert nvml(uuid) == []


def test_without_a_driver_nothing_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    assert nvml("GPU-aaaa") == []
