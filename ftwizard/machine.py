"""What this machine is and does now: memory, processors, disk, NVIDIA GPUs by NVML."""

from __future__ import annotations

import importlib.util
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil

from ftwizard import credentials, file_names, nvml, settings, text, visible_gpus

Sample = dict[str, Any]
EXTRAS = {
    "local": ("torch", "transformers", "trl", "peft", "datasets", "accelerate", "bitsandbytes"),
    "demo": ("gguf",),
}
"""What an extra brings that the bare installation lacks; ``demo`` brings ``local`` too."""

PROC, CGROUPS = Path("/proc"), Path("/sys/fs/cgroup")

IDLE = 1 << 30
"""Bytes in use on a GPU of which nobody takes anything to speak of: a desktop, a driver."""


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One NVIDIA GPU, as its driver describes it."""

    name: str | None
    memory: int | None
    """Bytes; None where the driver does not say."""
    used: int | None = None
    """Bytes that programs hold now."""

    @property
    def held(self) -> int:
        """Return the bytes that others hold; the driver's own share of an idle GPU is none."""
        return self.used if self.used and self.used > IDLE else 0

    @property
    def free(self) -> int | None:
        """Return the bytes that a run can have; None where the driver does not say."""
        return None if self.memory is None else max(0, self.memory - self.held)


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine answers by itself, so that nobody needs to be asked."""

    gpus: tuple[Gpu, ...]
    """Those that a run may use, in the order that ``where.gpu`` counts them in."""
    no_gpu: str | None
    """Why ``gpus`` is empty."""
    memory: int
    """Bytes of main memory."""
    cores: int
    """Processors that this process may use."""
    bfloat16_cpu: bool
    """Whether the processors multiply bfloat16 natively."""
    disk_free: int
    """Bytes that may be written where the runs are kept."""
    credentials: tuple[credentials.Credential, ...]
    """Services that there is a key or a sign-in for; where it is, never what it is."""
    extras: tuple[str, ...]
    """Extras of ftwizard whose packages are installed."""
    flash_attn: bool = False
    """Whether the package flash-attn is installed, which some GPUs compute attention by."""

    @property
    def gpu_memory(self) -> int | None:
        """Return the bytes of the largest GPU; None without one, or where it is not told."""
        return max((gpu.memory for gpu in self.gpus if gpu.memory), default=None)

    @property
    def gpu_free(self) -> int | None:
        """Return the bytes that a run can have of the GPU that has the most for it."""
        return max((one.free for one in self.gpus if one.free is not None), default=None)


def facts(*, timeout_s: float = 3.0) -> Facts:
    """Look at this machine; a driver that hangs delays it by ``timeout_s`` at most."""
    found, reason = gpus(timeout_s)
    return Facts(
        gpus=found,
        no_gpu=reason,
        memory=psutil.virtual_memory().total,
        cores=len(os.sched_getaffinity(0)),
        bfloat16_cpu=has_bfloat16_cpu(),
        disk_free=free_bytes(settings.runs_folder()),
        credentials=credentials.present(),
        extras=tuple(name for name, needs in EXTRAS.items() if all(map(is_installed, needs))),
        flash_attn=is_installed("flash_attn"),
    )


def gpus(timeout_s: float = 3.0) -> tuple[tuple[Gpu, ...], str | None]:
    """Return the GPUs that training may use, as it counts them, and why there is none."""
    shown = os.environ.get("CUDA_VISIBLE_DEVICES")
    if shown in ("", "-1"):
        return (), "CUDA_VISIBLE_DEVICES hides every GPU"
    sampler = Sampler(uuids=shown is not None)
    sampler.wait(timeout_s)
    reading = sampler.sample()
    sampler.close()
    readings: list[Sample] = reading["gpus"]
    there = [one for one in readings if not one.get("lost") and not one.get("error")]
    if readings and not there:
        first = readings[0]
        return (), f"NVML: {'the GPU is lost' if first.get('lost') else first['error']}"
    chosen = there if shown is None or not there else visible_gpus.chosen(there, shown)
    if there and not chosen:
        return (
            (),
            f"CUDA_VISIBLE_DEVICES={text.visible(shown or '', 60)} names no GPU that is there",
        )
    found = tuple(
        Gpu(name=one["name"], memory=one["memory_total"], used=one["memory_used"]) for one in chosen
    )
    return found, reading.get("no_gpu")


class Sampler:
    """Samples the machine and its GPUs without ever blocking its caller.

    A driver can hang inside any NVML call, so these run in a daemon thread; a reading that is
    older than ``stale_s`` is not returned as if it were new. ``uuids``: each GPU's is read too.
    """

    def __init__(
        self, interval_s: float = 2.0, *, stale_s: float = 10.0, uuids: bool = False
    ) -> None:
        self._uuids = uuids
        self._interval = interval_s
        self._stale = stale_s
        self._began = time.monotonic()
        self._gpus: tuple[float, list[Sample]] | None = None
        self._reason: str | None = None
        self._answered = threading.Event()
        self._closed = threading.Event()
        psutil.cpu_percent()  # the first call only starts the measuring
        threading.Thread(target=self._follow_gpus, daemon=True, name="nvml").start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the driver has answered, or has none to ask; say whether it did in time."""
        return self._answered.wait(timeout_s)

    def close(self) -> None:
        """Read no more; a thread that hangs in the driver ends with this process."""
        self._closed.set()

    def sample(self) -> Sample:
        """Return one reading: ``cpu`` in percent of all cores, memory in bytes, ``gpus``.

        ``no_gpu`` says why these are none; ``hung`` is there where the driver does not answer.
        """
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
            if self._reason is None and time.monotonic() - self._began > self._stale:
                reading["hung"] = True
        elif time.monotonic() - self._gpus[0] > self._stale:
            reading["gpus"] = []
            reading["no_gpu"] = "the driver has not answered since the last reading"
            reading["hung"] = True
        else:
            reading["gpus"] = self._gpus[1]
        return reading

    def _follow_gpus(self) -> None:
        try:
            self._read_gpus()
        except Exception as error:  # noqa: BLE001 (a driver's answer may be anything)
            self._gpus, self._reason = None, f"NVML: {type(error).__name__}: {error}"
        finally:
            self._answered.set()

    def _read_gpus(self) -> None:
        try:
            import pynvml
        except ImportError:
            self._reason = "the package nvidia-ml-py is not installed"
            return
        try:
            pynvml.nvmlInit()
            count = pynvml.nvmlDeviceGetCount()
        except pynvml.NVMLError as error:
            known = {
                pynvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no NVIDIA driver here",
                pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "driver updated while it ran "
                "(version mismatch): reboot",
            }
            self._reason = known.get(error.value, f"NVML: {error}")
            return
        if not count:
            self._reason = "the NVIDIA driver shows no GPU"
            return
        while not self._closed.is_set():
            readings = [nvml.read(pynvml, index, uuid=self._uuids) for index in range(count)]
            self._gpus = (time.monotonic(), readings)
            self._answered.set()
            self._closed.wait(self._interval)


def oom_kills() -> int | None:
    """Return how many processes of this cgroup the kernel has killed for memory, None if unknown.

    Source: ``oom_kill`` of ``memory.events`` (cgroup v2) or ``memory.oom_control`` (v1); of the
    whole machine, in ``/proc/vmstat``, where this cgroup is not counted.
    """
    for file in (*_oom_counters(), PROC / "vmstat"):
        try:
            counters = dict(row.split() for row in file.read_text().splitlines())
            return int(counters["oom_kill"])
        except (OSError, KeyError, ValueError):
            continue
    return None


def _oom_counters() -> Iterator[Path]:
    """Yield where the kernel may count the kills of this cgroup."""
    try:
        lines = (PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        names = {"": ("", "memory.events"), "memory": ("memory", "memory.oom_control")}
        if controllers in names:
            folder, name = names[controllers]
            yield CGROUPS / folder / path.lstrip("/") / name
            yield CGROUPS / folder / name  # a container may see its own cgroup as the root


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
    stat = os.statvfs(_nearest(path))
    return stat.f_bavail * stat.f_frsize


def on_one_disk(one: Path, other: Path) -> bool:
    """Say whether two paths are or would be on the same file system."""
    return _nearest(one).stat().st_dev == _nearest(other).stat().st_dev


def _nearest(path: Path) -> Path:
    """Return the path, or the nearest folder above it that is there."""
    while not file_names.exists(path):
        path = path.parent
    return path


def is_installed(module: str) -> bool:
    """Say whether a top-level module can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None
