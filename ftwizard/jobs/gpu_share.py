"""How much of each GPU's memory a job's own processes hold."""

from __future__ import annotations

import os
from typing import Any

import psutil

from ftwizard.jobs.identity import Identity

HOST_NAMESPACE = 0xEFFFFFFC
"""Inode of the first pid namespace, that of the host: PROC_PID_INIT_INO, linux/proc_ns.h."""


def mark(gpus: list[dict[str, Any]], command: Identity | None) -> list[dict[str, Any]]:
    """Return readings of GPUs with ``ours`` in place of ``processes``.

    That is the bytes that the process ``command``, its session and its descendants hold; None
    where that cannot be known: the driver tells no processes or not their memory, or this is a
    container, where its pids are those of the host and may by chance be another's here.
    """
    return [_marked(gpu, command) if "processes" in gpu else gpu for gpu in gpus]


def _marked(gpu: dict[str, Any], command: Identity | None) -> dict[str, Any]:
    rest = {name: value for name, value in gpu.items() if name != "processes"}
    return {**rest, "ours": _ours(gpu["processes"], command)}


def _ours(processes: list[dict[str, Any]] | None, command: Identity | None) -> int | None:
    if processes is None or command is None or command.pid_namespace != HOST_NAMESPACE:
        return None
    held = [one["memory"] for one in processes if _belongs(one["pid"], command.pid)]
    return None if None in held else sum(held)


def _belongs(pid: int, command: int) -> bool:
    try:
        if os.getsid(pid) == command:
            return True
        # A launcher gives each of its workers a session of its own.
        return any(parent.pid == command for parent in psutil.Process(pid).parents())
    except (OSError, psutil.Error, OverflowError):
        return False
