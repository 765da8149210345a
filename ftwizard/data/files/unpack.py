"""Compressed files unpacked as they are read: bounded memory, and what comes before damage."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Callable, Iterator
from typing import Literal, Protocol

Compression = Literal["gzip", "zstd", "bzip2", "xz"]

WORDS: dict[Compression, str] = {
    "gzip": "gzip", "zstd": "Zstandard", "bzip2": "bzip2", "xz": "xz",
}  # fmt: skip
"""Each as a person calls it."""
_TESTS: dict[Compression, str] = {
    "gzip": "gzip -t FILE", "zstd": "zstd -t FILE", "bzip2": "bzip2 -t FILE", "xz": "xz -t FILE",
}  # fmt: skip
_OUT = 1 << 20
# A block of Zstandard is at most 128 KB and takes 4 bytes at least: 32 MB come out at once at
# most, and the object has no limit of its own.
_ZSTD_IN = 1024
_XZ_MEMORY = 1 << 28


class Damage(Exception):
    """The bytes break off or are damaged here; all that came before is good."""

    code = "compressed"

    def __init__(self, message: str, fix: str) -> None:
        super().__init__(message)
        self.message = message
        self.fix = fix


class _Member(Protocol):
    """One compressed member; a file can hold several, one after another."""

    rest: bytes | None
    """What follows the member; None until its end."""

    def feed(self, data: bytes) -> Iterator[bytes]: ...


def kind(head: bytes) -> Compression | None:
    """Return how a file that begins so is compressed, None where it is not."""
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    # Also a frame to be skipped, which parallel compressors write first.
    if head.startswith(b"\x28\xb5\x2f\xfd") or (
        head[1:4] == b"\x2a\x4d\x18" and 0x50 <= head[0] <= 0x5F
    ):
        return "zstd"
    if head.startswith(b"BZh") and head[4:10] in (b"1AY&SY", b"\x17\x72\x45\x38\x50\x90"):
        return "bzip2"
    return "xz" if head.startswith(b"\xfd7zXZ\x00") else None


def unpacked(blocks: Iterator[bytes], how: Compression) -> Iterator[bytes]:
    """Yield what ``blocks`` hold unpacked, in blocks of bounded size.

    Raises Damage at the place where nothing more can be had; ImportError where this Python has no
    such decompressor.
    """
    make, errors = _decompressor(how)
    member: _Member | None = None
    began = False
    for block in blocks:
        while block:
            if member is None:
                # Tapes and block devices pad with zeros.
                if began and not block.strip(b"\x00"):
                    break
                member, began = make(), True
            try:
                yield from member.feed(block)
            except errors as error:
                raise _damage(how, error) from None
            block, member = (b"", member) if member.rest is None else (member.rest, None)
    if member is not None:
        raise _damage(how, None)


def _damage(how: Compression, error: Exception | None) -> Damage:
    words, test = WORDS[how], _TESTS[how]
    what = "breaks off" if error is None else "is damaged"
    if error is not None and "memory" in str(error).lower():
        return Damage(f"its {words} needs too much memory to unpack", "pack it with less")
    return Damage(f"its {words} {what} here", f"fetch it again, or test it with: {test}")


class _Gzip:
    def __init__(self) -> None:
        self._decoder = zlib.decompressobj(wbits=31)
        self.rest: bytes | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            before = self._decoder.copy()
            try:
                out = self._decoder.decompress(data, _OUT)
            except zlib.error:
                yield from _up_to_damage(before, data)
                raise
            if out:
                yield out
            if self._decoder.eof:
                self.rest = self._decoder.unused_data
                return
            data = self._decoder.unconsumed_tail
            if not data and len(out) < _OUT:
                return


def _up_to_damage(decoder: zlib._Decompress, data: bytes) -> Iterator[bytes]:
    """Yield what comes before an error, which takes its whole step's with it: in steps of a byte."""
    with contextlib.suppress(zlib.error):
        for byte in data:
            out = decoder.decompress(bytes((byte,)))
            if out:
                yield out


class _Buffered:
    """Of bz2 and lzma, which share an interface."""

    def __init__(self, decoder: _Decoder) -> None:
        self._decoder = decoder
        self.rest: bytes | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        while True:
            out = self._decoder.decompress(data, _OUT)
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


def _decompressor(how: Compression) -> tuple[Callable[[], _Member], tuple[type[Exception], ...]]:
    """Return what makes a member's decompressor, and the errors it raises."""
    if how == "gzip":
        return _Gzip, (zlib.error,)
    if how == "bzip2":
        import bz2

        return lambda: _Buffered(bz2.BZ2Decompressor()), (OSError, EOFError)  # type: ignore[arg-type]
    if how == "xz":
        import lzma

        return (
            lambda: _Buffered(lzma.LZMADecompressor(memlimit=_XZ_MEMORY)),  # type: ignore[arg-type]
            (lzma.LZMAError, EOFError),
        )
    import zstandard

    class Zstd:
        def __init__(self) -> None:
            self._decoder = zstandard.ZstdDecompressor().decompressobj()
            self.rest: bytes | None = None

        def feed(self, data: bytes) -> Iterator[bytes]:
            for start in range(0, len(data), _ZSTD_IN):
                if out := self._decoder.decompress(data[start : start + _ZSTD_IN]):
                    yield out
                if self._decoder.eof:
                    self.rest = self._decoder.unused_data + data[start + _ZSTD_IN :]
                    return

    return Zstd, (zstandard.ZstdError,)
