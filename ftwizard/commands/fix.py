"""``check --fix``: a new file with the problems that can be fixed."""

from __future__ import annotations

import argparse
from pathlib import Path

from ftwizard import file_names
from ftwizard.commands.convert import format_finding
from ftwizard.commands.progress import Say
from ftwizard.data.repair import Repairs, repair
from ftwizard.data.targets import target
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.text import plural, visible


def fix(arguments: argparse.Namespace, file: Path, say: Say) -> Repairs | None:
    """Write a fixed copy of ``file`` to the path in ``--fix``; return None without that option."""
    if arguments.fix is None:
        if arguments.redact:
            raise FtwizardError(
                "--redact needs --fix: it replaces secrets in the new file.",
                "Use --fix OUT --redact.",
                USAGE,
            )
        return None
    return repair(
        file,
        file_names.expand(arguments.fix),
        target(arguments.target) if arguments.target else None,
        format=arguments.format,
        redact=arguments.redact,
        say=say,
    )


def lines(repairs: Repairs) -> list[str]:
    """Return the lines of the report on repairs."""
    mark = "!" if repairs.left_out else "✓"
    result = "fixed" if repairs.changed else "nothing to fix"
    listed = [f"{mark} {visible(repairs.out)}: {plural(repairs.rows_out, 'row')}, {result}"]
    for action, findings in (("left out", repairs.left_out), ("fixed", repairs.changed)):
        for finding in findings:
            listed += format_finding(action, finding)
    if repairs.changed or repairs.left_out:
        listed.append(f"  All changes, by line: {visible(repairs.changes)}")
    return listed
