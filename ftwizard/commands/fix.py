"""``check --fix``: a new file with what can be mended honestly."""

from __future__ import annotations

import argparse
from pathlib import Path

from ftwizard import file_names
from ftwizard.commands.convert import said
from ftwizard.commands.progress import Say
from ftwizard.data.repair import Repairs, repair
from ftwizard.data.targets import target
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.text import plural, visible


def fix(arguments: argparse.Namespace, file: Path, say: Say) -> Repairs | None:
    """Write ``file`` mended to where ``--fix`` says; None where that is not asked for."""
    if arguments.fix is None:
        if arguments.redact:
            raise FtwizardError(
                "--redact replaces secrets in the file that --fix writes.",
                "Name that file as well: --fix OUT --redact",
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


def lines(found: Repairs) -> list[str]:
    """Return what was repaired, in words."""
    mark = "!" if found.left_out else "✓"
    what = "mended" if found.changed else "nothing was to be mended"
    listed = [f"{mark} {visible(found.out)}: {plural(found.rows_out, 'row')}, {what}"]
    for word, findings in (("left out", found.left_out), ("mended", found.changed)):
        for finding in findings:
            listed += said(word, finding)
    if found.changed or found.left_out:
        listed.append(f"  Every change, with its line: {visible(found.changes)}")
    return listed
