"""The NVIDIA driver and its GPUs, read with NVML."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from ftwizard.background import call_or_none

TIMEOUT_S = 3.0
T = TypeVar("T")


class GpuProcess(msgspec.Struct, frozen=True, kw_only=True):
    """A compute process on a GPU. In a container, its pid is that of the host."""

    pid: int
    memory: int | None
    """Bytes; None if unknown."""


class Card(msgspec.Struct, frozen=True, kw_only=True):
    """One GPU; None means that the driver does not tell."""

    index: int
    lost: bool = False
    name: str | None = None
    capability: tuple[int, int] | None = None
    memory: int | None = None
    """Bytes."""
    used: int | None = None
    """Bytes in use by all processes and the driver itself."""
    processes: tuple[GpuProcess, ...] | None = None
    uncorrected: int | None = None
    """Uncorrectable memory errors since the driver was loaded."""
    rows_pending: bool = False
    """Memory rows will be remapped at the next reset."""
    rows_failed: bool = False
    """Row remapping failed: no spare rows."""
    throttle: int | None = None
    """Why clocks are reduced (bits, NVML's clocks event reasons)."""
    mig: bool = False
    """Whether it is split into MIG instances."""
    persistence: bool | None = None
    compute_mode: int | None = None
    """0 shared, 2 prohibited, 3 exclusive process (NVML's numbers)."""


class NvidiaDriver(msgspec.Struct, frozen=True, kw_only=True):
    """The driver, or why it does not answer."""

    version: str | None = None
    cuda: tuple[int, int] | None = None
    """The newest CUDA version it supports."""
    cards: tuple[Card, ...] = ()
    error: int | None = None
    """NVML's error code."""
    message: str = ""
    """NVML's error message."""
    hung: bool = False


def read_driver(timeout_s: float = TIMEOUT_S) -> NvidiaDriver:
    """Read the driver; ``hung`` is set if it does not answer within ``timeout_s``."""
    try:
        return call_or_none(timeout_s, _read)
    except TimeoutError:
        return NvidiaDriver(hung=True)


def _read() -> NvidiaDriver:
    import pynvml

    try:
        pynvml.nvmlInit()
        count = pynvml.nvmlDeviceGetCount()
    except pynvml.NVMLError as error:
        return NvidiaDriver(error=error.value, message=str(error))
    cuda = _ask(pynvml, pynvml.nvmlSystemGetCudaDriverVersion)
    return NvidiaDriver(
        version=_ask(pynvml, pynvml.nvmlSystemGetDriverVersion),
        cuda=(cuda // 1000, cuda % 1000 // 10) if cuda else None,
        cards=tuple(_read_card(pynvml, index) for index in range(count)),
    )


def _ask(nvml: Any, call: Callable[[], T]) -> T | None:
    try:
        return call()
    except nvml.NVMLError:
        return None


def _read_card(nvml: Any, index: int) -> Card:
    def ask(call: Callable[..., T], *arguments: int) -> T | None:
        return _ask(nvml, lambda: call(handle, *arguments))

    handle = _ask(nvml, lambda: nvml.nvmlDeviceGetHandleByIndex(index))
    if handle is None:
        return Card(index=index, lost=True)
    capability = ask(nvml.nvmlDeviceGetCudaComputeCapability)
    memory: Any = ask(nvml.nvmlDeviceGetMemoryInfo)
    mig: Any = ask(nvml.nvmlDeviceGetMigMode)
    rows: Any = ask(nvml.nvmlDeviceGetRemappedRows) or (0, 0, 0, 0)
    persistence = ask(nvml.nvmlDeviceGetPersistenceMode)
    processes: Any = ask(nvml.nvmlDeviceGetComputeRunningProcesses)
    return Card(
        index=index,
        name=ask(nvml.nvmlDeviceGetName),
        capability=None if capability is None else (int(capability[0]), int(capability[1])),
        memory=memory and memory.total,
        used=memory and memory.used,
        processes=None
        if processes is None
        else tuple(GpuProcess(pid=p.pid, memory=p.usedGpuMemory) for p in processes),
        uncorrected=ask(
            nvml.nvmlDeviceGetTotalEccErrors,
            nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
            nvml.NVML_VOLATILE_ECC,
        ),
        rows_pending=bool(rows[2]),
        rows_failed=bool(rows[3]),
        throttle=ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons),
        mig=bool(mig and mig[0]),
        persistence=None if persistence is None else bool(persistence),
        compute_mode=ask(nvml.nvmlDeviceGetComputeMode),
    )
