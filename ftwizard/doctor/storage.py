"""Disk checks: free space, file system, locks and write access for runs, models and caches."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from ftwizard import locations
from ftwizard.background import call_or_none
from ftwizard.doctor.check import Check, missing, ok, warning
from ftwizard.jobs import lock
from ftwizard.text import format_bytes, format_count, make_visible

LOW_RUNS, LOW_HUB, LOW_TEMP = 10_000_000_000, 20_000_000_000, 2_000_000_000
"""Bytes: three checkpoints and a merged 1B model; one 8B model in bf16 (16 GB); unpacked packages
and spilled datasets."""
RUNS, MODELS = "disk: runs", "disk: models"
LOW_INODES = 10_000
LOW_SHM = 1_000_000_000
"""Bytes of /dev/shm. Docker's default is 64 MB; processes of several GPUs exchange data there."""
TIMEOUT_S = 3.0
NETWORK = {
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "lustre", "ceph", "glusterfs", "beegfs", "gpfs", "afs",
    "9p", "pvfs2", "orangefs", "wekafs", "panfs", "ncpfs",
}  # fmt: skip
NETWORK_FUSE = re.compile(
    r"fuse\.(sshfs|s3fs|goofys|gcsfuse|rclone|blobfuse2?|glusterfs|juicefs|ceph-fuse|mount-s3|davfs2?)"
)
IN_MEMORY = {"tmpfs", "ramfs"}
OVERLAY = "overlay"
"""File system of a container's own files."""


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A mounted file system."""

    point: str
    kind: str
    read_only: bool


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that runs write to, and its file system."""

    path: Path
    """The folder, or its nearest existing parent."""
    mount: Mount | None
    free: int
    inodes: int | None
    """Free inodes; None if the file system does not count them."""
    can_write: bool
    locks: bool | None = None
    """Whether a held lock is visible to others; None if untested."""


def run_checks(*, gpus: int = 0) -> Iterator[Check]:
    """Check free space and file system of each location."""
    checked = (
        (RUNS, locations.runs_folder(), "FTWIZARD_HOME", LOW_RUNS),
        (MODELS, locations.hub_cache_folder(), "HF_HOME", LOW_HUB),
        ("disk: cache", locations.cache_folder(), "FTWIZARD_CACHE", LOW_TEMP),
        ("disk: temp", Path(tempfile.gettempdir()), "TMPDIR", LOW_TEMP),
    )
    for name, path, variable, low in checked:
        yield check_location(name, path, variable, low)
    yield from check_shared_memory(gpus)


def check_location(
    name: str,
    path: Path,
    variable: str,
    low: int,
    *,
    inspect: Callable[[Path], Location] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Check:
    """Check one location; an unresponsive file server delays it by ``timeout_s`` at most."""
    move = f"set {variable} to a folder on a local disk with free space."
    try:
        location = call_or_none(timeout_s, inspect or inspect_location, path)
    except TimeoutError:
        detail = (
            f"{make_visible(str(path))}: no answer within {timeout_s:.0f} s (file server down?)"
        )
        return missing(name, detail, f"Check the file server, or {move}")
    except OSError as error:
        detail = f"{make_visible(str(path))}: {error.strerror or error}"
        return missing(name, detail, f"S{move[1:]}")
    return assess_location(name, location, variable, low)


def assess_location(name: str, location: Location, variable: str, low: int) -> Check:
    """Assess a location; the most severe problem wins."""
    mount = location.mount
    kind = f" ({mount.kind} at {make_visible(mount.point, 40)})" if mount else ""
    detail = f"{format_bytes(location.free)} free at {make_visible(str(location.path))}{kind}"
    other_disk = f"set {variable} to a folder on another disk."
    if (mount and mount.read_only) or not location.can_write:
        reason = "mounted read-only" if mount and mount.read_only else "not writable for you"
        # Models can still be read from a shared cache.
        report = warning if name == MODELS else missing
        return report(name, f"{detail}: {reason}", f"S{other_disk[1:]}")
    if name == RUNS and location.locks is False:
        reason = "file locks do not work, so a run could be started twice"
        fix = f"S{other_disk[1:]} (NFS: mount it without nolock)"
        return missing(name, f"{detail}: {reason}", fix)
    if location.inodes is not None and location.inodes < LOW_INODES:
        fix = f"Delete folders of many small files (caches), or {other_disk}"
        return warning(
            name,
            f"{detail}: space for only {format_count(location.inodes, 'more file')} (inodes)",
            fix,
        )
    if location.free < low:
        return warning(name, detail, f"Free disk space, or {other_disk}")
    if mount and mount.kind in IN_MEMORY and variable != "TMPDIR":
        fix = f"It is memory and lost after a reboot: {other_disk}"
        return warning(name, detail, fix)
    if mount and mount.kind == OVERLAY and name == RUNS:
        fix = f"It is deleted with the container: mount a volume, and {other_disk}"
        return warning(name, detail, fix)
    if mount and is_network(mount.kind):
        fix = f"Loading and saving is slow, and locks may fail: {other_disk}"
        return warning(name, f"{detail}, over the network", fix)
    return ok(name, detail)


def check_shared_memory(
    gpus: int, path: Path = Path("/dev/shm"), low: int = LOW_SHM
) -> Iterator[Check]:
    """Warn if /dev/shm is too small for the processes of several GPUs."""
    try:
        stat = os.statvfs(path)
    except OSError:
        return
    total = stat.f_blocks * stat.f_frsize
    if total >= low:
        return
    detail = f"{format_bytes(total)} at {path}"
    if gpus < 2:
        yield ok("shared memory", f"{detail}: enough for one GPU")
        return
    fix = "docker run --shm-size=8g …   (or --ipc=host)"
    yield warning(
        "shared memory",
        f"{detail}: too small for several GPUs, which exchange data there (SIGBUS)",
        fix,
    )


def inspect_location(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> Location:
    """Inspect the file system that ``path`` is or would be on. Raises OSError."""
    nearest = path
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    stat = os.statvfs(nearest)
    can_write = os.access(nearest, os.W_OK | os.X_OK)
    return Location(
        path=nearest,
        mount=find_mount(nearest, mounts),
        free=stat.f_bavail * stat.f_frsize,
        inodes=stat.f_favail if stat.f_files else None,
        can_write=can_write,
        locks=do_locks_work(nearest) if can_write else None,
    )


def do_locks_work(folder: Path) -> bool | None:
    """Take a lock in ``folder`` and query it through another descriptor.

    Return whether it is visible; None if no file can be created there. Leaves nothing behind.
    """
    try:
        descriptor, name = tempfile.mkstemp(prefix=".ftwizard-doctor-", dir=folder)
    except OSError:
        return None
    os.close(descriptor)
    file = Path(name)
    try:
        lock_fd = lock.take_exclusive(file)
        if lock_fd is None:
            return False
        try:
            return lock.is_held(file)
        finally:
            os.close(lock_fd)
    except OSError:  # ENOLCK, EOPNOTSUPP: no locks here
        return False
    finally:
        file.unlink(missing_ok=True)


def find_mount(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> Mount | None:
    """Return the mount of ``path``: the deepest, and of these the last mounted (proc(5))."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    real, best = path.resolve(), None
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, source = before.split(), after.split()
        if len(fields) < 6 or not source:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), fields[4])
        if not real.is_relative_to(point) or (best and len(point) < len(best.point)):
            continue
        options = {*fields[5].split(","), *(source[2].split(",") if len(source) > 2 else ())}
        best = Mount(point=point, kind=source[0], read_only="ro" in options)
    return best


def is_network(kind: str) -> bool:
    """Return whether a file system is a network file system."""
    return kind in NETWORK or bool(NETWORK_FUSE.fullmatch(kind))
