"""``doctor``: what this machine can do and what is missing."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from ftwizard.cli import output, progress
from ftwizard.doctor import Check, Started, merge, run_quick_checks, run_trial
from ftwizard.text import format_count

if TYPE_CHECKING:
    from rich.console import RenderableType

MARKS = {"ok": "✓", "warning": "!", "missing": "✗"}


def doctor(arguments: argparse.Namespace) -> int:
    """Print each check with its fix; return 1 if something that training needs is missing.

    A screen receives each result as soon as it is known.
    """
    with progress.reporter(shown=not arguments.json) as say:
        say("looking at this machine")
        checks, driver = run_quick_checks()
        say.show({"checks": checks})
        if not arguments.quick:
            for step in run_trial(driver):
                if isinstance(step, Started):
                    say("trying", what=step.action)
                else:
                    checks = merge(checks, step)
                    say.show({"checks": checks})
    if arguments.json:
        output.print_json({"checks": checks})
    else:
        _print(checks)
    return 1 if any(check.status == "missing" for check in checks) else 0


def _print(results: Iterable[Check]) -> None:
    out = output.make_console()
    checks = list(results)
    out.print(output.build_pair_table(row for check in checks for row in _check_rows(check)))
    out.print(f"\n{summarize(checks)}")


def _check_rows(check: Check) -> Iterator[tuple[str, RenderableType]]:
    """Yield the result, and below it the fix, one line per command."""
    from rich.padding import Padding
    from rich.text import Text

    yield f"{MARKS[check.status]} {check.name}", Text(check.detail)
    for line in check.fix.splitlines():
        yield "", Padding(Text(line), (0, 0, 0, 2))


def summarize(checks: list[Check]) -> str:
    """Summarize the checks in a line."""
    missing = sum(check.status == "missing" for check in checks)
    warnings = sum(check.status == "warning" for check in checks)
    if not missing and not warnings:
        return "✓ Ready to train: nothing is missing."
    first = f"✗ {missing} missing" if missing else "✓ Nothing is missing"
    return f"{first}, {format_count(warnings, 'warning')}." if warnings else f"{first}."
