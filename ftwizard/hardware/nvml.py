"""Readings of one GPU by NVML; None means that the driver does not tell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Reading = dict[str, Any]

THROTTLE_REASONS = {
    0x20: "thermal",
    0x40: "thermal",
    0x80: "power brake",
    0x08: "hardware slowdown",
    0x04: "power cap",
    0x10: "sync boost",
    0x100: "display clock",
    0x200: "board limit",
    0x400: "reliability",
}
"""Why clocks are reduced, the most urgent first; idle cards and user settings do not count.

Source: NVML's clocks event reasons (nvml.h). 0x08 accompanies 0x40 and 0x80."""
MAX_INSTANCES = 7
"""MIG instances of one GPU (NVIDIA MIG User Guide)."""
LOST = {"lost": True}


class _Lost(Exception):
    """Raised when the GPU fell off its bus."""


def read_gpu(nvml: Any, index: int, *, uuid: bool = False) -> Reading:
    """Read one GPU with the module ``pynvml``. Memory in bytes, power in watts, °C.

    A lost GPU gives ``{"index", "lost"}``, an inaccessible one ``{"index", "error"}``.
    ``processes`` has the pid and bytes of each, as the driver counts them; ``mig`` is None, or the
    MIG instances. ``uuid``: read the UUID too.
    """
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as error:
        if _is_lost(nvml, error):
            return {"index": index, **LOST}
        return {"index": index, "error": str(error)}
    try:
        uuid_field = {"uuid": _ask(nvml, nvml.nvmlDeviceGetUUID, handle)} if uuid else {}
        return {"index": index, **uuid_field, **_read(nvml, handle)}
    except _Lost:
        return {"index": index, **LOST}


def decode_throttling(bits: int) -> list[str]:
    """Return the throttle reasons in NVML's bits, the most urgent first."""
    reasons = list(dict.fromkeys(name for bit, name in THROTTLE_REASONS.items() if bits & bit))
    if "hardware slowdown" in reasons and bits & 0xC0:  # its cause is listed too
        reasons.remove("hardware slowdown")
    return reasons


def _read(nvml: Any, handle: Any) -> Reading:
    def ask(call: Callable[..., Any], *arguments: Any) -> Any:
        return _ask(nvml, call, handle, *arguments)

    utilization = ask(nvml.nvmlDeviceGetUtilizationRates)
    memory = ask(nvml.nvmlDeviceGetMemoryInfo)
    memory_v2 = ask(nvml.nvmlDeviceGetMemoryInfo, nvml.nvmlMemory_v2)  # drivers from 510.39 on
    power, limit = ask(nvml.nvmlDeviceGetPowerUsage), ask(nvml.nvmlDeviceGetEnforcedPowerLimit)
    throttle_bits = ask(nvml.nvmlDeviceGetCurrentClocksEventReasons)
    if throttle_bits is None:  # the call of older drivers
        throttle_bits = ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons)
    return {
        "name": ask(nvml.nvmlDeviceGetName),
        "utilisation": utilization and utilization.gpu,
        "memory_used": memory and memory.used,
        "memory_total": memory and memory.total,
        "memory_reserved": memory_v2 and memory_v2.reserved,
        "temperature": ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
        "power": None if power is None else power / 1000,
        "power_limit": None if limit is None else limit / 1000,
        "throttled": None if throttle_bits is None else decode_throttling(throttle_bits),
        "processes": _read_processes(nvml, handle),
        "mig": _read_instances(nvml, handle),
    }


def _read_processes(nvml: Any, handle: Any) -> list[Reading] | None:
    """Read the processes that use memory of a GPU, each once; None if the driver does not tell."""
    memory_by_pid: dict[int, int | None] = {}
    is_known = False
    for call in (
        nvml.nvmlDeviceGetComputeRunningProcesses,
        nvml.nvmlDeviceGetGraphicsRunningProcesses,
    ):
        processes = _ask(nvml, call, handle)
        is_known = is_known or processes is not None
        for process in processes or ():  # a process that computes and draws is in both lists
            memory_by_pid[process.pid] = process.usedGpuMemory
    if not is_known:
        return None
    return [{"pid": pid, "memory": memory} for pid, memory in memory_by_pid.items()]


def _read_instances(nvml: Any, handle: Any) -> list[Reading] | None:
    mode = _ask(nvml, nvml.nvmlDeviceGetMigMode, handle)
    if not mode or not mode[0]:
        return None
    count = _ask(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle)
    instances = []
    for index in range(min(MAX_INSTANCES if count is None else count, MAX_INSTANCES)):
        instance = _ask(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, index)
        if instance is None:
            continue
        memory = _ask(nvml, nvml.nvmlDeviceGetMemoryInfo, instance)
        instances.append(
            {
                "index": index,
                "memory_used": memory and memory.used,
                "memory_total": memory and memory.total,
            }
        )
    return instances


def _ask(nvml: Any, call: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return call(*arguments)
    except nvml.NVMLError as error:
        if _is_lost(nvml, error):
            raise _Lost from None
        return None
    except (nvml.NVMLLibraryMismatchError, UnicodeDecodeError):  # an older driver; invalid text
        return None


def _is_lost(nvml: Any, error: Any) -> bool:
    return bool(error.value == nvml.NVML_ERROR_GPU_IS_LOST)
