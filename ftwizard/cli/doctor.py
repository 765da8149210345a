"""``doctor``: what this machine can do and what is missing."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ftwizard.cli import output, progress
from ftwizard.doctor import Check, DoctorReport, Started, run_quick_checks, run_trial
from ftwizard.text import format_count

if TYPE_CHECKING:
    from rich.console import RenderableType

MARKS = {"ok": "✓", "warning": "!", "missing": "✗"}


def doctor(arguments: argparse.Namespace) -> int:
    """Print each check with its fix; return 1 if something that training needs is missing.

    A screen receives each result as soon as it is known.
    """
    with progress.reporter() as say:
        say("looking at this machine")
        quick, driver = run_quick_checks()
        checks = {check.name: check for check in quick}
        say.show(DoctorReport(quick))
        for step in () if arguments.quick else run_trial(driver):
            if isinstance(step, Started):
                say("trying", what=step.action)
            else:
                checks[step.name] = step
                say.show(DoctorReport([*checks.values()]))
    report = DoctorReport([*checks.values()])
    if arguments.json:
        output.print_json(report)
    else:
        out = output.make_console()
        rows = (row for check in report.checks for row in _check_rows(check))
        out.print(output.build_pair_table(rows))
        out.print(f"\n{summarize(report.checks)}")
    return 1 if any(check.status == "missing" for check in report.checks) else 0


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
