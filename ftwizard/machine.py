"""What this machine is and does now: memory, processors, disk, NVIDIA GPUs by NVML."""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

Sample = dict[str, Any]


class Sampler:
    """Samples the machine and its GPUs without ever blocking its caller.

    A driver can hang inside any NVML call, so these run in a daemon thread; a reading that is
    older than ``stale_s`` is not returned as if it were new.
    """

    def __init__(self, interval_s: float = 2.0, *, stale_s: float = 10.0) -> None:
        self._interval = interval_s
        self._stale = stale_s
        self._gpus: tuple[float, list[Sample]] | None = None
        self._reason: str | None = None
        psutil.cpu_percent()  # the first call only starts the measuring
        threading.Thread(target=self._follow_gpus, daemon=True, name="nvml").start()

    def sample(self) -> Sample:
        """Return one reading: ``cpu`` in percent of all cores, memory in bytes, ``gpus``."""
        memory = psutil.virtual_memory()
        reading: Sample = {
            "t": time.time(),
            "cpu": psutil.cpu_percent(),
            "memory_used": memory.total - memory.available,
            "memory_total": memory.total,
        }
        if self._gpus is None:
            reading["gpus"] = []
            reading["no_gpu"] = self._reason or "no answer from the driver yet"
        elif time.monotonic() - self._gpus[0] > self._stale:
            reading["gpus"] = []
            reading["no_gpu"] = "the driver has not answered since the last reading"
        else:
            reading["gpus"] = self._gpus[1]
        return reading

    def _follow_gpus(self) -> None:
        try:
            import pynvml
        except ImportError:
            self._reason = "the package nvidia-ml-py is not installed"
            return
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            self._reason = f"NVML: {error}"
            return
        if not count:
            self._reason = "NVML: no device"
            return
        while True:
            readings = [_gpu(pynvml, index) for index in range(count)]
            self._gpus = (time.monotonic(), readings)
            time.sleep(self._interval)


def _gpu(nvml: Any, index: int) -> Sample:
    """Read one GPU; what it does not tell is None. Memory in bytes, power in watts, °C."""

    def ask(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except nvml.NVMLError:
            return None

    handle = ask(lambda: nvml.nvmlDeviceGetHandleByIndex(index))
    if handle is None:
        return {"index": index, "lost": True}
    use = ask(lambda: nvml.nvmlDeviceGetUtilizationRates(handle))
    memory = ask(lambda: nvml.nvmlDeviceGetMemoryInfo(handle))
    power = ask(lambda: nvml.nvmlDeviceGetPowerUsage(handle))
    return {
        "index": index,
        "name": ask(lambda: nvml.nvmlDeviceGetName(handle)),
        "utilisation": use and use.gpu,
        "memory_used": memory and memory.used,
        "memory_total": memory and memory.total,
        "temperature": ask(
            lambda: nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)
        ),
        "power": None if power is None else power / 1000,
    }


def oom_kills() -> int | None:
    """Return how many processes of this cgroup the kernel has killed for memory, None if unknown.

    Source: ``oom_kill`` of ``memory.events`` (cgroup v2) or ``memory.oom_control`` (v1).
    """
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            file = Path(f"/sys/fs/cgroup{path}/memory.events")
        elif controllers == "memory":
            file = Path(f"/sys/fs/cgroup/memory{path}/memory.oom_control")
        else:
            continue
        try:
            counters = dict(row.split() for row in file.read_text().splitlines())
            return int(counters["oom_kill"])
        except (OSError, KeyError, ValueError):
            continue
    return None


def has_bfloat16_cpu() -> bool:
    """Say whether the processors multiply bfloat16 natively (AVX-512 BF16, AMX or Arm BF16)."""
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    words = set(info.split())
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})


def free_bytes(path: Path) -> int:
    """Return the bytes that this user may still write where ``path`` is or would be."""
    while not path.exists():
        path = path.parent
    stat = os.statvfs(path)
    return stat.f_bavail * stat.f_frsize


def is_installed(module: str) -> bool:
    """Say whether a top-level module can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None
