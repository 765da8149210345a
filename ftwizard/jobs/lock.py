"""The lock of a job, held while any process of the job is alive on any host.

Every process of a job holds the lock *shared*; a start first needs it *exclusively*. So a second
start is refused until the last process is gone, whatever was killed in whatever order.
Open-file-description locks (Linux >= 3.15, ``fcntl(2)``) are inherited over fork and exec, released
by the kernel when the last holder closes, forwarded by NFS, and can be queried without being taken.
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
    """Lock ``path`` exclusively; return the descriptor, or None if another process holds it.

    With ``wait``, block until the lock is free. A missing file is created.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    command = fcntl.F_OFD_SETLKW if wait else fcntl.F_OFD_SETLK
    try:
        return _lock(descriptor, command, fcntl.F_WRLCK)
    except (BlockingIOError, PermissionError):
        return None


def downgrade(descriptor: int) -> None:
    """Turn an exclusive lock into a shared one, without releasing it in between."""
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _request(fcntl.F_RDLCK))


def release(descriptor: int) -> None:
    """Release a lock and close its descriptor, also for forks that inherited it."""
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _request(fcntl.F_UNLCK))
    finally:
        os.close(descriptor)


def take_shared(path: Path) -> int:
    """Lock ``path`` shared; return the descriptor.

    Raises BlockingIOError while a start holds it exclusively.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    return _lock(descriptor, fcntl.F_OFD_SETLK, fcntl.F_RDLCK)


def _lock(descriptor: int, command: int, kind: int) -> int:
    """Lock a descriptor and return it; close it on any failure."""
    try:
        fcntl.fcntl(descriptor, command, _request(kind))
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_held(path: Path) -> bool:
    """Return whether any process holds ``path``, without taking the lock."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        answer = fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, _request(fcntl.F_WRLCK))
    finally:
        os.close(descriptor)
    return bool(struct.unpack(_FLOCK, answer)[0] != fcntl.F_UNLCK)
