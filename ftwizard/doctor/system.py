"""Checks of ftwizard, Python and the terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping

from ftwizard import __version__
from ftwizard.doctor.check import Check, ok, warning
from ftwizard.text import make_visible

MIN_SIZE = (60, 16)
"""Columns and rows that the screens need."""


def run_checks() -> Iterator[Check]:
    """Report the versions, and check the terminal."""
    version = ".".join(map(str, sys.version_info[:3]))
    yield ok("ftwizard", __version__)
    yield ok("Python", f"{version} in {make_visible(sys.prefix)}")
    for stream in (sys.stdout, sys.stderr, sys.stdin):
        if stream.isatty():
            size = os.get_terminal_size(stream.fileno())
            encoding = getattr(sys.stdout, "encoding", "") or ""
            yield check_terminal((size.columns, size.lines), os.environ, encoding)
            return


def check_terminal(size: tuple[int, int], environment: Mapping[str, str], encoding: str) -> Check:
    """Check whether the terminal can show the screens."""
    kind = environment.get("TERM", "")
    detail = (
        f"{size[0]}×{size[1]}, {describe_colors(environment)}, {encoding or 'unknown encoding'}"
    )
    if kind in ("", "dumb", "unknown"):
        fix = "Use ftwizard --plain, or export TERM=xterm-256color"
        return warning("terminal", f"TERM is {kind or 'not set'}: it cannot move the cursor", fix)
    if size != (0, 0) and (size[0] < MIN_SIZE[0] or size[1] < MIN_SIZE[1]):
        fix = f"Enlarge it to at least {MIN_SIZE[0]}×{MIN_SIZE[1]}, or use ftwizard --plain."
        return warning("terminal", detail, fix)
    if "utf" not in encoding.lower():
        return warning("terminal", detail, "export LC_ALL=C.UTF-8, or use ftwizard --ascii")
    return ok("terminal", detail)


def describe_colors(environment: Mapping[str, str]) -> str:
    """Describe how many colors the terminal reports."""
    if environment.get("NO_COLOR"):
        return "no colors (NO_COLOR)"
    if environment.get("COLORTERM", "").lower() in ("truecolor", "24bit"):
        return "16 million colors"
    return "256 colors" if "256" in environment.get("TERM", "") else "16 colors"
