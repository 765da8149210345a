"""Disk checks: free space, file system and write access for runs, models and caches."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import psutil

from ftwizard import locations
from ftwizard.background import call_with_timeout
from ftwizard.doctor.check import Check, missing, ok, warning
from ftwizard.errors import FtwizardError
from ftwizard.hardware import machine
from ftwizard.text import format_bytes, make_visible

LOW_RUNS, LOW_HUB, LOW_TEMP = 10_000_000_000, 20_000_000_000, 2_000_000_000
"""Bytes: three checkpoints and a merged 1B model; one 8B model in bf16 (16 GB); unpacked packages
and spilled datasets."""
RUNS, MODELS = "disk: runs", "disk: models"
TIMEOUT_S = 3.0
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "lustre", "ceph", "beegfs", "gpfs", "fuse.sshfs"}


class Location(msgspec.Struct, frozen=True, kw_only=True):
    """A folder that runs write to: the nearest that exists, and its file system."""

    path: Path
    kind: str
    free: int
    can_write: bool


def run_checks() -> Iterator[Check]:
    """Check free space and file system of each location."""
    folders: tuple[tuple[str, Callable[[], Path], str, int], ...] = (
        (RUNS, locations.runs_folder, "FTWIZARD_HOME", LOW_RUNS),
        (MODELS, locations.hub_cache_folder, "HF_HOME", LOW_HUB),
        ("disk: cache", locations.cache_folder, "FTWIZARD_CACHE", LOW_TEMP),
        ("disk: temp", lambda: Path(tempfile.gettempdir()), "TMPDIR", LOW_TEMP),
    )
    for name, get_folder, variable, low in folders:
        try:
            yield check_location(name, get_folder(), variable, low)
        except FtwizardError as error:
            yield missing(name, error.message, error.hint)


def check_location(
    name: str, path: Path, variable: str, low: int, *, timeout_s: float = TIMEOUT_S
) -> Check:
    """Check one location; an unresponsive file server delays it by ``timeout_s`` at most."""
    try:
        location = call_with_timeout(timeout_s, inspect_location, path)
    except TimeoutError:
        problem = f"no answer within {timeout_s:.0f} s (file server down?)"
    except OSError as error:
        problem = error.strerror or str(error)
    else:
        return assess_location(name, location, variable, low)
    fix = f"Set {variable} to a folder on a local disk with free space."
    return missing(name, f"{make_visible(str(path))}: {problem}", fix)


def inspect_location(path: Path) -> Location:
    """Inspect the file system that ``path`` is or would be on. Raises OSError."""
    nearest = machine.get_existing_parent(path)
    return Location(
        path=nearest,
        kind=find_file_system(nearest),
        free=machine.get_free_bytes(nearest),
        can_write=os.access(nearest, os.W_OK | os.X_OK),
    )


def find_file_system(path: Path) -> str:
    """Return the type of the file system of ``path``; empty if unknown."""
    mounts = {mount.mountpoint: mount.fstype for mount in psutil.disk_partitions(all=True)}
    real = path.resolve()
    return next((mounts[str(p)] for p in (real, *real.parents) if str(p) in mounts), "")


def assess_location(name: str, location: Location, variable: str, low: int) -> Check:
    """Assess a location; the most severe problem wins."""
    kind = f" ({location.kind})" if location.kind else ""
    detail = f"{format_bytes(location.free)} free at {make_visible(str(location.path))}{kind}"
    other_disk = f"set {variable} to a folder on another disk."
    if not location.can_write:
        # Models can still be read from a shared cache.
        report = warning if name == MODELS else missing
        return report(name, f"{detail}: not writable for you", f"S{other_disk[1:]}")
    if location.free < low:
        return warning(name, detail, f"Free disk space, or {other_disk}")
    if location.kind == "overlay" and name == RUNS:
        fix = f"It is deleted with the container: mount a volume, and {other_disk}"
        return warning(name, detail, fix)
    if location.kind in NETWORK:
        fix = f"Loading and saving is slow, and locks may fail: {other_disk}"
        return warning(name, f"{detail}, over the network", fix)
    return ok(name, detail)
