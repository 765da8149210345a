"""End reasons of a job: names, next steps, and how each is detected."""

from __future__ import annotations

import errno
import os
import re
from pathlib import Path
from typing import Any

from ftwizard.jobs.events import Event, read_tail
from ftwizard.jobs.folder import DISK_ERRORS, NO_SPACE, JobFolder, read_end

DISK_FULL_STATUS = 74
"""Exit status of a command that a full disk ended (EX_IOERR of ``sysexits.h``): without disk space
it has no other way to report it."""
DISK_ERROR_STATUS = 73
"""Exit status of a command that could not report its end on a disk that fails (EX_CANTCREAT)."""
TERMINATED = (-15, 143, -2, 130)
"""Exit statuses of a command that somebody ended by TERM or INT."""

NEXT_STEP = {  # {begin}: how to continue, by what is on disk
    "finished": "",
    "early_stopped": "Validation loss stopped improving; the best weights are kept.",
    "stopped": "{begin}: ftwizard resume {id}",
    "killed": "{begin}: ftwizard resume {id}",
    "out_of_gpu_memory": "Start a child run with a smaller batch and as many examples per step: "
    "ftwizard branch {id} --smaller-batch",
    "out_of_memory": "Close other programs, then: ftwizard resume {id}   Or start a child run with a "
    "smaller batch and as many examples per step: ftwizard branch {id} --smaller-batch",
    "disk_full": "Free disk space for {folder}, then: ftwizard resume {id}",
    "disk_error": "The disk of {folder} fails, or is read-only. Once it can be written again: "
    "ftwizard resume {id}",
    "nan": "The loss became NaN. Start a child run with half the learning rate: "
    "ftwizard branch {id} --rate-times 0.5   Or in 32 bit: "
    "ftwizard branch {id} --set recipe.precision=fp32",
    "crashed": "See the end of {folder}/worker.log. {begin}: ftwizard resume {id}",
    "refused": "",
    "failed": "",
    "cancelled": "",
    "lost": "Its processes are gone: the machine went down, or they were killed. "
    "{begin}: ftwizard resume {id}",
}

END_NAMES = {
    "finished": "finished",
    "early_stopped": "finished early",
    "stopped": "stopped",
    "killed": "killed",
    "out_of_gpu_memory": "out of GPU memory",
    "out_of_memory": "out of memory",
    "disk_full": "disk full",
    "disk_error": "disk error",
    "nan": "NaN loss",
    "crashed": "crashed",
    "refused": "refused",
    "failed": "failed",
    "cancelled": "canceled",
    "lost": "lost",
}
OUT_OF_MEMORY = ("out_of_gpu_memory", "out_of_memory")
_TAIL_BYTES = 65_536
GOOD_END_REASONS = ("finished", "early_stopped")


def describe_end_reason(reason: str) -> str:
    """Return what follows “Run X”: ``finished``, ``was stopped``."""
    name = END_NAMES.get(reason, reason)
    if reason in ("finished", "early_stopped", "crashed", "failed"):
        return name
    if reason in ("out_of_gpu_memory", "out_of_memory"):
        return f"ran {name}"
    if reason in ("disk_full", "disk_error", "nan"):
        return f"ended: {name}"
    return f"was {name}"


def read_done_event(folder: JobFolder, attempt: int) -> dict[str, Any] | None:
    """Return the ``done`` event of an attempt, or None without one."""
    return find_done_event(read_last_events(folder), attempt)


def read_last_events(folder: JobFolder) -> list[Event]:
    """Return the newest events, oldest first; none if the disk fails.

    Raises OSError for events of another user, and for a folder in their place.
    """
    try:
        return read_tail(folder.events, _TAIL_BYTES)
    except (IsADirectoryError, PermissionError):
        raise
    except OSError:
        return []


def find_done_event(events: list[Event], attempt: int) -> Event | None:
    """Return the ``done`` event of an attempt among the newest events, or None without one."""
    done = [e for e in events if e["kind"] == "done" and e.get("attempt") == attempt]
    return done[-1] if done else None


def determine_end_reason(
    folder: JobFolder,
    attempt: int,
    returncode: int,
    *,
    killed_by_request: bool = False,
    oom_killed: bool = False,
    log_from: int = 0,
) -> str:
    """Return why a command ended: by its ``done`` event, else by its exit status and log.

    ``log_from`` is the byte offset at which this attempt's part of the log begins.
    """
    if event := read_done_event(folder, attempt):
        return str(event.get("end_reason", "crashed"))
    if killed_by_request:
        return "killed"
    if returncode in (-9, 137):
        return "out_of_memory" if oom_killed else "killed"
    if returncode in TERMINATED:
        return "killed"
    log = read_end(folder.log, 20_000, log_from).decode(errors="replace")
    if _NO_GPU_MEMORY.search(log):
        return "out_of_gpu_memory"
    if returncode == DISK_FULL_STATUS or "No space left on device" in log or _is_full(folder):
        return "disk_full"
    if returncode == DISK_ERROR_STATUS or _DISK_ERROR.search(log):
        return "disk_error"
    return "crashed"


_NO_GPU_MEMORY = re.compile(
    r"\bOutOfMemoryError\b|(?:CUDA|HIP) out of memory|(?:CUDA|HIP) error: out of memory"
    r"|CU(?:BLAS|DNN|SPARSE|SOLVER)_STATUS_ALLOC_FAILED|Error out of memory at line \d+ in file"
)
"""Errors of a GPU out of memory: from PyTorch's allocator, from the driver where PyTorch does not
allocate itself (a context, a graph), from NVIDIA's libraries, and from bitsandbytes."""

_DISK_ERROR = re.compile(
    rf"OSError: \[Errno (?:{'|'.join(map(str, DISK_ERRORS))})\]"
    rf"|\(os error (?:{'|'.join(map(str, DISK_ERRORS))})\)|PytorchStreamWriter failed writing"
)
"""Errors of a disk that fails: from Python, from safetensors, and from PyTorch, which names none."""

_NO_MEMORY = re.compile(
    "DefaultCPUAllocator: (?:can't allocate|not enough)|unable to mmap|Cannot allocate memory"
    "|could not create a (?:primitive|memory object)$|can't start new thread|bad_alloc"
    "|failed to map segment from shared object|unable to allocate [^ ]+ buffer"
)
"""Errors of a process out of CPU memory: from PyTorch's allocator, from a weights file, from the
system, from oneDNN, which creates a primitive and its buffers at once and does not say why that
failed, from C++, from the loader of libraries, and from llama.cpp."""


def find_shortage(error: BaseException) -> str:
    """Return ``out_of_memory`` or ``out_of_gpu_memory`` if an exception says so, else nothing."""
    for cause in _get_causes(error):
        if getattr(cause, "code", None) in OUT_OF_MEMORY:
            return str(cause.code)  # type: ignore[attr-defined]
        if _NO_GPU_MEMORY.search(f"{type(cause).__name__}: {cause}"):
            return "out_of_gpu_memory"
        if isinstance(cause, MemoryError) or _NO_MEMORY.search(str(cause)):
            return "out_of_memory"
    return ""


def classify_error(error: BaseException, folder: JobFolder) -> str:
    """Return the end reason for an exception that ended a command."""
    if shortage := find_shortage(error):
        return shortage
    for cause in _get_causes(error):
        if isinstance(cause, OSError) and cause.errno in NO_SPACE:
            return "disk_full"
        if os.strerror(errno.ENOSPC) in str(cause):
            return "disk_full"
    if _is_full(folder):
        return "disk_full"
    is_disk_error = any(map(_is_disk_error, _get_causes(error)))
    return "disk_error" if is_disk_error else "crashed"


def describe_error(error: BaseException, folder: Path) -> str:
    """Return an exception's type and text; for a disk that fails, its error and where.

    ``folder`` is what was written to, where the error names no file.
    """
    for cause in _get_causes(error):
        if isinstance(cause, OSError) and cause.errno in DISK_ERRORS:
            name = cause.filename if isinstance(cause.filename, str) else folder
            return f"{cause.strerror}: {os.path.realpath(name)}"
    return f"{type(error).__name__}: {error}"


def _is_disk_error(error: BaseException) -> bool:
    text = f"{type(error).__name__}: {error}"
    is_named = isinstance(error, OSError) and error.errno in DISK_ERRORS
    return is_named or bool(_DISK_ERROR.search(text))


def _get_causes(error: BaseException | None) -> list[BaseException]:
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes


def _is_full(folder: JobFolder) -> bool:
    try:
        stat = os.statvfs(folder.path)
    except OSError:
        return False
    return stat.f_bavail * stat.f_frsize < 16 * 1024
