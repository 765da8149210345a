"""Signatures of files that hold no rows, detected from their first bytes."""

from __future__ import annotations

import re
from typing import NamedTuple

HEAD_BYTES = 4096
"""Bytes examined."""
_ROWS = "Use a file with one JSON object per line."
_ARCHIVE = "Unpack it and name the file inside."
_SPREADSHEET = "Save the sheet as CSV, or unpack the archive, and name that file."
_EXPORT = "Export its rows as JSON Lines."
_WEIGHTS = "It holds model weights. Name the file that holds the rows."
_IMAGE = "Name a file of rows that refer to the images."


class ForeignFile(NamedTuple):
    """A file that is not data."""

    code: str
    description: str
    hint: str


# First bytes of files (Parquet and Arrow are readable and therefore not listed).
_MAGIC: tuple[tuple[bytes, str, str, str], ...] = (
    (
        b"version https://git-lfs.github.com/",
        "lfs_pointer",
        "a Git LFS pointer, not the data itself",
        "Fetch the data with: git lfs pull",
    ),
    (
        b"/annex/objects/",
        "lfs_pointer",
        "a git-annex pointer, not the data itself",
        "Fetch the data with: git annex get FILE",
    ),
    (b"PK\x03\x04", "binary", "a spreadsheet or a zip archive", _SPREADSHEET),
    (b"PK\x05\x06", "binary", "an empty zip archive", _ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", "binary", "a 7z archive", _ARCHIVE),
    (b"Rar!\x1a\x07", "binary", "a RAR archive", _ARCHIVE),
    (b"\x04\x22\x4d\x18", "compressed", "compressed with LZ4", "Unpack it: unlz4 FILE"),
    (b"\xff\x06\x00\x00sNaPpY", "compressed", "compressed with Snappy", "Unpack it."),
    (b"PARE", "binary", "an encrypted Parquet file", "Write it without encryption."),
    (b"FEA1", "binary", "a version 1 Feather file", "Write it as Parquet."),
    (b"ORC", "binary", "an ORC file", _EXPORT),
    (b"Obj\x01", "binary", "an Avro file", _EXPORT),
    (b"SQLite format 3\x00", "binary", "an SQLite database", _EXPORT),
    (b"\x93NUMPY", "binary", "a NumPy array", _EXPORT),
    (b"\x89HDF\r\n\x1a\n", "binary", "an HDF5 file", _EXPORT),
    (b"GGUF", "binary", "a GGUF file", _WEIGHTS),
    (b"%PDF-", "binary", "a PDF document", "Extract its text as rows first."),
    (b"{\\rtf", "binary", "an RTF document", "Extract its text as rows first."),
    (
        b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "binary",
        "an old Office document",
        "Save the sheet as CSV.",
    ),
    (b"\x89PNG\r\n\x1a\n", "binary", "a PNG image", _IMAGE),
    (b"\xff\xd8\xff", "binary", "a JPEG image", _IMAGE),
    (b"GIF8", "binary", "a GIF image", _IMAGE),
    (b"\x7fELF", "binary", "a program", _ROWS),
    (b"age-encryption.org/", "binary", "encrypted with age", "Decrypt it first."),
    (b"-----BEGIN PGP MESSAGE", "binary", "encrypted with PGP", "Decrypt it first."),
)
_TEXT = frozenset(magic for magic, *_ in _MAGIC if len(magic) > 4 and magic.isascii())
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04\x95", b"\x80\x05\x95")
# A bracket, then another ASCII character.
_UTF_STARTS = (
    ("UTF-32LE", rb"[{\[]\0\0\0[^\0]\0\0\0"),
    ("UTF-32BE", rb"\0\0\0[{\[]\0\0\0"),
    ("UTF-16LE", rb"[{\[]\0[^\0]\0"),
    ("UTF-16BE", rb"\0[{\[]\0[^\0]"),
)
_HTML_STARTS = (b"<!doctype html", b"<html", b"<?xml")


def identify_foreign(head: bytes) -> ForeignFile | None:
    """Return what kind of file begins with ``head``, or None if it may hold rows."""
    for magic, code, description, hint in _MAGIC:
        # Some signatures are plain letters, with which text can begin as well.
        if head.startswith(magic) and (b"\x00" in head or magic in _TEXT):
            return ForeignFile(code, description, hint)
    if head[257:262] == b"ustar" and b"\x00" in head:
        return ForeignFile("binary", "a tar archive", _ARCHIVE)
    if head.startswith(_PICKLES):
        return ForeignFile("binary", "a Python pickle", _EXPORT)
    if head[8:9] == b"{" and head[4:8] == bytes(4):
        return ForeignFile("binary", "a safetensors file", _WEIGHTS)
    if head[:HEAD_BYTES].lstrip().lower().startswith(_HTML_STARTS):
        return ForeignFile(
            "web_page",
            "a web page, not data",
            "It was saved from a page that shows the file. Download the raw file.",
        )
    return None


def detect_utf_16(head: bytes) -> str | None:
    """Return the encoding of UTF-16 or UTF-32 text without a byte-order mark, else None.

    JSON begins with an ASCII character; in Latin text, nearly every second byte is NUL.
    """
    for name, start in _UTF_STARTS:
        if re.match(start, head, re.DOTALL):
            return name
    head = head[:HEAD_BYTES]
    if len(head) < 4:
        return None
    half = len(head) // 2
    for name, nul in (("UTF-16LE", head[1::2]), ("UTF-16BE", head[::2])):
        if nul.count(0) > 0.6 * half and head.count(0) < 1.2 * nul.count(0):
            return name
    return None
