"""Peak memory: what a process really held, and PyTorch's own count on a GPU."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest

from ftwizard.train import peak_memory
from ftwizard.train.peak_memory import PeakMemoryMeter

MB = 1_000_000


@pytest.fixture
def processors(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = SimpleNamespace(is_available=lambda: False)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))


@pytest.mark.usefixtures("processors")
def test_the_peak_on_processors_outlives_what_made_it_until_it_is_restarted() -> None:
    peak_memory_meter = PeakMemoryMeter()
    before = peak_memory_meter.peak()
    kept = bytearray(b"x") * (300 * MB)
    del kept
    assert 290 * MB < peak_memory_meter.peak() - before < 400 * MB
    peak_memory_meter.restart()
    assert peak_memory_meter.peak() < before + 150 * MB
    assert peak_memory_meter.allocated() is peak_memory_meter.on_device() is None
    assert "resident" in peak_memory.source()


def test_on_a_gpu_it_asks_pytorch_and_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
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
    peak_memory_meter = PeakMemoryMeter()
    assert (
        peak_memory_meter.peak(),
        peak_memory_meter.allocated(),
        peak_memory_meter.on_device(),
    ) == (9 * MB, 7 * MB, 11 * MB)
    assert len(resets) == 1 and "max_memory_reserved" in peak_memory.source()
    cuda.device_memory_used = fails
    assert peak_memory_meter.on_device() == 12 * MB
