"""Process identity, so that a recycled pid or one of another container is never signaled."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from pathlib import Path

import msgspec

from ftwizard.jobs import clock

_PR_SET_PDEATHSIG = 1


class Identity(msgspec.Struct, frozen=True):
    """A process, identified beyond its pid."""

    host: str
    """Node name."""
    boot_id: str
    """The kernel's random id of this boot."""
    pid_namespace: int
    """Inode of the pid namespace: a pid means nothing in another container."""
    pid: int
    start_ticks: int
    """Start time in clock ticks since boot (field 22 of ``/proc/PID/stat``), which no clock change
    affects."""


def from_pid(pid: int) -> Identity | None:
    """Return the identity of a living process of this machine, or None if it is gone."""
    ticks = _read_start_ticks(pid)
    if ticks is None:
        return None
    return Identity(os.uname().nodename, _read_boot_id(), _read_pid_namespace(), pid, ticks)


def shares_clocks(identity: Identity | None) -> bool:
    """Return whether the clocks since boot that the process reads are those of this process."""
    return (
        identity is not None
        and identity.host == os.uname().nodename
        and identity.boot_id == _read_boot_id()
        and identity.pid_namespace == _read_pid_namespace()
    )


def get_age_s(identity: Identity) -> float:
    """Return the seconds since the start of a process that shares this one's clocks."""
    ticks_s = identity.start_ticks / os.sysconf("SC_CLK_TCK")
    return max(0.0, clock.read_with_suspend() - ticks_s)


def is_alive(identity: Identity | None) -> bool | None:
    """Return whether the process is alive; None if unknown here (other host, container)."""
    if identity is None:
        return False
    if identity.host != os.uname().nodename:
        return None
    if identity.boot_id != _read_boot_id():
        return False
    if identity.pid_namespace != _read_pid_namespace():
        return None
    return _read_start_ticks(identity.pid) == identity.start_ticks


def is_suspended(identity: Identity | None) -> bool:
    """Return whether the process is known here to be suspended, as by SIGSTOP."""
    return read_run_state(identity) == "T"


def read_run_state(identity: Identity | None) -> str | None:
    """Return the state of a living process as in ``/proc/PID/stat``: ``R``, ``S``, ``D``, ``T``.

    None if it is gone, or unknown here.
    """
    if identity is None or not is_alive(identity):
        return None
    fields = _read_stat(identity.pid)
    return fields[0] if fields else None


def signal_group(identity: Identity, number: signal.Signals) -> bool:
    """Send a signal to the process group that ``identity`` leads; return False if it is gone."""
    if not is_alive(identity):
        return False
    try:
        os.killpg(identity.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _read_boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _read_pid_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _read_start_ticks(pid: int) -> int | None:
    fields = _read_stat(pid)
    return None if fields is None or fields[0] in "ZX" else int(fields[19])


def _read_stat(pid: int) -> list[str] | None:
    """Return the fields of ``/proc/PID/stat`` from the third on; None if the process is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return stat.rpartition(")")[2].split()


def end_with_parent(variable: str = "") -> None:
    """End this process, and what it becomes by exec, when the thread that started it ends (Linux).

    ``variable``: an environment variable with the parent's pid, which may have ended already.
    """
    with contextlib.suppress(OSError, AttributeError):
        parent = int(os.environ.get(variable) or os.getppid())
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
