"""What a file is that holds no rows of text, told by its first bytes."""

from __future__ import annotations

import re
from typing import NamedTuple

HEAD = 4096
"""Bytes looked at."""
_ROWS = "It needs one JSON object a line."
_ARCHIVE = "Unpack it and name the file in it."
_EXPORT = "Export its rows as JSON Lines."
_WEIGHTS = "It holds a model's weights; name the file that holds the rows."
_PICTURE = "Rows are needed; pictures are named in them."


class Foreign(NamedTuple):
    """What is no data, as a person calls it."""

    code: str
    what: str
    hint: str


# What a file begins with (a Parquet or an Arrow file is read, and not among them).
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
    (b"PK\x03\x04", "binary", "a zip archive (or a spreadsheet)", _ARCHIVE),
    (b"PK\x05\x06", "binary", "an empty zip archive", _ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", "binary", "a 7z archive", _ARCHIVE),
    (b"Rar!\x1a\x07", "binary", "a RAR archive", _ARCHIVE),
    (b"\x04\x22\x4d\x18", "compressed", "compressed by LZ4", "Unpack it: unlz4 FILE"),
    (b"\xff\x06\x00\x00sNaPpY", "compressed", "compressed by Snappy", "Unpack it."),
    (b"PARE", "binary", "an encrypted Parquet file", "Write it without encryption."),
    (b"FEA1", "binary", "a Feather file of version 1", "Write it as Parquet."),
    (b"ORC", "binary", "an ORC file", _EXPORT),
    (b"Obj\x01", "binary", "an Avro file", _EXPORT),
    (b"SQLite format 3\x00", "binary", "an SQLite data base", _EXPORT),
    (b"\x93NUMPY", "binary", "a NumPy array", _EXPORT),
    (b"\x89HDF\r\n\x1a\n", "binary", "an HDF5 file", _EXPORT),
    (b"GGUF", "binary", "a GGUF file", _WEIGHTS),
    (b"%PDF-", "binary", "a PDF document", "Rows are needed, not pages."),
    (b"{\\rtf", "binary", "a word processor's document (RTF)", "Rows are needed, not pages."),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "binary", "an old Office document", _EXPORT),
    (b"\x89PNG\r\n\x1a\n", "binary", "a PNG picture", _PICTURE),
    (b"\xff\xd8\xff", "binary", "a JPEG picture", _PICTURE),
    (b"GIF8", "binary", "a GIF picture", _PICTURE),
    (b"\x7fELF", "binary", "a program", _ROWS),
    (b"age-encryption.org/", "binary", "encrypted by age", "Decrypt it first."),
    (b"-----BEGIN PGP MESSAGE", "binary", "encrypted by PGP", "Decrypt it first."),
)
_TEXT = frozenset(magic for magic, *_ in _MAGIC if len(magic) > 4 and magic.isascii())
_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04\x95", b"\x80\x05\x95")
# A bracket and another character of ASCII.
_FIRST = (
    ("UTF-32LE", rb"[{\[]\0\0\0[^\0]\0\0\0"),
    ("UTF-32BE", rb"\0\0\0[{\[]\0\0\0"),
    ("UTF-16LE", rb"[{\[]\0[^\0]\0"),
    ("UTF-16BE", rb"\0[{\[]\0[^\0]"),
)
_PAGES = (b"<!doctype html", b"<html", b"<?xml")


def foreign(head: bytes) -> Foreign | None:
    """Return what a file that begins so is, None where it may hold rows."""
    for magic, code, what, hint in _MAGIC:
        # Text can begin with the letters of some.
        if head.startswith(magic) and (b"\x00" in head or magic in _TEXT):
            return Foreign(code, what, hint)
    if head[257:262] == b"ustar" and b"\x00" in head:
        return Foreign("binary", "a tar archive", _ARCHIVE)
    if head.startswith(_PICKLES):
        return Foreign("binary", "a Python pickle", _EXPORT)
    if head[8:9] == b"{" and head[4:8] == bytes(4):
        return Foreign("binary", "a safetensors file", _WEIGHTS)
    if head[:HEAD].lstrip().lower().startswith(_PAGES):
        return Foreign(
            "web_page",
            "a web page, not data",
            "It was saved from a page that shows the file: take the link to the raw file.",
        )
    return None


def order_of_utf_16(head: bytes) -> str | None:
    """Return the name of the encoding where text is UTF-16 or UTF-32 without a byte-order mark.

    JSON begins with an ASCII character; of Latin text, nearly every second byte is NUL.
    """
    for name, start in _FIRST:
        if re.match(start, head, re.DOTALL):
            return name
    head = head[:HEAD]
    if len(head) < 4:
        return None
    half = len(head) // 2
    for name, nul in (("UTF-16LE", head[1::2]), ("UTF-16BE", head[::2])):
        if nul.count(0) > 0.6 * half and head.count(0) < 1.2 * nul.count(0):
            return name
    return None
