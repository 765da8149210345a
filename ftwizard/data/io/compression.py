"""Streaming decompression in bounded memory, up to the first damage."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator
from typing import Literal, Protocol

Compression = Literal["gzip", "zstd", "bzip2", "xz"]

NAMES: dict[Compression, str] = {
    "gzip": "gzip", "zstd": "Zstandard", "bzip2": "bzip2", "xz": "xz",
}  # fmt: skip
"""Display names."""
_TEST_COMMANDS: dict[Compression, str] = {
    "gzip": "gzip -t FILE", "zstd": "zstd -t FILE", "bzip2": "bzip2 -t FILE", "xz": "xz -t FILE",
}  # fmt: skip
_MAX_OUT_BYTES = 1 << 20
# A Zstandard block of 4 bytes or more expands to at most 128 KB. So 1,024 bytes yield at most 32 MB
# at once; the decompressor has no limit of its own.
_MAX_ZSTD_IN_BYTES = 1024
_MAX_XZ_BYTES = 1 << 28


class Damage(Exception):
    """The bytes are truncated or damaged here; everything before is intact."""

    code = "compressed"

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class _Member(Protocol):
    """One compressed member; a file can hold several in sequence."""

    rest: bytes | None
    """The bytes after the member; None until its end."""

    def feed(self, data: bytes) -> Iterator[bytes]: ...


def detect_compression(head: bytes) -> Compression | None:
    """Return the compression of a file that begins with ``head``, or None."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    # Or a skippable frame, which parallel compressors write first.
    if head.startswith(b"\x28\xb5\x2f\xfd") or (
        head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F
    ):
        return "zstd"
    if head.startswith(b"BZh") and head[4:10] in (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"):
        return "bzip2"
    return "xz" if head.startswith(b"\xfd7zXZ\x00") else None


def decompress(blocks: Iterator[bytes], compression: Compression) -> Iterator[bytes]:
    """Yield the decompressed contents of ``blocks``, in blocks of bounded size.

    Raises Damage where nothing more can be decompressed, and ImportError if this Python lacks the
    decompressor.
    """
    make, errors = _find_decompressor(compression)
    member: _Member | None = None
    began = False
    for block in blocks:
        while block:
            if member is None:
                # Tapes and block devices pad files with zeros.
                if began and not block.strip(b"\x00"):
                    break
                member, began = make(), True
            try:
                yield from member.feed(block)
            except errors as error:
                raise _to_damage(compression, error) from None
            block, member = (b"", member) if member.rest is None else (member.rest, None)
    if member is not None:
        raise _to_damage(compression, None)


def _to_damage(compression: Compression, error: Exception | None) -> Damage:
    name, command = NAMES[compression], _TEST_COMMANDS[compression]
    state = "truncated" if error is None else "damaged"
    if error is not None and "memory" in str(error).lower():
        return Damage(
            f"its {name} data needs too much memory to unpack", "compress it at a lower level"
        )
    return Damage(
        f"its {name} data is {state} here", f"download it again, or test it with: {command}"
    )


class _Gzip:
    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)
        self.rest: bytes | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            before = self._decoder.copy()
            try:
                out = self._decoder.decompress(data, _MAX_OUT_BYTES)
            except zlib.error:
                yield from _read_until_damage(before, data)
                raise
            if out:
                yield out
            if self._decoder.eof:
                self.rest = self._decoder.unused_data
                return
            data = self._decoder.unconsumed_tail
            if not data and len(out) < _MAX_OUT_BYTES:
                return


def _read_until_damage(decoder: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """Yield the output before an error, byte by byte; a failing step loses its whole output."""
    with contextlib.suppress(zlib.error):
        for byte in data:
            out = decoder.decompress(bytes((byte,)))
            if out:
                yield out


class _Buffered:
    """Decompression with bz2 and lzma, which share an interface."""

    def __init__(self, decoder: _Decoder) -> None:
        self._decoder = decoder
        self.rest: bytes | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            out = self._decoder.decompress(data, _MAX_OUT_BYTES)
            if out:
                yield out
            if self._decoder.eof:
                self.rest = self._decoder.unused_data
                return
            if self._decoder.needs_input:
                return
            data = b""


class _Decoder(Protocol):
    eof: bool
    needs_input: bool
    unused_data: bytes

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


def _find_decompressor(
    compression: Compression,
) -> tuple[Callable[[], _Member], tuple[type[Exception], ...]]:
    """Return a factory of decompressors for members, and the errors that these raise."""
    if compression == "gzip":
        return _Gzip, (zlib.error,)
    if compression == "bzip2":
        import bz2

        return lambda: _Buffered(bz2.BZ2Decompressor()), (OSError, EOFError)  # type: ignore[arg-type]
    if compression == "xz":
        import lzma

        return (
            lambda: _Buffered(lzma.LZMADecompressor(memlimit=_MAX_XZ_BYTES)),  # type: ignore[arg-type]
            (lzma.LZMAError, EOFError),
        )
    import zstandard

    class Zstd:
        def __init__(self) -> None:
            self._decoder = zstandard.ZstdDecompressor().decompressobj()
            self.rest: bytes | None = None

        def feed(self, data: bytes) -> Iterator[bytes]:
            for start in range(0, len(data), _MAX_ZSTD_IN_BYTES):
                if out := self._decoder.decompress(data[start : start + _MAX_ZSTD_IN_BYTES]):
                    yield out
                if self._decoder.eof:
                    self.rest = self._decoder.unused_data + data[start + _MAX_ZSTD_IN_BYTES :]
                    return

    return Zstd, (zstandard.ZstdError,)
