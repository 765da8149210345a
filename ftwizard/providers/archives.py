"""Safe unpacking of downloaded adapters and models: tar archives, with zstd, gzip or neither.

An archive is hostile until it is unpacked: it may hold links, devices, paths outside its folder, or
more bytes than the disk. The folder appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from ftwizard.errors import FtwizardError
from ftwizard.hardware.machine import get_free_bytes
from ftwizard.text import format_bytes, make_visible

MAX_FILES = 10_000
MIN_FREE_BYTES = 100_000_000
"""Free disk space that is left alone."""
_ZSTD, _GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
_BLOCK_BYTES = 1 << 20
_OF_THE_ARCHIVE = (
    None,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ENAMETOOLONG,
    errno.EINVAL,
)
"""Numbers of errors that the names in an archive cause; gzip's own errors have none."""


class UnsafeArchive(FtwizardError):
    """Raised for an archive that is damaged, or that holds what it must not."""


class DiskTooSmall(FtwizardError):
    """Raised where the content does not fit on the disk."""


def unpack(archive: Path, folder: Path, required: tuple[str, ...]) -> None:
    """Unpack ``archive`` into ``folder``, which is replaced only by a complete one.

    ``required`` are patterns of files that must be in it, next to each other; the folder that has
    them becomes ``folder``. Raises UnsafeArchive and DiskTooSmall; then ``folder`` is as before.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        content = Path(temporary) / "content"
        content.mkdir()
        try:
            with _open(archive) as tar:
                _extract(tar, content)
        except (tarfile.TarError, EOFError, ValueError, OSError, zlib.error) as error:
            if isinstance(error, OSError) and error.errno not in _OF_THE_ARCHIVE:
                raise
            raise UnsafeArchive(
                "The downloaded archive is damaged or incomplete.", "Download it again."
            ) from error
        replace_folder(folder, _find_root(content, required), Path(temporary))


@contextlib.contextmanager
def _open(archive: Path) -> Iterator[tarfile.TarFile]:
    """Open an archive by its first bytes: its name may be wrong."""
    import zstandard

    with archive.open("rb") as file:
        magic = file.read(4)
        file.seek(0)
        stream: IO[bytes] = file
        if magic == _ZSTD:
            # The archive decides how much memory its window takes: 128 MB is zstd's own limit.
            reader = zstandard.ZstdDecompressor(max_window_size=1 << 27)
            stream = cast(IO[bytes], reader.stream_reader(file, read_across_frames=True))
        mode = "r|gz" if magic.startswith(_GZIP) else "r|"
        try:
            with tarfile.open(fileobj=stream, mode=mode) as tar:  # type: ignore[call-overload]
                yield tar
        except zstandard.ZstdError as error:
            raise EOFError(str(error)) from error


def _extract(tar: tarfile.TarFile, content: Path) -> None:
    count, left_bytes = 0, get_free_bytes(content) - MIN_FREE_BYTES
    for member in tar:
        count += 1
        if count > MAX_FILES:
            raise UnsafeArchive(
                f"The downloaded archive holds more than {MAX_FILES:,} files.",
                "It was not unpacked.",
            )
        parts = _check_member(member)
        if member.isdir() or not parts:
            continue
        left_bytes -= member.size
        if left_bytes < 0:
            raise DiskTooSmall(
                f"The downloaded model does not fit on the disk of {content.parent.parent}.",
                f"Free {format_bytes(-left_bytes)} or more, then download it again.",
            )
        source = tar.extractfile(member)
        assert source is not None  # a regular file
        path = content.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        with source, path.open("xb") as file:
            shutil.copyfileobj(source, file, _BLOCK_BYTES)
            file.flush()
            os.fsync(file.fileno())
        if path.stat().st_size != member.size:
            raise EOFError(f"{member.name} ends early")


def _check_member(member: tarfile.TarInfo) -> tuple[str, ...]:
    """Return the parts of the path of a regular file or a folder."""
    path = PurePosixPath(member.name)
    parts = tuple(part for part in path.parts if part != ".")
    is_outside = path.is_absolute() or ".." in parts or "\\" in member.name or "\0" in member.name
    if is_outside or not (member.isreg() or member.isdir()):
        problem = "lies outside its folder" if is_outside else "is a link or a device"
        raise UnsafeArchive(
            f"“{make_visible(member.name, 80)}” in the downloaded archive {problem}.",
            "Nothing was unpacked. Download it again, or report it to the platform.",
        )
    return parts


def _find_root(content: Path, required: tuple[str, ...]) -> Path:
    """Return the folder in ``content`` that has the required files."""
    folders = [content, *sorted(path for path in content.rglob("*") if path.is_dir())]
    for folder in folders:
        if all(any(folder.glob(pattern)) for pattern in required):
            return folder
    raise UnsafeArchive(
        f"The downloaded archive has no {' and '.join(required)}.",
        "Check at the platform what the job made.",
    )


def replace_folder(folder: Path, content: Path, temporary: Path) -> None:
    """Put ``content`` in the place of ``folder``; both and ``temporary`` are on one disk."""
    if folder.exists():
        folder.rename(temporary / "old")
    try:
        content.rename(folder)
    except OSError:
        with contextlib.suppress(OSError):
            (temporary / "old").rename(folder)
        raise
    descriptor = os.open(folder.parent, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
