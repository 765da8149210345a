"""This machine and its current load: memory, CPU, disk, and NVIDIA GPUs by NVML."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import resource
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import psutil

from ftwizard import credentials, locations, text, user_paths
from ftwizard.alarm import Alarm
from ftwizard.hardware import nvml
from ftwizard.hardware.nvml import NoGpuCause, NoGpuError, NvmlGpu

Sample = dict[str, Any]
EXTRAS = {
    "local": (
        "torch",
        "transformers",
        "trl",
        "peft",
        "datasets",
        "accelerate",
        "bitsandbytes",
        "sacrebleu",
    ),
    "export": ("gguf", "sentencepiece", "cyllama", "xllamacpp"),
    "demo": ("gguf",),
}
"""Modules of an extra beyond the bare installation; ``export`` and ``demo`` include ``local``."""

MAX_IDLE_BYTES = 1 << 30
"""Memory in use on an idle GPU: a desktop, the driver."""


class Gpu(msgspec.Struct, frozen=True, kw_only=True):
    """One NVIDIA GPU, as described by its driver."""

    name: str | None
    memory: int | None
    """Bytes; None if unknown."""
    used: int | None = None
    """Bytes in use now."""

    @property
    def used_by_others(self) -> int:
        """Return the bytes used by other processes; what an idle GPU uses does not count."""
        return self.used if self.used and self.used > MAX_IDLE_BYTES else 0

    @property
    def free(self) -> int | None:
        """Return the bytes available to a run; None if unknown."""
        return None if self.memory is None else max(0, self.memory - self.used_by_others)


class MachineInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about this machine, so that nobody needs to be asked."""

    gpus: tuple[Gpu, ...]
    """GPUs that a run may use, in the order of ``where.gpu``."""
    no_gpu: str | None
    """Why ``gpus`` is empty, for people."""
    memory: int
    """Bytes of CPU memory."""
    cores: int
    """CPU cores that this process may use."""
    bfloat16_cpu: bool
    """Whether the CPU supports bfloat16 natively."""
    disk_free: int
    """Free bytes for runs."""
    credentials: tuple[credentials.Credential, ...]
    """Services with a key or a login: where it is, never its value."""
    extras: tuple[str, ...]
    """Installed extras of ftwizard."""
    no_gpu_cause: NoGpuCause | None = None
    """Why ``gpus`` is empty."""
    flash_attn: bool = False
    """Whether the package flash-attn is installed."""
    slurm: bool = False
    """Whether jobs of a Slurm cluster can be submitted from here."""

    @property
    def gpu_memory(self) -> int | None:
        """Return the memory of the largest GPU in bytes; None without one, or if unknown."""
        return max((gpu.memory for gpu in self.gpus if gpu.memory), default=None)

    @property
    def gpu_free(self) -> int | None:
        """Return the bytes available on the GPU with the most free memory."""
        return max((gpu.free for gpu in self.gpus if gpu.free is not None), default=None)


def read_machine_info(*, timeout_s: float = nvml.TIMEOUT_S) -> MachineInfo:
    """Inspect this machine; a driver that hangs delays it by ``timeout_s`` at most."""
    gpus: tuple[Gpu, ...] = ()
    no_gpu: str | None = None
    cause: NoGpuCause | None = None
    try:
        gpus = list_gpus(timeout_s)
    except NoGpuError as error:
        no_gpu, cause = error.message, error.cause
    return MachineInfo(
        gpus=gpus,
        no_gpu=no_gpu,
        no_gpu_cause=cause,
        memory=psutil.virtual_memory().total,
        cores=len(os.sched_getaffinity(0)),
        bfloat16_cpu=has_bfloat16_cpu(),
        disk_free=get_free_bytes(locations.runs_folder()),
        credentials=credentials.find_credentials(),
        extras=tuple(name for name, needs in EXTRAS.items() if all(map(is_installed, needs))),
        flash_attn=is_installed("flash_attn"),
        slurm=has_slurm(),
    )


def has_slurm() -> bool:
    """Return whether jobs can be submitted to Slurm from here."""
    return shutil.which("sbatch") is not None


def list_gpus(timeout_s: float = nvml.TIMEOUT_S) -> tuple[Gpu, ...]:
    """Return the GPUs that training may use, in its order.

    Raises NoGpuError, with the cause, if there are none.
    """
    selection = os.environ.get("CUDA_VISIBLE_DEVICES")
    if selection in ("", "-1"):
        raise NoGpuError("hidden", "CUDA_VISIBLE_DEVICES hides all GPUs")
    driver = nvml.read_driver(timeout_s)
    if driver.cause:
        raise NoGpuError(driver.cause, driver.message)
    working = [card for card in driver.cards if not card.lost and not card.error]
    if not working:
        first = driver.cards[0]
        raise NoGpuError(
            "lost" if first.lost else "other", f"NVML: {first.error or 'the GPU is lost'}"
        )
    visible = working if selection is None else select(working, selection)
    if not visible:
        name = text.make_visible(selection or "", 60)
        raise NoGpuError("unmatched", f"CUDA_VISIBLE_DEVICES={name} matches no GPU")
    return tuple(
        Gpu(name=card.name, memory=card.memory_total, used=card.memory_used) for card in visible
    )


def select(cards: Sequence[NvmlGpu], selection: str) -> list[NvmlGpu]:
    """Return the GPUs that ``CUDA_VISIBLE_DEVICES`` selects, in its order.

    As in CUDA: indices, or unique prefixes of UUIDs; the first invalid entry ends the list. For a
    MIG instance, the driver does not tell the memory here.
    """
    selected: list[NvmlGpu] = []
    for name in map(str.strip, selection.split(",")):
        if name.startswith("MIG-"):
            selected.append(NvmlGpu(index=None))
            continue
        if name.isdecimal():
            matches = [card for card in cards if card.index == int(name)]
        else:
            is_uuid = name.startswith("GPU-")
            matches = [card for card in cards if is_uuid and (card.uuid or "").startswith(name)]
        if len(matches) != 1 or matches[0] in selected:
            break
        selected += matches
    return selected


class Sampler:
    """Samples the machine and its GPUs without blocking its caller.

    A driver can hang in any NVML call, so a daemon thread makes these; a reading older than
    ``stale_s`` is not returned.
    """

    def __init__(self, interval_s: float = 2.0, *, stale_s: float = 10.0) -> None:
        self._interval = interval_s
        self._stale = stale_s
        self._start = time.monotonic()
        self._gpus: tuple[float, list[Sample]] | None = None
        self._reason: str | None = None
        self._answered, self._closed = Alarm(), Alarm()
        psutil.cpu_percent()  # the first call only starts the measurement
        threading.Thread(target=self._follow_gpus, daemon=True, name="nvml").start()

    def wait(self, timeout_s: float) -> bool:
        """Wait until the driver answered or is known to be absent; return whether it did in time."""
        return self._answered.wait(timeout_s)

    def close(self) -> None:
        """Stop reading; a thread that hangs in the driver ends with this process."""
        self._closed.set()

    def sample(self) -> Sample:
        """Return one reading: ``cpu`` in percent of all cores, memory in bytes, ``gpus``.

        ``no_gpu`` is the reason if there are none; ``hung`` is set if the driver does not answer.
        """
        memory = psutil.virtual_memory()
        reading: Sample = {
            "t": time.time(),
            "m": round(time.monotonic(), 3),
            "cpu": psutil.cpu_percent(),
            "memory_used": memory.total - memory.available,
            "memory_total": memory.total,
        }
        gpus, now = self._gpus, time.monotonic()
        since, readings = gpus or (self._start, [])
        is_stale = now - since > self._stale and self._reason is None
        reading["gpus"] = [] if is_stale else readings
        if gpus is None:
            reading["no_gpu"] = self._reason or nvml.NOT_RESPONDING
        elif is_stale:
            reading["no_gpu"] = "the driver stopped responding"
        if is_stale:
            reading["hung"] = True
        return reading

    def _follow_gpus(self) -> None:
        try:
            pynvml, count = nvml.connect()
            while not self._closed.is_set():
                readings = [nvml.read_gpu(pynvml, index) for index in range(count)]
                self._gpus = (time.monotonic(), readings)
                self._answered.set()
                self._closed.wait(self._interval)
        except NoGpuError as error:
            self._reason = error.message
        except Exception as error:  # noqa: BLE001 (a driver may raise anything)
            self._gpus, self._reason = None, nvml.describe_error(error)
        finally:
            self._answered.set()


def count_oom_kills(root: Path = Path("/")) -> int | None:
    """Return the number of out-of-memory kills in this cgroup; None if unknown.

    Source: ``oom_kill`` in ``memory.events`` (cgroup v2); without it, ``/proc/vmstat``, which counts
    the whole machine.
    """
    counters = (folder / "memory.events" for folder in list_cgroups(root))
    for file in (*counters, root / "proc/vmstat"):
        try:
            return int(dict(row.split() for row in file.read_text().splitlines())["oom_kill"])
        except (OSError, KeyError, ValueError):
            continue
    return None


def list_cgroups(root: Path = Path("/")) -> Iterator[Path]:
    """Yield the folders of this process's cgroup and its parents (cgroup v2).

    A container may see its own cgroup as the root.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        if line.startswith("0::"):
            parts = [part for part in line[3:].split("/") if part not in ("", "..")]
            for depth in range(len(parts), -1, -1):
                yield root.joinpath("sys/fs/cgroup", *parts[:depth])


def get_free_memory(root: Path = Path("/")) -> int:
    """Return the bytes of memory that this process can still take: of the machine, and within the
    limits of its cgroups and its own."""
    free = [psutil.virtual_memory().available]
    for folder in list_cgroups(root):
        with contextlib.suppress(OSError, ValueError, KeyError):  # a group without a limit
            limit = int((folder / "memory.max").read_text())
            used = int((folder / "memory.current").read_text())
            rows = (folder / "memory.stat").read_text().splitlines()
            free.append(limit - used + int(dict(row.split() for row in rows)["inactive_file"]))
    memory = psutil.Process().memory_info()
    for kind, used in ((resource.RLIMIT_AS, memory.vms), (resource.RLIMIT_DATA, memory.data)):
        if (limit := resource.getrlimit(kind)[0]) != resource.RLIM_INFINITY:
            free.append(limit - used)
    return max(0, min(free))


def has_bfloat16_cpu() -> bool:
    """Return whether the CPU supports bfloat16 natively (AVX-512 BF16, AMX or Arm BF16)."""
    try:
        info = Path("/proc/cpuinfo").read_text()
    except OSError:
        return False
    flags = set(info.split())
    return bool(flags & {"avx512_bf16", "amx_bf16", "bf16"})


def get_free_bytes(path: Path) -> int:
    """Return the free bytes for this user on the disk of ``path``, which need not exist."""
    stat = os.statvfs(get_existing_parent(path))
    return stat.f_bavail * stat.f_frsize


def is_same_disk(a: Path, b: Path) -> bool:
    """Return whether two paths are or would be on the same file system."""
    return get_existing_parent(a).stat().st_dev == get_existing_parent(b).stat().st_dev


def get_existing_parent(path: Path) -> Path:
    """Return the path, or its nearest existing parent."""
    while not user_paths.exists(path):
        path = path.parent
    return path


def is_installed(module: str) -> bool:
    """Return whether a top-level module can be imported, without importing it."""
    return importlib.util.find_spec(module) is not None
