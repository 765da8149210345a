"""Measurement of this process's peak memory: on the GPU by PyTorch, else resident."""

from __future__ import annotations

import contextlib
from pathlib import Path

ON_GPU = "peak GPU memory reserved by PyTorch (torch.cuda.max_memory_reserved)"
RESIDENT = "peak resident memory of the process (VmHWM) on the CPU, including libraries"
_RESET_PEAK = "5"
"""Written to ``/proc/self/clear_refs``, resets the resident peak to the current size: proc(5)."""


class PeakMemoryMeter:
    """Measures peak memory; create it once libraries and rows are in memory."""

    def __init__(self) -> None:
        import torch

        self._cuda = torch.cuda
        self.on_gpu = torch.cuda.is_available()
        self.before = 0 if self.on_gpu else _resident("VmRSS")
        """Bytes in use already: libraries and rows."""
        self.restart()

    def restart(self) -> None:
        """Reset the peak to the memory in use."""
        if self.on_gpu:
            self._cuda.reset_peak_memory_stats()
            return
        with contextlib.suppress(OSError):  # then it is the peak since the process started
            Path("/proc/self/clear_refs").write_text(_RESET_PEAK)

    def peak(self) -> int:
        """Return the peak bytes since the last restart, including earlier allocations."""
        return int(self._cuda.max_memory_reserved()) if self.on_gpu else _resident("VmHWM")

    def allocated(self) -> int | None:
        """Return the peak bytes of tensors on the GPU; None on the CPU."""
        return int(self._cuda.max_memory_allocated()) if self.on_gpu else None

    def on_device(self) -> int | None:
        """Return the GPU memory in use by all programs, in bytes; None on the CPU."""
        if not self.on_gpu:
            return None
        try:
            return int(self._cuda.device_memory_used())
        except Exception:  # noqa: BLE001 (NVML is missing or fails in many ways)
            free, total = self._cuda.mem_get_info()
            return int(total - free)


def source() -> str:
    """Describe what is measured on this machine."""
    import torch

    return ON_GPU if torch.cuda.is_available() else RESIDENT


def _resident(field: str) -> int:
    """Return a field of ``/proc/self/status`` in bytes, 0 if the kernel does not report it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return 0
