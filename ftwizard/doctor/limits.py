"""What this process may use of the machine: memory, processors, files."""

from __future__ import annotations

import resource
from collections.abc import Iterator, Mapping
from pathlib import Path

from ftwizard.doctor.check import Check, ok, warning
from ftwizard.machine import Facts
from ftwizard.text import plural, size

LOW_MEMORY = 8_000_000_000
"""Bytes; loading a model of 3B takes 6 GB before a GPU has it."""
LOW_AVAILABLE = 3_000_000_000
UNLIMITED = 1 << 60
"""Bytes; the kernel writes “no limit” as a number near 2**63 (cgroup v1)."""
LOW_FILES = 1024
LOW_PROCESSES = 512


def look(facts: Facts, *, available: int) -> Iterator[Check]:
    """Say how much memory and how many processors there are for this process, and what is low."""
    yield memory(facts.memory, available, memory_limit())
    yield processors(facts, cpu_quota())
    yield from ulimits(_ulimits())


def memory(total: int, available: int, limit: int | None) -> Check:
    """Compare the machine's memory with what this process's cgroup allows."""
    usable = min(total, limit or total)
    found = f"{size(total)}, {size(available)} of it free"
    if limit is not None and limit < total:
        found = f"{size(limit)} for this process (cgroup limit) of the machine's {size(total)}"
    if usable < LOW_MEMORY and usable < total:
        fix = "Raise it: docker run --memory …, sbatch --mem …, or systemd's MemoryMax."
        return warning("memory", found, fix)
    if usable < LOW_MEMORY:
        return warning("memory", found, "Models above about 1B need more to be loaded.")
    if available < LOW_AVAILABLE:
        return warning("memory", found, "Other programs hold the rest: end some.")
    return ok("memory", found)


def processors(facts: Facts, quota: float | None) -> Check:
    """Say how many processors a run may use."""
    bf16 = "they multiply bf16" if facts.bfloat16_cpu else "they do not multiply bf16"
    found = f"{plural(facts.cores, 'core')} ({bf16})"
    if quota is None or quota >= facts.cores - 0.5:
        return ok("processors", found)
    threads = max(1, round(quota))
    fix = f"export OMP_NUM_THREADS={threads}   (torch starts a thread for each core it sees)"
    return warning("processors", f"{found}, but time for {quota:g} of them (cgroup quota)", fix)


def ulimits(soft: Mapping[str, int | None]) -> Iterator[Check]:
    """Warn of limits that end or break a run; ``None`` is no limit."""
    lows = (
        ("open files", "RLIMIT_NOFILE", LOW_FILES, "ulimit -n 65536"),
        ("processes", "RLIMIT_NPROC", LOW_PROCESSES, "ulimit -u 4096"),
    )
    for name, key, low, fix in lows:
        value = soft.get(key)
        if value is not None and value < low:
            yield warning(f"ulimit: {name}", f"{value:,}", fix)
    ends = (
        (
            "address space",
            "RLIMIT_AS",
            "CUDA reserves far more than it uses",
            "ulimit -v unlimited",
        ),
        ("data", "RLIMIT_DATA", "loading a model passes it", "ulimit -d unlimited"),
        ("file size", "RLIMIT_FSIZE", "saving larger files ends a run", "ulimit -f unlimited"),
        ("processor time", "RLIMIT_CPU", "a longer run is killed", "ulimit -t unlimited"),
    )
    for name, key, why, fix in ends:
        value = soft.get(key)
        if value is not None:
            amount = f"{value:,} s" if key == "RLIMIT_CPU" else size(value)
            yield warning(f"ulimit: {name}", f"{amount}: {why}", fix)


def _ulimits() -> dict[str, int | None]:
    names = (
        "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_AS", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_CPU",
    )  # fmt: skip
    found = {name: resource.getrlimit(getattr(resource, name))[0] for name in names}
    return {name: None if it == resource.RLIM_INFINITY else it for name, it in found.items()}


def memory_limit(root: Path = Path("/")) -> int | None:
    """Return the bytes that this process's cgroup and those above it allow; None without a limit.

    Source: ``memory.max`` (cgroup v2), ``memory.limit_in_bytes`` (v1).
    """
    values = []
    for text in _settings(root, "memory", "memory.max", "memory.limit_in_bytes"):
        if text.isdigit() and int(text) < UNLIMITED:
            values.append(int(text))
    return min(values, default=None)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return how many processors' time the cgroups allow; None without a quota.

    Source: ``cpu.max`` (v2, quota and period in µs), ``cpu.cfs_quota_us`` over
    ``cpu.cfs_period_us`` (v1).
    """
    values = [
        int(quota) / int(period)
        for quota, _, period in (
            text.partition(" ") for text in _settings(root, "cpu", "cpu.max", "cpu.cfs_quota_us")
        )
        if quota.isdigit() and period.isdigit() and int(period)
    ]
    return min(values, default=None)


def _settings(root: Path, controller: str, v2: str, v1: str) -> Iterator[str]:
    """Yield the contents of a setting in this process's cgroup and in each above it."""
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
            yield from _upwards(folder, path, name)


def _upwards(folder: Path, path: str, name: str) -> Iterator[str]:
    """Yield a setting from ``path`` up to the mount: in a container only the latter is there."""
    parts = [one for one in path.split("/") if one not in ("", "..")]
    for depth in range(len(parts), -1, -1):
        where = folder.joinpath(*parts[:depth])
        try:
            text = (where / name).read_text().strip()
            if name == "cpu.cfs_quota_us":
                text += f" {(where / 'cpu.cfs_period_us').read_text().strip()}"
        except OSError:
            continue
        yield text


def available_bytes() -> int:
    """Return the bytes of memory that programs may still take."""
    import psutil

    return int(psutil.virtual_memory().available)
