"""Checks of Python, the terminal, memory, the CPU and the limits of this process."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import psutil

from ftwizard import __version__
from ftwizard.doctor.check import Check, ok, warning
from ftwizard.hardware import machine
from ftwizard.hardware.machine import MachineInfo
from ftwizard.text import format_bytes, format_count, make_visible

MIN_SIZE = (60, 16)
"""Columns and rows that the screens need."""
LOW_MEMORY = 8_000_000_000
"""Bytes; loading a 3B model takes 6 GB before it is on the GPU."""
LOW_AVAILABLE = 3_000_000_000


def check_software() -> Iterator[Check]:
    """Report the versions, and check the terminal."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield ok("ftwizard", __version__)
    yield ok("Python", f"{version} in {make_visible(sys.prefix)}")
    for stream in (sys.stdout, sys.stderr, sys.stdin):
        if stream.isatty():
            size = os.get_terminal_size(stream.fileno())
            encoding = getattr(sys.stdout, "encoding", "") or ""
            yield check_terminal((size.columns, size.lines), os.environ, encoding)
            return


def check_terminal(size: tuple[int, int], environment: Mapping[str, str], encoding: str) -> Check:
    """Check whether the terminal can show the screens."""
    kind = environment.get("TERM", "")
    detail = f"{size[0]}×{size[1]}, {encoding or 'unknown encoding'}"
    if kind in ("", "dumb", "unknown"):
        fix = "Use ftwizard --plain, or export TERM=xterm-256color"
        return warning("terminal", f"TERM is {kind or 'not set'}: it cannot move the cursor", fix)
    if size != (0, 0) and (size[0] < MIN_SIZE[0] or size[1] < MIN_SIZE[1]):
        fix = f"Enlarge it to at least {MIN_SIZE[0]}×{MIN_SIZE[1]}, or use ftwizard --plain."
        return warning("terminal", detail, fix)
    if "utf" not in encoding.lower():
        return warning("terminal", detail, "export LC_ALL=C.UTF-8, or use ftwizard --ascii")
    return ok("terminal", detail)


def check_limits(facts: MachineInfo) -> Iterator[Check]:
    """Check the memory, CPU and ulimits of this process."""
    yield check_memory(facts.memory, psutil.virtual_memory().available, read_memory_limit())
    yield check_cpu(facts, read_cpu_quota())
    yield from check_ulimits(
        *(resource.getrlimit(kind)[0] for kind in (resource.RLIMIT_AS, resource.RLIMIT_CPU))
    )


def check_memory(total: int, available: int, limit: int | None) -> Check:
    """Compare the machine's memory with what this process's cgroup allows."""
    usable = min(total, limit or total)
    detail = f"{format_bytes(total)}, {format_bytes(available)} of it free"
    if usable < total:
        detail = f"{format_bytes(usable)} for this process (cgroup limit), of {format_bytes(total)}"
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


def check_ulimits(address_space: int, cpu_s: int) -> Iterator[Check]:
    """Warn about limits that end a run, as login nodes have them."""
    if address_space != resource.RLIM_INFINITY:
        detail = f"{format_bytes(address_space)}: CUDA reserves far more than it uses"
        yield warning("ulimit: address space", detail, "ulimit -v unlimited")
    if cpu_s != resource.RLIM_INFINITY:
        detail = f"{cpu_s:,} s: a longer run is killed"
        yield warning("ulimit: CPU time", detail, "ulimit -t unlimited")


def read_memory_limit(root: Path = Path("/")) -> int | None:
    """Read the lowest memory limit of this process's cgroups in bytes; None without a limit."""
    limits = [int(text) for text in _read_settings(root, "memory.max") if text.isdigit()]
    return min(limits, default=None)


def read_cpu_quota(root: Path = Path("/")) -> float | None:
    """Read the lowest CPU quota of this process's cgroups in cores; None without a quota."""
    pairs = [text.split() for text in _read_settings(root, "cpu.max")]
    quotas = [int(pair[0]) / int(pair[1]) for pair in pairs if pair[0] != "max"]
    return min(quotas, default=None)


def _read_settings(root: Path, name: str) -> Iterator[str]:
    """Yield the values of a setting of this process's cgroup and its parents (cgroup v2)."""
    for folder in machine.list_cgroups(root):
        try:
            yield (folder / name).read_text().strip()
        except OSError:
            continue
