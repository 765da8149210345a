"""Checks of Python, API keys, memory and the CPU, and the limits of this process."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import get_args

import psutil

from ftwizard import __version__
from ftwizard.credentials import Credential, Service
from ftwizard.doctor.check import Check, ok, warning
from ftwizard.hardware import machine
from ftwizard.hardware.machine import MachineInfo
from ftwizard.models import hub
from ftwizard.text import format_bytes, format_count, make_visible

LOW_MEMORY = 8_000_000_000
"""Bytes; loading a 3B model takes 6 GB before it is on the GPU."""
LOW_AVAILABLE = 3_000_000_000
ASK_HUB = "hf auth login   (or set HF_TOKEN), after accepting the model's license on its page"


def check_software() -> Iterator[Check]:
    """Report the versions."""
    yield ok("ftwizard", __version__)
    yield ok("Python", f"{platform.python_version()} in {make_visible(sys.prefix)}")


def check_keys(
    present: tuple[Credential, ...], environment: Mapping[str, str] = os.environ
) -> Iterator[Check]:
    """Report where the key of each service is, never its value, and the services without one."""
    for credential in present:
        where = make_visible(credential.where, 80)
        detail = f"{where} {'is set' if credential.where in environment else 'exists'}"
        unused = "" if credential.service == "huggingface" else "; no provider uses it yet"
        yield ok(f"key: {credential.service}", detail + unused)
    absent = set(get_args(Service)) - {credential.service for credential in present}
    if "huggingface" in absent:
        detail = "none: gated models (Llama, Gemma, Mistral) cannot be downloaded"
        yield warning("key: huggingface", detail, ASK_HUB)
    if others := [name for name in get_args(Service) if name in absent - {"huggingface"}]:
        yield ok("keys: none for", ", ".join(others))
    if hub.is_offline(environment):
        detail = "HF_HUB_OFFLINE is set: models that are not cached cannot be downloaded"
        yield warning("Hub", detail, "unset HF_HUB_OFFLINE")


def check_limits(facts: MachineInfo) -> Iterator[Check]:
    """Check the memory and CPU of this process."""
    yield check_memory(facts.memory, psutil.virtual_memory().available, read_memory_limit())
    yield check_cpu(facts, read_cpu_quota())


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
