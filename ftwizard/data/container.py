"""What a data file is, by its bytes and never by its name: text with rows, or named for what it is."""

from __future__ import annotations

import codecs
import errno
import gzip
import os
import stat
import zlib
from pathlib import Path

from ftwizard.errors import FtwizardError
from ftwizard.text import visible

_ROWS = "It needs one JSON object a line."
_HEAD = 4096
_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as UTF-16's does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_GZIP = b"\x1f\x8b"
_FOREIGN = (
    (
        b"PAR1",
        "binary",
        "a Parquet file",
        "Save it as JSON Lines: Dataset.from_parquet(…).to_json(…).",
    ),
    (
        b"ARROW1",
        "binary",
        "an Arrow file",
        "Save it as JSON Lines: Dataset.from_file(…).to_json(…).",
    ),
    (b"\x28\xb5\x2f\xfd", "compressed", "compressed by Zstandard", "Unpack it: zstd -d FILE"),
    (b"\xfd7zXZ\x00", "compressed", "compressed by xz", "Unpack it: unxz FILE"),
    (b"BZh", "compressed", "compressed by bzip2", "Unpack it: bunzip2 FILE"),
    (
        b"PK\x03\x04",
        "binary",
        "a zip archive (or a spreadsheet)",
        "Unpack it and name the file in it.",
    ),
    (b"7z\xbc\xaf\x27\x1c", "binary", "a 7z archive", "Unpack it and name the file in it."),
    (b"SQLite format 3\x00", "binary", "an SQLite data base", "Export its rows as JSON Lines."),
    (b"%PDF-", "binary", "a PDF document", "Rows are needed, not pages."),
    (
        b"version https://git-lfs.github.com/",
        "lfs_pointer",
        "a Git LFS pointer, not the data itself",
        "Fetch the data with: git lfs pull",
    ),
)
_PAGES = (b"<!doctype html", b"<html", b"<?xml")


class FileProblem(FtwizardError):
    """A file holds no rows that can be read; ``code`` names why, and is stable."""

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        super().__init__(message, hint)
        self.code = code


def load(path: Path) -> bytes:
    """Return the bytes of a regular file; it is never waited for, as a pipe would be.

    Raises FileProblem: not there, no file, not readable, changed while it was read, or empty.
    """
    shown = visible(str(path))
    try:
        # A pipe that nobody writes to would hold an open without O_NONBLOCK for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise FileProblem(
            "not_found", f"There is no data file {shown}.", "Check the name: upper and lower case "
            "count.",
        ) from None  # fmt: skip
    except OSError as error:
        raise _unopened(shown, error) from None
    except ValueError:
        raise FileProblem(
            "not_found", f"{shown} is no name that a file can have.", "Check it."
        ) from None
    try:
        before = os.fstat(descriptor)
        _require_regular(shown, before.st_mode)
        with open(descriptor, "rb", closefd=False) as file:
            data = file.read()
        after = os.fstat(descriptor)
    except OSError as error:
        raise FileProblem("unreadable", f"{shown} cannot be read: {error.strerror}.") from None
    finally:
        os.close(descriptor)
    if (before.st_size, before.st_mtime_ns) != (after.st_size, after.st_mtime_ns):
        raise FileProblem(
            "changed", f"{shown} changed while it was read.", "Wait until it is written whole."
        )
    if not data.strip():
        raise FileProblem("file_empty", f"{shown} is empty.", _ROWS)
    return data


def text(path: Path, data: bytes) -> str:
    """Return the text that a file's bytes hold: UTF-8, what a byte-order mark names, gzip of these.

    A byte that is not UTF-8 comes as its surrogate escape (U+DC80 to U+DCFF), so that its row can
    be named and the others are kept. Raises FileProblem for everything that is no text.
    """
    if data.startswith(_GZIP):
        data = _unpacked(path, data)
    shown = visible(str(path))
    for magic, code, what, hint in _FOREIGN:
        if data.startswith(magic):
            raise FileProblem(code, f"{shown} is {what}.", hint)
    if data[:_HEAD].lstrip().lower().startswith(_PAGES):
        raise FileProblem(
            "web_page",
            f"{shown} is a web page, not data.",
            "It was saved from a page that shows the file: take the link to the raw file.",
        )
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            return _decoded(shown, data, encoding)
    if order := _utf_16_order(data):
        raise FileProblem(
            "encoding",
            f"{shown} looks like UTF-16 without a byte-order mark.",
            f"Convert it: iconv -f UTF-16{order} -t UTF-8 OLD > NEW",
        )
    return _decoded(shown, data, "utf-8")


def _unopened(shown: str, error: OSError) -> FileProblem:
    if error.errno == errno.ELOOP:
        return FileProblem("unreadable", f"{shown} is a link that leads back to itself.")
    if error.errno == errno.ENXIO:
        return FileProblem("not_a_file", f"{shown} is a socket or has no device behind it.")
    hint = "Ask its owner, or copy it." if error.errno in (errno.EACCES, errno.EPERM) else ""
    return FileProblem("unreadable", f"{shown} cannot be read: {error.strerror}.", hint)


def _require_regular(shown: str, mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise FileProblem("not_a_file", f"{shown} is a folder.", "Name the data file in it.")
    what = "a pipe" if stat.S_ISFIFO(mode) else "a device"
    raise FileProblem(
        "not_a_file", f"{shown} is no regular file but {what}.", "Save the rows to a file first."
    )


def _unpacked(path: Path, data: bytes) -> bytes:
    shown = visible(str(path))
    try:
        unpacked = gzip.decompress(data)
    except (OSError, EOFError, zlib.error):
        raise FileProblem(
            "compressed",
            f"{shown} is a gzip file that breaks off or is damaged.",
            "Fetch it again, or test it with: gzip -t FILE",
        ) from None
    except MemoryError:
        raise FileProblem(
            "compressed", f"{shown} does not fit into memory unpacked.", "Take a part of it."
        ) from None
    if not unpacked.strip():
        raise FileProblem("file_empty", f"{shown} holds nothing once it is unpacked.", _ROWS)
    return unpacked


def _utf_16_order(data: bytes) -> str | None:
    """Return ``LE`` or ``BE`` where nearly every second byte is NUL, as in UTF-16 of Latin text."""
    head = data[:_HEAD]
    if len(head) < 4:
        return None
    half = len(head) // 2
    for order, nul in (("LE", head[1::2]), ("BE", head[::2])):
        if nul.count(0) > 0.6 * half and head.count(0) < 1.2 * nul.count(0):
            return order
    return None


def _decoded(shown: str, data: bytes, encoding: str) -> str:
    try:
        found = data.decode(encoding)
    except UnicodeDecodeError as error:
        place = min(error.start, len(data) - 1)
        if encoding not in ("utf-8", "utf-8-sig"):
            raise FileProblem(
                "encoding",
                f"{shown} begins as {encoding.upper()} but is damaged at byte {place:,}.",
            ) from None
        if b"\x00" in data[:_HEAD]:
            raise FileProblem("binary", f"{shown} is no text.", _ROWS) from None
        found = data.decode(encoding, errors="surrogateescape")
    if not found.strip("\x00 \t\r\n\ufeff"):
        raise FileProblem("file_empty", f"{shown} holds nothing but blanks.", _ROWS)
    return found
