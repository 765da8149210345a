"""Archives as the service packs them."""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import zstandard


def pack(folder: Path, compression: str = "zst") -> bytes:
    """Pack the files of a folder, which lie at the root of the archive."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for path in sorted(folder.rglob("*")):
            tar.add(path, arcname=f"./{path.relative_to(folder)}", recursive=False)
    return compress(stream.getvalue(), compression)


def compress(data: bytes, compression: str) -> bytes:
    if compression == "zst":
        return zstandard.ZstdCompressor().compress(data)
    return gzip.compress(data) if compression == "gz" else data
