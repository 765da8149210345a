"""What a data file is, by its bytes and never by its name: where rows stand in it, or what it is
instead."""

from __future__ import annotations

import codecs
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec

from ftwizard.data.files import arrow_files, foreign, layout, lines, table_sniff, unpack
from ftwizard.data.files.json_text import HEAD
from ftwizard.data.files.layout import Kind, Layout
from ftwizard.data.files.lines import Encoding
from ftwizard.data.files.source import FileProblem, Identity, Source
from ftwizard.data.files.unpack import Compression, Damage
from ftwizard.data.quoted import quoted

if TYPE_CHECKING:
    from ftwizard.data.checks.found import Found

__all__ = ["Container", "FileProblem", "inspect", "text_of"]

_ROWS = "It needs one JSON object a line."
_BLANKS = b" \t\r\n\x00"
_WORDS: dict[Kind, str] = {
    "jsonl": "JSON Lines", "array": "a JSON array", "objects": "JSON objects over several lines",
    "csv": "a table (CSV)", "tsv": "a table (tabs)", "parquet": "Parquet", "arrow": "Arrow",
}  # fmt: skip


class Container(msgspec.Struct, frozen=True, kw_only=True):
    """A file that rows can be read from."""

    kind: Kind
    """``objects``: JSON objects one after another that each stand on several lines."""
    compression: Compression | None = None
    encoding: Encoding = "utf-8"
    bom: bool = False
    """It begins with a byte-order mark."""
    size: int
    """Bytes of the file as it lies there."""
    identity: Identity
    """Of the file when it was looked at; readers refuse another."""
    layout: Layout

    @property
    def unit(self) -> Literal["line", "row"]:
        """Return what a record's number counts: physical lines, or records where lines say nothing."""
        return self.layout.unit

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of a table's columns, in order; empty for what is no table."""
        return self.layout.dialect.columns if self.layout.dialect else ()

    @property
    def plain(self) -> bool:
        """Say whether rows are lines of UTF-8 that can be read from any byte of the file on."""
        text = self.compression is None and self.encoding == "utf-8"
        return self.kind == "jsonl" and text and self.layout.newline == b"\n"

    @property
    def words(self) -> str:
        """Say what the file is: ``a JSON array, compressed by gzip``."""
        found = _WORDS[self.kind]
        return (
            f"{found}, compressed by {unpack.WORDS[self.compression]}"
            if self.compression
            else found
        )

    def hosted_ready(self, bom: Literal["needed", "unwanted"] = "unwanted") -> Found | None:
        """Return what keeps a host that takes uploads from reading the file as it is, else None.

        ``bom``: what the host wants of the byte-order mark. Codes: ``compressed``, ``parquet``,
        ``needs_conversion`` (another layout), ``encoding``, ``bom``, ``bom_missing``.
        """
        from ftwizard.data.checks.found import Found  # checks read files

        fix = "convert it: ftwizard convert"
        if self.compression:
            words = unpack.WORDS[self.compression]
            return Found(
                "compressed", f"the file is compressed by {words}, and no host unpacks it",
                f"unpack it, or {fix}",
            )  # fmt: skip
        if self.kind == "parquet":
            return Found("parquet", "the file is Parquet; JSON Lines are taken", fix)
        if self.kind != "jsonl":
            return Found("needs_conversion", f"the file is {self.words}; JSON Lines are taken", fix)
        if self.encoding != "utf-8":
            return Found("encoding", f"the file is {self.encoding.upper()}; UTF-8 is taken", fix)
        if self.layout.newline != b"\n":
            return Found("needs_conversion", "its lines end in carriage returns alone", fix)
        if self.bom and bom == "unwanted":
            return Found("bom", "the file begins with a byte-order mark", f"take it out, or {fix}")
        if not self.bom and bom == "needed":
            return Found("bom_missing", "the file begins without a byte-order mark", fix)
        return None


def inspect(path: Path) -> Container:
    """Look at a file's head and return what it is; it is never waited for, as a pipe would be.

    Of a file that begins as JSON without a line feed, more is read: up to the second line, at most
    ``lines.MAX_LINE``. Raises FileProblem for what holds no rows, and names it.
    """
    with Source(path) as source:
        if not source.size:
            raise FileProblem("file_empty", f"{source.shown} is empty.", _ROWS)
        return _inspected(source)


def text_of(source: Source, container: Container) -> Iterator[bytes]:
    """Yield the text of a file in UTF-8, unpacked, in blocks; raises Damage where it breaks off.

    Bytes that are not UTF-8 pass as they are.
    """
    blocks = source.blocks()
    if container.compression:
        blocks = unpack.unpacked(blocks, container.compression)
    return lines.text(blocks, container.encoding)


def _inspected(source: Source) -> Container:
    compression = unpack.kind(source.read(0, HEAD))
    blocks = source.blocks()
    if compression:
        blocks = _unpacked(source, compression)
    taken = _Taken(blocks, HEAD)
    if compression and not taken.head:
        raise _nothing_in_it(source, compression, taken.damage)
    kind = _binary_kind(source, taken.head, compression)
    encoding, bom = lines.encoding(taken.head)

    def container(layout: Layout) -> Container:
        return Container(
            kind=layout.kind,
            compression=compression,
            encoding=encoding,
            bom=bom,
            size=source.size,
            identity=source.identity,
            layout=layout,
        )

    if kind:
        return container(Layout(kind=kind, unit="row"))
    text = _Taken(lines.text(taken.all(), encoding), HEAD)
    while not text.head.strip(_BLANKS) and text.more(HEAD):
        pass
    _require_text(source, text.head, compression, encoding)
    found = layout.of(text.head, text.rest, whole=text.whole)
    _require_columns(source, found)
    source.check_unchanged()
    return container(found)


def _unpacked(source: Source, compression: Compression) -> Iterator[bytes]:
    try:
        yield from unpack.unpacked(source.blocks(), compression)
    except ImportError:
        raise FileProblem(
            "compressed",
            f"{source.shown} is compressed by {unpack.WORDS[compression]}, which this Python "
            "cannot unpack.",
            "Unpack it and name the file in it.",
        ) from None


class _Taken:
    """The head of blocks, and what follows it."""

    def __init__(self, blocks: Iterator[bytes], count: int) -> None:
        self.rest = blocks
        self.head = b""
        self.whole = False
        self.damage: Damage | None = None
        self.more(count)

    def more(self, count: int) -> bool:
        """Take another head of about ``count`` bytes; False where there is none."""
        parts, size = list[bytes](), 0
        try:
            while size < count and (block := next(self.rest, b"")):
                parts.append(block)
                size += len(block)
        except Damage as damage:
            self.damage = damage
        self.whole = size < count
        if size or not self.head:
            self.head = b"".join(parts)
        return size > 0

    def all(self) -> Iterator[bytes]:
        return itertools.chain([self.head], self.rest)


def _nothing_in_it(source: Source, compression: Compression, damage: Damage | None) -> FileProblem:
    if damage is None:
        return FileProblem(
            "file_empty", f"{source.shown} holds nothing once it is unpacked.", _ROWS
        )
    return FileProblem(
        "compressed",
        f"{source.shown} cannot be unpacked: {damage.message}.",
        damage.fix[:1].upper() + damage.fix[1:] + ".",
    )


def _no_data(source: Source, found: foreign.Foreign) -> FileProblem:
    lines = (1,) if found.code == "lfs_pointer" else ()  # it is a line of text like any other
    return FileProblem(found.code, f"{source.shown} is {found.what}.", found.hint, lines=lines)


def _binary_kind(source: Source, head: bytes, compression: Compression | None) -> Kind | None:
    """Return the kind of a file of columns; raise FileProblem for what holds no rows."""
    kind: Kind | None = None
    if head.startswith(b"PAR1") and b"\x00" in head:
        kind = "parquet"
    elif arrow_files.is_arrow_file(head) or arrow_files.is_arrow_stream(head):
        kind = "arrow"
    if kind == "parquet" and not compression and source.read(source.size - 4, 4) != b"PAR1":
        raise FileProblem(
            "binary",
            f"{source.shown} begins as Parquet but breaks off: its end is missing.",
            "Fetch it again.",
        )
    if kind and compression:
        raise FileProblem(
            "compressed",
            f"{source.shown} is {_WORDS[kind]}, compressed by {unpack.WORDS[compression]} as a whole.",
            "Unpack it first: it is read from its end.",
        )
    if kind is None and (found := foreign.foreign(head)):
        raise _no_data(source, found)
    return kind


def _require_text(
    source: Source, head: bytes, compression: Compression | None, encoding: Encoding
) -> None:
    """Raise FileProblem where the ``head`` of a text is no text, or nothing."""
    if not head.strip(_BLANKS):
        what = "is empty" if not head.strip() else "holds nothing but blanks"
        if compression:
            what = "holds nothing once it is unpacked"
        raise FileProblem("file_empty", f"{source.shown} {what}.", _ROWS)
    if found := foreign.foreign(head):
        raise _no_data(source, found)
    if encoding == "utf-8" and (name := foreign.order_of_utf_16(head)):
        raise FileProblem(
            "encoding",
            f"{source.shown} looks like {name[:-2]} without a byte-order mark.",
            f"Convert it: iconv -f {name} -t UTF-8 OLD > NEW",
        )
    # What begins as JSON has rows, whatever becomes of it.
    is_json = head.lstrip(_BLANKS)[:1] in (b"{", b"[")
    if not is_json and b"\x00" in head[: foreign.HEAD] and not _is_utf_8(head):
        raise FileProblem("binary", f"{source.shown} is no text.", _ROWS)


def _is_utf_8(head: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return True


def _require_columns(source: Source, found: Layout) -> None:
    """Raise FileProblem where a table's columns have no names, or two have one."""
    if found.dialect is None:
        return
    columns = found.dialect.columns
    if not found.named:
        shown = quoted(found.dialect.delimiter.join(columns), 60)
        raise FileProblem(
            "missing_column",
            f"{source.shown} is a table whose first line names no columns: “{shown}”.",
            "Put a line with their names before it, for example: prompt,completion",
        )
    if name := table_sniff.repeated(columns):
        raise FileProblem(
            "duplicate_column",
            f"{source.shown} is a table with two columns called “{quoted(name, 40)}”.",
            "Rename one or take it out: which of them counts cannot be told.",
        )
