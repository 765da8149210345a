"""What NVIDIA's driver tells of one GPU, by NVML; what it does not tell is None."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Reading = dict[str, Any]

SLOWED = {
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
"""Why clocks are held down, the most urgent first; an idle card and clocks that a person set are
no such reason. Source: NVML's clocks event reasons (nvml.h). 0x08 accompanies 0x40 and 0x80."""
MOST_INSTANCES = 7
"""Of one GPU: MIG cuts a card into seven at most (NVIDIA MIG User Guide)."""
LOST = {"lost": True}


class _Lost(Exception):
    """The GPU has fallen off its bus."""


def read(nvml: Any, index: int, *, uuid: bool = False) -> Reading:
    """Read one GPU through the module ``pynvml``. Memory in bytes, power in watts, °C.

    A GPU that the driver has lost is ``{"index", "lost"}``, one that it does not give
    ``{"index", "error"}`` with its reason. ``processes`` holds pid and bytes of each, as the driver
    counts them; ``mig`` is None, or the instances that the card is cut into. ``uuid``: that is read too.
    """
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
    except nvml.NVMLError as error:
        if _is_lost(nvml, error):
            return {"index": index, **LOST}
        return {"index": index, "error": str(error)}
    try:
        named = {"uuid": _ask(nvml, nvml.nvmlDeviceGetUUID, handle)} if uuid else {}
        return {"index": index, **named, **_read(nvml, handle)}
    except _Lost:
        return {"index": index, **LOST}


def slowed(reasons: int) -> list[str]:
    """Return NVML's bits in words, the most urgent first."""
    words = list(dict.fromkeys(word for bit, word in SLOWED.items() if reasons & bit))
    if "hardware slowdown" in words and reasons & 0xC0:  # said better by what it accompanies
        words.remove("hardware slowdown")
    return words


def _read(nvml: Any, handle: Any) -> Reading:
    def ask(call: Callable[..., Any], *more: Any) -> Any:
        return _ask(nvml, call, handle, *more)

    use = ask(nvml.nvmlDeviceGetUtilizationRates)
    memory = ask(nvml.nvmlDeviceGetMemoryInfo)
    apart = ask(nvml.nvmlDeviceGetMemoryInfo, nvml.nvmlMemory_v2)  # drivers from 510.39 on
    power, limit = ask(nvml.nvmlDeviceGetPowerUsage), ask(nvml.nvmlDeviceGetEnforcedPowerLimit)
    reasons = ask(nvml.nvmlDeviceGetCurrentClocksEventReasons)
    if reasons is None:  # the name of older drivers
        reasons = ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons)
    return {
        "name": ask(nvml.nvmlDeviceGetName),
        "utilisation": use and use.gpu,
        "memory_used": memory and memory.used,
        "memory_total": memory and memory.total,
        "memory_reserved": apart and apart.reserved,
        "temperature": ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU),
        "power": None if power is None else power / 1000,
        "power_limit": None if limit is None else limit / 1000,
        "throttled": None if reasons is None else slowed(reasons),
        "processes": _processes(nvml, handle),
        "mig": _instances(nvml, handle),
    }


def _processes(nvml: Any, handle: Any) -> list[Reading] | None:
    """Return the processes that hold memory of a GPU, each once, None where they are not told."""
    held: dict[int, int | None] = {}
    told = False
    for call in (
        nvml.nvmlDeviceGetComputeRunningProcesses,
        nvml.nvmlDeviceGetGraphicsRunningProcesses,
    ):
        found = _ask(nvml, call, handle)
        told = told or found is not None
        for one in found or ():  # a process that computes and draws is in both lists
            held[one.pid] = one.usedGpuMemory
    return [{"pid": pid, "memory": memory} for pid, memory in held.items()] if told else None


def _instances(nvml: Any, handle: Any) -> list[Reading] | None:
    mode = _ask(nvml, nvml.nvmlDeviceGetMigMode, handle)
    if not mode or not mode[0]:
        return None
    most = _ask(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle)
    found = []
    for place in range(min(MOST_INSTANCES if most is None else most, MOST_INSTANCES)):
        instance = _ask(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, place)
        if instance is None:
            continue
        memory = _ask(nvml, nvml.nvmlDeviceGetMemoryInfo, instance)
        found.append(
            {
                "index": place,
                "memory_used": memory and memory.used,
                "memory_total": memory and memory.total,
            }
        )
    return found


def _ask(nvml: Any, call: Callable[..., Any], *given: Any) -> Any:
    try:
        return call(*given)
    except nvml.NVMLError as error:
        if _is_lost(nvml, error):
            raise _Lost from None
        return None
    except (nvml.NVMLLibraryMismatchError, UnicodeDecodeError):  # an older driver; no text
        return None


def _is_lost(nvml: Any, error: Any) -> bool:
    return bool(error.value == nvml.NVML_ERROR_GPU_IS_LOST)
