"""Changes to a file as a whole when its rows are rewritten as JSON Lines in UTF-8."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from ftwizard.data.findings import LineCounter
from ftwizard.data.io.compression import NAMES
from ftwizard.data.io.inspect import Container, read_text
from ftwizard.data.io.lines import Broken, split_lines
from ftwizard.data.io.source import DataSource
from ftwizard.data.platforms import Target


class FileChange(msgspec.Struct, frozen=True):
    """A change to the file as a whole, or the same change to many lines."""

    code: str
    was: str
    now: str
    count: int = 1
    lines: tuple[int, ...] = ()
    """The first ``SHOWN_LINES`` lines concerned."""


def find_changes(path: Path, container: Container, target: Target) -> Iterator[FileChange]:
    """Yield the changes to the file other than those to its rows."""
    if container.compression:
        yield FileChange(
            "compressed", f"compressed with {NAMES[container.compression]}", "unpacked"
        )
    if container.encoding != "utf-8":
        yield FileChange("encoding", container.encoding.upper(), "UTF-8")
    if container.bom and target.bom == "unwanted" and container.encoding == "utf-8":
        yield FileChange("bom", "a byte-order mark", "")
    if target.bom == "needed" and not (container.bom and container.encoding == "utf-8"):
        yield FileChange("bom_missing", "", "a byte-order mark")
    if container.kind != "jsonl":
        yield FileChange("needs_conversion", container.description, "JSON Lines")
    else:
        yield from _find_line_changes(path, container)


def _find_line_changes(path: Path, container: Container) -> Iterator[FileChange]:
    returns, blanks = LineCounter(), LineCounter()
    newline = container.layout.newline
    with DataSource(path, container.identity) as source:
        try:
            for line in split_lines(read_text(source, container), newline):
                if not line.data or line.data.isspace():
                    blanks.add(line.number)
                elif newline == b"\r" or line.data.endswith(b"\r"):
                    returns.add(line.number)
        except Broken:  # the rest is unreadable and reported elsewhere
            pass
    if returns.count:
        was = "\\r" if newline == b"\r" else "\\r\\n"
        yield FileChange("line_end", was, "\\n", returns.count, tuple(returns.first))
    if blanks.count:
        yield FileChange("blank_line", "no row", "", blanks.count, tuple(blanks.first))
