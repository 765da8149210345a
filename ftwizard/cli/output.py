"""Output of commands: JSON, lines and tables."""

from __future__ import annotations

import argparse
import os
import re
import sys
from typing import TYPE_CHECKING, Any

import msgspec

from ftwizard.text import make_lines_visible, make_visible

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console, RenderableType
    from rich.table import Table

    from ftwizard.errors import FtwizardError


class ErrorDetails(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """``error`` in the JSON output of a command that failed: fields of a ``FtwizardError``."""

    message: str
    hint: str
    code: str = ""
    candidates: tuple[str, ...] = ()


def print_error(error: FtwizardError) -> None:
    """Print an error, and the document that it carries, as JSON."""
    details = ErrorDetails(
        message=error.message, hint=error.hint, code=error.code, candidates=error.candidates
    )
    print_json({"error": details, **error.document})


def print_json(value: Any) -> None:
    """Print one JSON document to stdout.

    Invisible and control characters are escaped; JSON itself requires that only for C0.
    """
    data = msgspec.json.format(msgspec.json.encode(value), indent=2)
    sys.stdout.write(_NOT_ASCII.sub(_escape, data.decode()) + "\n")


_NOT_ASCII = re.compile("[^\n -~]")


def _escape(match: re.Match[str]) -> str:
    char = match[0]
    if make_visible(char) == char:
        return char
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[i : i + 2].hex()}" for i in range(0, len(units), 2))


def has_terminal() -> bool:
    """Return whether stdin, stdout and stderr are terminals."""
    return all(stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr))


def wants_screens(arguments: argparse.Namespace) -> bool:
    """Return whether to open screens: on a terminal that can show them, unless told otherwise."""
    if arguments.plain or arguments.json:
        return False
    return has_terminal() and can_draw()


def can_draw() -> bool:
    """Return whether the terminal can move its cursor."""
    return os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")


def make_console(*, stderr: bool = False) -> Console:
    """Return a console that prints text without interpreting markup."""
    from rich.console import Console

    class Plain(Console):
        def on_broken_pipe(self) -> None:
            raise BrokenPipeError  # dispatch handles it; rich would exit with 1

    return Plain(stderr=stderr, markup=False, highlight=False, emoji=False, soft_wrap=False)


def print_lines(out: Console, *lines: str) -> None:
    """Print lines, wrapped at words on a terminal only."""
    for line in lines:
        out.print(make_lines_visible(line), soft_wrap=not out.is_terminal)


def build_pair_table(rows: Iterable[tuple[str, RenderableType]]) -> Table:
    """Return a table of names and values; long values wrap within their column."""
    from rich.table import Table

    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, make_visible(value) if isinstance(value, str) else value)
    return table
