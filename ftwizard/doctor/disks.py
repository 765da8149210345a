"""Where runs, models and temporary files are kept: room, kind of file system, whether it can be
written to."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from ftwizard import settings
from ftwizard.doctor.check import Check, missing, ok, warning
from ftwizard.doctor.waiting import within
from ftwizard.jobs import lock
from ftwizard.text import plural, size, visible

LOW_RUNS, LOW_HUB, LOW_TEMP = 10_000_000_000, 20_000_000_000, 2_000_000_000
"""Bytes: three checkpoints and a merged model of 1B; one model of 8B in bf16 (16 GB); what
packages unpack and datasets spill."""
RUNS, MODELS = "disk: runs", "disk: models"
LOW_INODES = 10_000
LOW_SHM = 1_000_000_000
"""Bytes of /dev/shm. Docker's default is 64 MB; several processes on GPUs exchange through it."""
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
"""What a container's own files are on."""


class Mount(msgspec.Struct, frozen=True, kw_only=True):
    """A mounted file system."""

    point: str
    kind: str
    read_only: bool


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that a run writes to, and what is known of the file system it is on."""

    path: Path
    """The folder, or the nearest above it that is there."""
    mount: Mount | None
    free: int
    inodes: int | None
    """Files that may still be made; None where the file system does not count them."""
    can_write: bool
    locks: bool | None = None
    """Whether a lock that one holds is seen by another; None where that was not tried."""


def look(environment: Mapping[str, str] | None = None, *, gpus: int = 0) -> Iterator[Check]:
    """Say of each place how much room it has and what is odd about it."""
    chosen = os.environ if environment is None else environment
    wanted = (
        (RUNS, settings.runs_folder(), "FTWIZARD_HOME", LOW_RUNS),
        (MODELS, hub_cache(chosen), "HF_HOME", LOW_HUB),
        ("disk: cache", settings.cache(), "FTWIZARD_CACHE", LOW_TEMP),
        ("disk: temp", Path(tempfile.gettempdir()), "TMPDIR", LOW_TEMP),
    )
    for name, path, variable, low in wanted:
        yield checked(name, path, variable, low)
    yield from shared_memory(gpus)


def hub_cache(environment: Mapping[str, str]) -> Path:
    """Return the Hub's cache, as huggingface_hub finds it (its constants.py)."""
    if named := environment.get("HF_HUB_CACHE") or environment.get("HUGGINGFACE_HUB_CACHE"):
        return Path(named).expanduser()
    base = environment.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(environment.get("HF_HOME") or f"{base}/huggingface").expanduser() / "hub"


def checked(
    name: str,
    path: Path,
    variable: str,
    low: int,
    *,
    see: Callable[[Path], Place] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Check:
    """Look at one place; a file server that does not answer delays it by ``timeout_s`` at most."""
    move = f"set {variable} to a folder on a local disk with room."
    try:
        place = within(timeout_s, lambda: (see or seen)(path))
    except OSError as error:
        found = f"{visible(str(path))}: {error.strerror or error}"
        return missing(name, found, f"S{move[1:]}")
    if place is None:
        found = f"{visible(str(path))}: no answer within {timeout_s:.0f} s (a file server?)"
        return missing(name, found, f"Find out why, or {move}")
    return judged(name, place, variable, low)


def judged(name: str, place: Place, variable: str, low: int) -> Check:
    """Say what is found at a place, the gravest first."""
    mount = place.mount
    kind = f" ({mount.kind} at {visible(mount.point, 40)})" if mount else ""
    found = f"{size(place.free)} free at {visible(str(place.path))}{kind}"
    elsewhere = f"set {variable} to a folder on another disk."
    if (mount and mount.read_only) or not place.can_write:
        why = "mounted read-only" if mount and mount.read_only else "not writable for you"
        # Models that are there already can be read from a shared cache.
        say = warning if name == MODELS else missing
        return say(name, f"{found}: {why}", f"S{elsewhere[1:]}")
    if name == RUNS and place.locks is False:
        why = "locks do not hold: two starts of one run would not see each other"
        fix = f"S{elsewhere[1:]} (NFS: mount it without nolock)"
        return missing(name, f"{found}: {why}", fix)
    if place.inodes is not None and place.inodes < LOW_INODES:
        fix = f"Delete folders of many small files (caches), or {elsewhere}"
        return warning(name, f"{found}: only {plural(place.inodes, 'more file')} (inodes)", fix)
    if place.free < low:
        return warning(name, found, f"Free some space, or {elsewhere}")
    if mount and mount.kind in IN_MEMORY and variable != "TMPDIR":
        fix = f"It is memory, and gone after a reboot: {elsewhere}"
        return warning(name, found, fix)
    if mount and mount.kind == OVERLAY and name == RUNS:
        fix = f"It goes with the container: mount a volume, and {elsewhere}"
        return warning(name, found, fix)
    if mount and is_network(mount.kind):
        fix = f"Slow to load and save, and locks may not hold: {elsewhere}"
        return warning(name, f"{found}, over the network", fix)
    return ok(name, found)


def shared_memory(gpus: int, path: Path = Path("/dev/shm"), low: int = LOW_SHM) -> Iterator[Check]:
    """Warn of a /dev/shm that the processes of several GPUs would overflow."""
    try:
        stat = os.statvfs(path)
    except OSError:
        return
    total = stat.f_blocks * stat.f_frsize
    if total >= low:
        return
    found = f"{size(total)} at {path}"
    if gpus < 2:
        yield ok("shared memory", f"{found}: enough for one GPU")
        return
    fix = "docker run --shm-size=8g …   (or --ipc=host)"
    yield warning("shared memory", f"{found}: several GPUs exchange through it (SIGBUS)", fix)


def seen(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> Place:
    """Look at the file system that ``path`` is or would be on. Raises OSError."""
    nearest = path
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    stat = os.statvfs(nearest)
    can_write = os.access(nearest, os.W_OK | os.X_OK)
    return Place(
        path=nearest,
        mount=mount_of(nearest, mounts),
        free=stat.f_bavail * stat.f_frsize,
        inodes=stat.f_favail if stat.f_files else None,
        can_write=can_write,
        locks=locks_hold(nearest) if can_write else None,
    )


def locks_hold(folder: Path) -> bool | None:
    """Take a lock in ``folder`` and ask for it through another door; None where no file can be
    made there. Leaves nothing behind."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=".ftwizard-doctor-", dir=folder)
    except OSError:
        return None
    os.close(descriptor)
    file = Path(name)
    try:
        held = lock.take_exclusive(file)
        if held is None:
            return False
        try:
            return lock.is_held(file)
        finally:
            os.close(held)
    except OSError:  # ENOLCK, EOPNOTSUPP: there are none
        return False
    finally:
        file.unlink(missing_ok=True)


def mount_of(path: Path, mounts: Path = Path("/proc/self/mountinfo")) -> Mount | None:
    """Return the mount that holds ``path``: of the deepest, the last mounted (proc(5))."""
    try:
        lines = mounts.read_text(errors="surrogateescape").splitlines()
    except OSError:
        return None
    real, best = path.resolve(), None
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, more = before.split(), after.split()
        if len(fields) < 6 or not more:
            continue
        point = re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields[4])
        if not real.is_relative_to(point) or (best and len(point) < len(best.point)):
            continue
        options = {*fields[5].split(","), *(more[2].split(",") if len(more) > 2 else ())}
        best = Mount(point=point, kind=more[0], read_only="ro" in options)
    return best


def is_network(kind: str) -> bool:
    """Say whether a file system's files are on another machine."""
    return kind in NETWORK or bool(NETWORK_FUSE.fullmatch(kind))
