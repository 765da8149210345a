"""End reasons of jobs, from exceptions, done events, exit statuses and logs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from ftwizard.jobs.ending import END_NAMES, NEXT_STEP, classify_error, determine_end_reason
from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import Status
from ftwizard.runs.describe import MARKS, describe_end

REASONS = {
    "finished", "early_stopped", "stopped", "killed", "out_of_gpu_memory", "out_of_memory",
    "disk_full", "disk_error", "nan", "crashed", "refused", "failed", "cancelled", "lost",
}  # fmt: skip


class OutOfMemoryError(RuntimeError):
    """Has the name of torch's exception."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), "out_of_gpu_memory"),
        (RuntimeError("CUDA out of memory"), "out_of_gpu_memory"),
        (
            RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"),
            "out_of_gpu_memory",
        ),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "out_of_gpu_memory"),
        (RuntimeError("HIP out of memory. Tried to allocate 2.00 GiB"), "out_of_gpu_memory"),
        (RuntimeError("CUDA error: an illegal memory access was encountered"), "crashed"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out_of_memory"),
        (RuntimeError("could not create a primitive"), "out_of_memory"),
        (RuntimeError("could not create a primitive descriptor for a matmul"), "crashed"),
        (
            RuntimeError("unable to mmap 269060552 bytes from file: Cannot allocate"),
            "out_of_memory",
        ),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "disk_full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk_full"),
        (RuntimeError("I/O error: No space left on device (os error 28)"), "disk_full"),
        (OSError(errno.EIO, "Input/output error"), "disk_error"),
        (OSError(errno.EROFS, "Read-only file system", "/data/run/adapter"), "disk_error"),
        (RuntimeError("I/O error: Stale file handle (os error 116)"), "disk_error"),
        (RuntimeError("PytorchStreamWriter failed writing file data/0"), "disk_error"),
        (OSError(errno.ENOENT, "No such file or directory"), "crashed"),
        (ValueError("something else"), "crashed"),
    ],
)
def test_exceptions_and_their_causes_map_to_end_reasons(
    tmp_path: Path, error: Exception, reason: str
) -> None:
    folder = JobFolder(tmp_path)
    assert classify_error(error, folder) == reason
    try:
        try:
            raise error
        except Exception as inner:
            raise ValueError("while saving") from inner
    except ValueError as outer:
        assert classify_error(outer, folder) == reason


@pytest.mark.parametrize(
    ("returncode", "log", "reason"),
    [
        (-9, "", "killed"),
        (137, "", "killed"),
        (-15, "", "killed"),
        (1, "torch.OutOfMemoryError: CUDA out of memory.", "out_of_gpu_memory"),
        (1, "Error out of memory at line 71 in file /src/csrc/ops.cu", "out_of_gpu_memory"),
        (74, "", "disk_full"),
        (73, "", "disk_error"),
        (1, "OSError: [Errno 30] Read-only file system: 'x'", "disk_error"),
        (1, "OSError: [Errno 28] No space left on device", "disk_full"),
        (-11, "", "crashed"),
        (0, "", "crashed"),
    ],
)
def test_exit_status_and_log_give_the_end_reason(
    tmp_path: Path, returncode: int, log: str, reason: str
) -> None:
    folder = JobFolder(tmp_path)
    folder.log.write_text(log)
    assert determine_end_reason(folder, 1, returncode) == reason


def test_oom_kill_and_requested_kill_give_different_reasons(tmp_path: Path) -> None:
    assert determine_end_reason(JobFolder(tmp_path), 1, -9, oom_killed=True) == "out_of_memory"
    assert determine_end_reason(JobFolder(tmp_path), 1, 0, killed_by_request=True) == "killed"


def test_log_of_an_earlier_attempt_is_ignored(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    folder.log.write_text("No space left on device\nSegmentation fault")
    begin = len("No space left on device\n")
    assert determine_end_reason(folder, 2, -11, log_from=begin) == "crashed"
    assert determine_end_reason(folder, 2, -11) == "disk_full"


def test_done_event_of_this_attempt_overrides_exit_status(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    writer = EventWriter(folder.events, 1)
    writer.write("done", end_reason="stopped")
    writer.write("log", step=1, pad="x" * 200_000)
    writer.close()
    assert determine_end_reason(folder, 2, -9) == "killed"
    writer = EventWriter(folder.events, 2)
    writer.write("done", end_reason="early_stopped")
    writer.close()
    assert determine_end_reason(folder, 2, -9) == "early_stopped"


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_every_end_reason_has_a_description_and_next_step(tmp_path: Path, reason: str) -> None:
    assert set(NEXT_STEP) == set(END_NAMES) == REASONS
    assert set(MARKS) <= REASONS
    folder = JobFolder(tmp_path / "run-1")
    lines = describe_end(folder, Status(state="ended", attempt=1, end_reason=reason))
    assert lines[0][0] in "✓■✗" and "run-1" in lines[0]
    if reason not in ("finished", "refused", "failed", "cancelled"):
        assert len(lines) == 2 and "{" not in lines[1]


def test_end_message_shows_controls_and_braces_as_text(tmp_path: Path) -> None:
    status = Status(state="ended", attempt=1, end_reason="crashed", message="a\x1b[2J\nb {x}")
    lines = describe_end(JobFolder(tmp_path), status)
    assert "\x1b" not in "".join(lines) and lines[1] == "a␛[2J\\nb {x}"
