"""File entries that the fake Hub returns for a commit."""

from __future__ import annotations

import hashlib
from typing import Any


def is_large(path: str) -> bool:
    """Return whether the Hub would store a file with LFS."""
    return path.endswith((".parquet", ".gz", ".zip", ".arrow"))


def blob_id(data: bytes) -> str:
    """Return the git hash of a file."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def entries_of(files: dict[str, bytes]) -> dict[str, dict[str, Any]]:
    """Return the entry of each file and folder in ``tree`` and ``paths-info``, by path."""
    entries: dict[str, dict[str, Any]] = {}
    for path, data in files.items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folder = "/".join(parts[:depth])
            oid = hashlib.sha1(folder.encode()).hexdigest()
            entries.setdefault(folder, {"type": "directory", "oid": oid, "size": 0, "path": folder})
        entry: dict[str, Any] = {
            "type": "file", "oid": blob_id(data), "size": len(data), "path": path
        }  # fmt: skip
        if is_large(path):
            oid = hashlib.sha256(data).hexdigest()
            entry["lfs"] = {"oid": oid, "size": len(data), "pointerSize": 134}
        entries[path] = entry
    return entries
