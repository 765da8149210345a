"""Peak memory of this process: what PyTorch holds on the GPU, else what is resident."""

from __future__ import annotations

import contextlib
from pathlib import Path

ON_GPU = "the most that PyTorch held on the GPU (torch.cuda.max_memory_reserved)"
RESIDENT = (
    "the most that was resident of the process (VmHWM), its libraries included, on the processors"
)
_RESET_PEAK = "5"
"""Written to ``/proc/self/clear_refs`` it makes the resident peak the present one: proc(5)."""


class Meter:
    """Measures from when it is made; make it once libraries and rows are in memory."""

    def __init__(self) -> None:
        import torch

        self.on_gpu = torch.cuda.is_available()
        self.before = 0 if self.on_gpu else _resident("VmRSS")
        """Bytes that were there already: libraries and rows."""
        self.restart()

    def restart(self) -> None:
        """Forget the peak so far; what the process holds still counts."""
        if self.on_gpu:
            import torch

            torch.cuda.reset_peak_memory_stats()
            return
        with contextlib.suppress(OSError):  # then it is the peak of the whole process
            Path("/proc/self/clear_refs").write_text(_RESET_PEAK)

    def peak(self) -> int:
        """Return the most bytes held since the last restart, what was there before included."""
        if self.on_gpu:
            import torch

            return int(torch.cuda.max_memory_reserved())
        return _resident("VmHWM")

    def allocated(self) -> int | None:
        """Return the most bytes that tensors took on the GPU; None on the processors."""
        if not self.on_gpu:
            return None
        import torch

        return int(torch.cuda.max_memory_allocated())

    def on_device(self) -> int | None:
        """Return the bytes of the GPU that its driver counts as used, by whatever program."""
        if not self.on_gpu:
            return None
        import torch

        try:
            return int(torch.cuda.device_memory_used())
        except Exception:  # noqa: BLE001 (NVML is not there or fails in many ways)
            free, total = torch.cuda.mem_get_info()
            return int(total - free)


def source() -> str:
    """Return what is measured on this machine, in words."""
    import torch

    return ON_GPU if torch.cuda.is_available() else RESIDENT


def _resident(field: str) -> int:
    """Return a field of ``/proc/self/status`` in bytes, 0 where the kernel does not tell."""
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return 0
