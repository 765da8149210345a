"""Checks of resource limits for this process: memory, CPU, open files."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

from ftwizard.doctor.check import Check, ok, warning
from ftwizard.hardware.machine import MachineInfo
from ftwizard.text import format_bytes, format_count

LOW_MEMORY = 8_000_000_000
"""Bytes; loading a 3B model takes 6 GB before it is on the GPU."""
LOW_AVAILABLE = 3_000_000_000
UNLIMITED = 1 << 60
"""Bytes; cgroup v1 writes “no limit” as a number near 2**63."""
LOW_FILES = 1024
LOW_PROCESSES = 512


def run_checks(facts: MachineInfo, *, available: int) -> Iterator[Check]:
    """Check the memory, CPU and ulimits of this process."""
    yield check_memory(facts.memory, available, read_memory_limit())
    yield check_cpu(facts, read_cpu_quota())
    yield from check_ulimits(_read_ulimits())


def check_memory(total: int, available: int, limit: int | None) -> Check:
    """Compare the machine's memory with what this process's cgroup allows."""
    usable = min(total, limit or total)
    detail = f"{format_bytes(total)}, {format_bytes(available)} of it free"
    if limit is not None and limit < total:
        detail = f"{format_bytes(limit)} for this process (cgroup limit), of {format_bytes(total)}"
    if usable < LOW_MEMORY and usable < total:
        fix = "Raise the limit: docker run --memory …, sbatch --mem …, or systemd's MemoryMax."
        return warning("memory", detail, fix)
    if usable < LOW_MEMORY:
        return warning("memory", detail, "Loading models above about 1B needs more.")
    if available < LOW_AVAILABLE:
        return warning("memory", detail, "Other programs use the rest: close some.")
    return ok("memory", detail)


def check_cpu(facts: MachineInfo, quota: float | None) -> Check:
    """Check how many cores a run may use."""
    bf16 = "native bf16" if facts.bfloat16_cpu else "no native bf16"
    detail = f"{format_count(facts.cores, 'core')} ({bf16})"
    if quota is None or quota >= facts.cores - 0.5:
        return ok("CPU", detail)
    threads = max(1, round(quota))
    fix = f"export OMP_NUM_THREADS={threads}   (torch starts one thread per core)"
    return warning("CPU", f"{detail}, but a cgroup quota of {quota:g}", fix)


def check_ulimits(soft: Mapping[str, int | None]) -> Iterator[Check]:
    """Warn about limits that end or break a run; None means no limit."""
    lows = (
        ("open files", "RLIMIT_NOFILE", LOW_FILES, "ulimit -n 65536"),
        ("processes", "RLIMIT_NPROC", LOW_PROCESSES, "ulimit -u 4096"),
    )
    for name, key, low, fix in lows:
        value = soft.get(key)
        if value is not None and value < low:
            yield warning(f"ulimit: {name}", f"{value:,}", fix)
    fatal = (
        (
            "address space",
            "RLIMIT_AS",
            "CUDA reserves far more than it uses",
            "ulimit -v unlimited",
        ),
        ("data", "RLIMIT_DATA", "loading a model exceeds it", "ulimit -d unlimited"),
        ("file size", "RLIMIT_FSIZE", "saving larger files ends a run", "ulimit -f unlimited"),
        ("CPU time", "RLIMIT_CPU", "a longer run is killed", "ulimit -t unlimited"),
    )
    for name, key, reason, fix in fatal:
        value = soft.get(key)
        if value is not None:
            amount = f"{value:,} s" if key == "RLIMIT_CPU" else format_bytes(value)
            yield warning(f"ulimit: {name}", f"{amount}: {reason}", fix)


def _read_ulimits() -> dict[str, int | None]:
    names = (
        "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_CPU",
    )  # fmt: skip
    limits = {name: resource.getrlimit(getattr(resource, name))[0] for name in names}
    return {n: None if value == resource.RLIM_INFINITY else value for n, value in limits.items()}


def read_memory_limit(root: Path = Path("/")) -> int | None:
    """Read the memory limit of this process's cgroups in bytes; None without a limit.

    Source: ``memory.max`` (cgroup v2), ``memory.limit_in_bytes`` (v1).
    """
    values = []
    for text in _read_settings(root, "memory", "memory.max", "memory.limit_in_bytes"):
        if text.isdigit() and int(text) < UNLIMITED:
            values.append(int(text))
    return min(values, default=None)


def read_cpu_quota(root: Path = Path("/")) -> float | None:
    """Read the CPU quota of the cgroups in cores; None without a quota.

    Source: ``cpu.max`` (v2, quota and period in µs), ``cpu.cfs_quota_us`` over
    ``cpu.cfs_period_us`` (v1).
    """
    values = [
        int(quota) / int(period)
        for quota, _, period in (
            text.partition(" ")
            for text in _read_settings(root, "cpu", "cpu.max", "cpu.cfs_quota_us")
        )
        if quota.isdigit() and period.isdigit() and int(period)
    ]
    return min(values, default=None)


def _read_settings(root: Path, controller: str, v2: str, v1: str) -> Iterator[str]:
    """Yield the values of a setting in this process's cgroup and its parents."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    base = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            folders, name = [base, base / "unified"], v2
        elif controller in controllers.split(","):
            folders, name = [base / controller, base / controllers], v1
        else:
            continue
        for folder in folders:
            yield from _read_upwards(folder, path, name)


def _read_upwards(folder: Path, path: str, name: str) -> Iterator[str]:
    """Yield a setting from ``path`` up to the mount; a container has only the latter."""
    parts = [part for part in path.split("/") if part not in ("", "..")]
    for depth in range(len(parts), -1, -1):
        cgroup = folder.joinpath(*parts[:depth])
        try:
            text = (cgroup / name).read_text().strip()
            if name == "cpu.cfs_quota_us":
                text += f" {(cgroup / 'cpu.cfs_period_us').read_text().strip()}"
        except OSError:
            continue
        yield text


def get_available_bytes() -> int:
    """Return the available memory in bytes."""
    import psutil

    return int(psutil.virtual_memory().available)
