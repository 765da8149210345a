"""The lock of a job: while anything of the job lives, on any host, it is held.

Every process of a job holds the lock *shared*; a start must first have it *exclusively*, so a
second start is refused until the last process has died, whoever was killed and in whatever order.
Open-file-description locks (Linux >= 3.15, ``fcntl(2)``) are inherited over fork and exec, are
released by the kernel when the last holder closes, are forwarded by NFS, and can be asked about
without being taken.
"""

from __future__ import annotations

import fcntl
import os
import struct
from pathlib import Path

_FLOCK = "hhqqi4x"  # struct flock of 64-bit Linux, native alignment


def _request(kind: int) -> bytes:
    return struct.pack(_FLOCK, kind, os.SEEK_SET, 0, 0, 0)


def take_exclusive(path: Path, *, wait: bool = False) -> int | None:
    """Return a descriptor that holds ``path`` exclusively, or None if anything else holds it.

    With ``wait`` it blocks until the lock is free. The file is made when it is missing.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        command = fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK
        fcntl.fcntl(descriptor, command, _request(fcntl.F_WRLCK))
    except (BlockingIOError, PermissionError):
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def downgrade(descriptor: int) -> None:
    """Turn an exclusive lock into a shared one, with no moment in between without a lock."""
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _request(fcntl.F_RDLCK))


def take_shared(path: Path) -> int:
    """Return a descriptor that holds ``path`` shared, beside the others of the same job.

    Raises BlockingIOError while a start holds it exclusively.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _request(fcntl.F_RDLCK))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_held(path: Path) -> bool:
    """Say whether anything holds ``path``, without taking it even for a moment."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _request(fcntl.F_WRLCK))
    finally:
        os.close(descriptor)
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
