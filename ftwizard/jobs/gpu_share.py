"""GPU memory used by a job's own processes."""

from __future__ import annotations

import os
from typing import Any

import psutil

from ftwizard.jobs.identity import Identity

HOST_NAMESPACE = 0xEFFFFFFC
"""Inode of the host's pid namespace: PROC_PID_INIT_INO, linux/proc_ns.h."""


def add_own_memory(gpus: list[dict[str, Any]], command: Identity | None) -> list[dict[str, Any]]:
    """Return GPU readings with ``ours`` in place of ``processes``.

    ``ours`` is the bytes used by the process ``command``, its session and its descendants. It is
    None if unknown: the driver does not list processes or their memory, or this is a container,
    where the driver's pids are those of the host.
    """
    return [_replace_processes(gpu, command) if "processes" in gpu else gpu for gpu in gpus]


def _replace_processes(gpu: dict[str, Any], command: Identity | None) -> dict[str, Any]:
    fields = {name: value for name, value in gpu.items() if name != "processes"}
    return {**fields, "ours": _sum_own_bytes(gpu["processes"], command)}


def _sum_own_bytes(processes: list[dict[str, Any]] | None, command: Identity | None) -> int | None:
    if processes is None or command is None or command.pid_namespace != HOST_NAMESPACE:
        return None
    sizes = [p["memory"] for p in processes if _belongs(p["pid"], command.pid)]
    return None if None in sizes else sum(sizes)


def _belongs(pid: int, command: int) -> bool:
    try:
        if os.getsid(pid) == command:
            return True
        # A launcher starts each of its workers in a separate session.
        return any(parent.pid == command for parent in psutil.Process(pid).parents())
    except (OSError, psutil.Error, OverflowError):
        return False
