"""Content of a run's base weights, in ``base.json``: whether they are still those it began with.

The worker hashes them once, in a thread of low priority after they were loaded. Later, a file with
the same device, inode, size and times counts as the same; of any other, all bytes are hashed again.
No program can set a file's change time (ctime), so that a changed byte is noticed even where size
and modification time were restored. Damage below the file system, which changes no time, is not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import xxhash

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder, has_hash, hash_file, read_json, write_json
from ftwizard.models import weight_files
from ftwizard.text import format_bytes, make_visible

if TYPE_CHECKING:
    from ftwizard.models.hub import ModelSource

HINT = "Restore the old files, or start a new run."
_THREAD = "base-weights"
_LOWEST_PRIORITY = 19
Stamp = tuple[int, int, int, int, int]
"""Device, inode, size in bytes, and nanoseconds of the modification and of the change of a file."""


class BaseFile(msgspec.Struct, frozen=True, kw_only=True):
    stamp: Stamp
    digest: str | None = msgspec.field(default=None, name="hash")
    """XXH3-128 of its bytes; None if the run ended before it was computed."""


class BaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """``base.json``: the weight files that a run loaded, by name."""

    files: dict[str, BaseFile]


def read_source(folder: JobFolder) -> ModelSource | None:
    """Return where the base model of a run came from; None if that is not recorded."""
    from ftwizard.models.hub import ModelSource  # loads the catalog, which views do not need

    try:
        return msgspec.convert(folder.read_job().inputs["model"], ModelSource)
    except (OSError, FtwizardError, KeyError, msgspec.ValidationError):
        return None


def require_unchanged(
    folder: JobFolder,
    base: Path,
    hint: str = HINT,
    say: Callable[[str], None] = lambda subject: None,
) -> None:
    """Raise FtwizardError if the weights in ``base`` are not those that a run began with.

    Nothing is compared before its model was loaded. ``say``
    gets what is being read, which takes as long as the disk needs for it.
    """
    record = read_json(folder.base, BaseRecord)
    stamps = read_stamps(base)
    if record is None or stamps == _get_stamps(record):
        return
    if record.files.keys() != stamps.keys():
        raise _make_error(folder, base, "changed", hint)
    for name, file in record.files.items():
        stamp, path = stamps[name], base / name
        if stamp == file.stamp:
            continue
        if stamp is None:
            raise _make_error(folder, path, "are gone", hint)
        if stamp[2] != file.stamp[2]:
            raise _make_error(folder, path, "changed", hint)
        if file.digest is None:
            problem = "may have changed (replaced or touched, and not hashed yet)"
            raise _make_error(folder, path, problem, hint)
        say(f"{name} ({format_bytes(file.stamp[2])}), which was replaced, moved or touched")
        if not has_hash(path, file.digest):
            raise _make_error(folder, path, "changed", hint)
    files = {
        name: msgspec.structs.replace(file, stamp=stamps[name])
        for name, file in record.files.items()
    }
    with contextlib.suppress(OSError):  # then it is read again next time
        write_json(folder.base, BaseRecord(files=files))


def _make_error(folder: JobFolder, path: Path, problem: str, hint: str) -> FtwizardError:
    when = f"since run {make_visible(folder.id)} started"
    return FtwizardError(
        f"The base weights {make_visible(str(path))} {problem} {when}.",
        hint,
    )


def read_stamps(base: Path) -> dict[str, Stamp | None]:
    """Return the stamp of each weight file of a model folder by name; None for a missing one."""
    return {path.name: read_stamp(path) for path in weight_files.list_files(base)}


def read_stamp(path: Path) -> Stamp | None:
    """Return the stamp of one file; None for a missing one."""
    try:
        status = path.stat()  # of the file that a link in the Hub's cache means
    except OSError:
        return None
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


def _get_stamps(record: BaseRecord) -> dict[str, Stamp | None]:
    return {name: file.stamp for name, file in record.files.items()}


def record_later(folder: JobFolder, base: Path, stamps: dict[str, Stamp | None]) -> None:
    """Record the files that were just loaded, and hash what is not hashed yet in a thread.

    ``stamps`` are from before they were loaded. A file that changes meanwhile gets no hash.
    """
    old = read_json(folder.base, BaseRecord) or BaseRecord(files={})
    files = {
        name: old.files.get(name) or BaseFile(stamp=stamp)
        for name, stamp in stamps.items()
        if stamp
    }
    if all(file.digest for file in files.values()):
        return
    write_json(folder.base, BaseRecord(files=files))
    threading.Thread(
        target=_hash_files, args=(folder, base, files), name=_THREAD, daemon=True
    ).start()


def wait() -> None:
    """Wait until this process has recorded all hashes."""
    for thread in threading.enumerate():
        if thread.name == _THREAD:
            thread.join()


def _hash_files(folder: JobFolder, base: Path, files: dict[str, BaseFile]) -> None:
    with contextlib.suppress(OSError):  # Linux has a priority for each thread
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
    for name, file in files.items():
        with contextlib.suppress(OSError):
            digest = file.digest or hash_file(base / name)
            if read_stamp(base / name) == file.stamp:
                files = files | {name: msgspec.structs.replace(file, digest=digest)}
    with contextlib.suppress(OSError):
        write_json(folder.base, BaseRecord(files=files))


def copy_record(parent: JobFolder, child: JobFolder) -> None:
    """Compare the base weights of ``child`` with those that ``parent`` began with."""
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(parent.base, child.base)


def identify(folder: JobFolder) -> str | None:
    """Return one hash of all base weights of a run; None if they are not all recorded."""
    record = read_json(folder.base, BaseRecord)
    digests = sorted((name, file.digest) for name, file in record.files.items()) if record else []
    if not digests or not all(digest for _, digest in digests):
        return None
    return xxhash.xxh3_128_hexdigest(msgspec.json.encode(digests))
