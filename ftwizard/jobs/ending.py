"""How a job ended: the end reasons, what each means, and what to do next."""

from __future__ import annotations

import errno
import os
import re
from typing import Any

from ftwizard.jobs.events import tail
from ftwizard.jobs.folder import NO_SPACE, JobFolder

DISK_FULL_STATUS = 74
"""Exit status of a command that a full disk ended (EX_IOERR of ``sysexits.h``): with no room left
it can tell it in no other way."""

NEXT_STEP = {
    "finished": "",
    "early_stopped": "The validation loss had stopped improving; the best weights are kept.",
    "stopped": "Go on from where it stopped with: ftwizard resume {id}",
    "killed": "Go on from the newest checkpoint with: ftwizard resume {id}",
    "out_of_gpu_memory": "Halve recipe.batch_size (and double recipe.gradient_accumulation), or "
    "lower recipe.max_length, and start again.",
    "out_of_memory": "Close other programs or take a machine with more memory; lower "
    "recipe.batch_size, then: ftwizard resume {id}",
    "disk_full": "Free some space where {folder} is, then: ftwizard resume {id}",
    "nan": "The loss is no number any more: halve recipe.learning_rate, or set "
    "recipe.precision to fp32, and start again.",
    "crashed": "The end of {folder}/worker.log says where. Go on from the newest checkpoint "
    "with: ftwizard resume {id}",
    "refused": "",
    "cancelled": "",
    "lost": "Its processes are gone: the machine went down, or it was killed with its keeper. "
    "Go on with: ftwizard resume {id}",
}

IN_WORDS = {
    "finished": "finished",
    "early_stopped": "finished early",
    "stopped": "stopped",
    "killed": "killed",
    "out_of_gpu_memory": "out of GPU memory",
    "out_of_memory": "out of memory",
    "disk_full": "disk full",
    "nan": "the loss became no number",
    "crashed": "crashed",
    "refused": "refused",
    "cancelled": "cancelled",
    "lost": "lost",
}
_TAIL_BYTES = 65_536
GOOD = ("finished", "early_stopped")


def sentence(reason: str) -> str:
    """Return what follows “run X”: ``has finished``, ``was stopped``."""
    words = IN_WORDS.get(reason, reason)
    if reason in ("finished", "early_stopped", "crashed"):
        return f"has {words}" if reason != "crashed" else "crashed"
    if reason in ("out_of_gpu_memory", "out_of_memory"):
        return f"ran {words}"
    if reason in ("disk_full", "nan"):
        return f"ended: {words}"
    return f"was {words}"


def done_event(folder: JobFolder, attempt: int) -> dict[str, Any] | None:
    """Return the last word of the command of that attempt, or None if it did not say one."""
    events = tail(folder.events, _TAIL_BYTES)
    words = [e for e in events if e["kind"] == "done" and e.get("attempt") == attempt]
    return words[-1] if words else None


def end_reason(
    folder: JobFolder,
    attempt: int,
    returncode: int,
    *,
    killed_by_request: bool = False,
    oom_killed: bool = False,
    log_from: int = 0,
) -> str:
    """Say why a command ended: its own word, else what its end and its log tell.

    ``log_from`` is where this attempt's part of the log begins.
    """
    if event := done_event(folder, attempt):
        return str(event.get("end_reason", "crashed"))
    if killed_by_request:
        return "killed"
    if returncode in (-9, 137):
        return "out_of_memory" if oom_killed else "killed"
    if returncode in (-15, 143, -2, 130):
        return "killed"
    log = _log_tail(folder, log_from)
    if _NO_GPU_MEMORY.search(log):
        return "out_of_gpu_memory"
    if returncode == DISK_FULL_STATUS or "No space left on device" in log or _is_full(folder):
        return "disk_full"
    return "crashed"


_NO_GPU_MEMORY = re.compile(
    r"\bOutOfMemoryError\b|(?:CUDA|HIP) out of memory|(?:CUDA|HIP) error: out of memory"
    r"|CU(?:BLAS|DNN|SPARSE|SOLVER)_STATUS_ALLOC_FAILED|Error out of memory at line \d+ in file"
)
"""What is said where a GPU has no memory: by PyTorch's allocator, by the driver where PyTorch does
not allocate itself (a context, a graph), by NVIDIA's libraries, and by bitsandbytes."""

_NO_MEMORY = re.compile(
    "DefaultCPUAllocator: can't allocate|unable to mmap|could not create a (?:primitive|memory object)$"
)
"""What PyTorch says where there is no memory: its allocator, a file of weights, and oneDNN, which
makes a primitive and its buffers at once and does not say why it could not."""


def reason_of(error: BaseException, folder: JobFolder) -> str:
    """Name the end reason of an exception that ended a command."""
    for one in _chain(error):
        if _NO_GPU_MEMORY.search(f"{type(one).__name__}: {one}"):
            return "out_of_gpu_memory"
        if isinstance(one, MemoryError) or _NO_MEMORY.search(str(one)):
            return "out_of_memory"
        if isinstance(one, OSError) and one.errno in NO_SPACE:
            return "disk_full"
        if os.strerror(errno.ENOSPC) in str(one):
            return "disk_full"
    return "disk_full" if _is_full(folder) else "crashed"


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    while error is not None and error not in found:
        found.append(error)
        error = error.__cause__ or error.__context__
    return found


def _is_full(folder: JobFolder) -> bool:
    stat = os.statvfs(folder.path)
    return stat.f_bavail * stat.f_frsize < 16 * 1024


def _log_tail(folder: JobFolder, begin: int) -> str:
    try:
        with folder.log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(begin, file.tell() - 20_000))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
