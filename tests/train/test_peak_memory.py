"""Peak memory of a process on the CPU, and PyTorch's count on a GPU."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from ftwizard.train import peak_memory
from ftwizard.train.peak_memory import PeakMemoryMeter

MB = 1_000_000


@pytest.fixture
def cpu_only(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(is_available=lambda: False)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))


@pytest.mark.usefixtures("cpu_only")
def test_cpu_peak_persists_until_the_meter_is_restarted() -> None:
    meter = PeakMemoryMeter()
    before = meter.peak()
    buffer = bytearray(b"x") * (300 * MB)
    del buffer
    assert 290 * MB < meter.peak() - before < 400 * MB
    meter.restart()
    assert meter.peak() < before + 150 * MB
    assert meter.allocated() is meter.on_device() is None
    assert "resident" in peak_memory.source()


def test_gpu_peak_comes_from_pytorch_and_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    resets: list[int] = []

    def fails() -> int:
        raise RuntimeError("NVML is not there")

    cuda = SimpleNamespace(
        is_available=lambda: True,
        reset_peak_memory_stats=lambda: resets.append(1),
        max_memory_reserved=lambda: 9 * MB,
        max_memory_allocated=lambda: 7 * MB,
        device_memory_used=lambda: 11 * MB,
        mem_get_info=lambda: (20 * MB, 32 * MB),
    )
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    meter = PeakMemoryMeter()
    assert (
        meter.peak(),
        meter.allocated(),
        meter.on_device(),
    ) == (9 * MB, 7 * MB, 11 * MB)
    assert len(resets) == 1 and "max_memory_reserved" in peak_memory.source()
    cuda.device_memory_used = fails
    assert meter.on_device() == 12 * MB
