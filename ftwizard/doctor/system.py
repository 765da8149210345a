"""Python, ftwizard and the terminal, in brief."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping

from ftwizard import __version__
from ftwizard.doctor.check import Check, ok, warning
from ftwizard.text import visible

LEAST = (60, 16)
"""Columns and rows that the screens need."""


def look() -> Iterator[Check]:
    """Say which versions these are, and what the terminal can show."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield ok("ftwizard", __version__)
    yield ok("Python", f"{version} in {visible(sys.prefix)}")
    for stream in (sys.stdout, sys.stderr, sys.stdin):
        if stream.isatty():
            size = os.get_terminal_size(stream.fileno())
            encoding = getattr(sys.stdout, "encoding", "") or ""
            yield terminal((size.columns, size.lines), os.environ, encoding)
            return


def terminal(size: tuple[int, int], environment: Mapping[str, str], encoding: str) -> Check:
    """Say whether the screens can be shown."""
    kind = environment.get("TERM", "")
    found = f"{size[0]}×{size[1]}, {colours(environment)}, {encoding or 'unknown encoding'}"
    if kind in ("", "dumb", "unknown"):
        fix = "Use ftwizard --plain, or export TERM=xterm-256color"
        return warning("terminal", f"TERM is {kind or 'not set'}: no cursor can be moved", fix)
    if size != (0, 0) and (size[0] < LEAST[0] or size[1] < LEAST[1]):
        fix = f"Enlarge it to {LEAST[0]}×{LEAST[1]} at least, or use ftwizard --plain."
        return warning("terminal", found, fix)
    if "utf" not in encoding.lower():
        return warning("terminal", found, "export LC_ALL=C.UTF-8, or use ftwizard --ascii")
    return ok("terminal", found)


def colours(environment: Mapping[str, str]) -> str:
    """Return how many colours the terminal says that it has."""
    if environment.get("NO_COLOR"):
        return "no colours (NO_COLOR)"
    if environment.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return "16 million colours"
    return "256 colours" if "256" in environment.get("TERM", "") else "16 colours"
