"""``doctor``: what this machine can do, and what is missing."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ftwizard import doctor as engine
from ftwizard.commands import output, progress
from ftwizard.doctor import Check
from ftwizard.text import plural

if TYPE_CHECKING:
    from rich.console import RenderableType

MARKS = {"ok": "✓", "warning": "!", "missing": "✗"}


def doctor(arguments: argparse.Namespace) -> int:
    """Print each check with what to do about it; 1 if something that training needs is missing.

    A screen hears what is found as it is found.
    """
    with progress.reporter(shown=not arguments.json) as say:
        say("looking at this machine")
        found, driver = engine.quick()
        say.show({"checks": found})
        if not arguments.quick:
            for one in engine.trial(driver):
                if isinstance(one, engine.Doing):
                    say("trying", what=one.what)
                else:
                    found = engine.merge(found, one)
                    say.show({"checks": found})
    if arguments.json:
        output.print_json({"checks": found})
    else:
        _print(found)
    return 1 if any(one.status == "missing" for one in found) else 0


def _print(found: Iterable[Check]) -> None:
    out = output.console()
    checks = list(found)
    out.print(output.pairs(row for one in checks for row in _rows(one)))
    out.print(f"\n{summary(checks)}")


def _rows(one: Check) -> Iterator[tuple[str, RenderableType]]:
    """Yield what was found; below it what to do, a command on a line of its own."""
    from rich.padding import Padding
    from rich.text import Text

    yield f"{MARKS[one.status]} {one.name}", Text(one.found)
    for line in one.fix.splitlines():
        yield "", Padding(Text(line), (0, 0, 0, 2))


def summary(checks: list[Check]) -> str:
    """Return in a line how it stands."""
    missing = sum(one.status == "missing" for one in checks)
    warnings = sum(one.status == "warning" for one in checks)
    if not missing and not warnings:
        return "✓ Training can start here: nothing is missing."
    first = f"✗ {missing} missing" if missing else "✓ Nothing is missing"
    return f"{first}, {plural(warnings, 'warning')}." if warnings else f"{first}."
