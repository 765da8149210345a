"""What commands print."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from ftwizard.text import visible, visible_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, RenderableType
    from rich.table import Table


def print_json(value: Any) -> None:
    """Print one JSON document, and nothing else, on stdout.

    What a terminal would obey, or nobody would see, is escaped: JSON allows all but C0 as it is.
    """
    data = msgspec.json.format(msgspec.json.encode(value), indent=2)
    sys.stdout.write(_NOT_ASCII.sub(_escaped, data.decode()) + "\n")


_NOT_ASCII = re.compile("[^\n -~]")


def _escaped(match: re.Match[str]) -> str:
    char = match[0]
    if visible(char) == char:
        return char
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def has_terminal() -> bool:
    """Say whether a person is at both ends."""
    return all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


def wants_screens(arguments: argparse.Namespace) -> bool:
    """Say whether to answer with screens: at a terminal that can show them, unless asked not to."""
    if arguments.plain or arguments.json:
        return False
    return has_terminal() and can_draw()


def can_draw() -> bool:
    """Say whether the terminal is one on which a cursor can be moved."""
    return os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def console(*, stderr: bool = False) -> Console:
    """Return a console that obeys no markup in what it prints."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # the door knows what to do; rich would exit with 1

    return Plain(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=False)


def say(out: Console, *lines: str) -> None:
    """Print lines: wrapped at words on a terminal, left whole in a pipe or a log."""
    for line in lines:
        out.print(visible_lines(line), soft_wrap=not out.is_terminal)


def pairs(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Return names and values in two columns; long values wrap within theirs."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, visible(value) if isinstance(value, str) else value)
    return table
