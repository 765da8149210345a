"""``convert``: data in the own format of where it is to be trained on."""

from __future__ import annotations

import argparse

from ftwizard import file_names
from ftwizard.commands import output, progress
from ftwizard.data import convert as engine
from ftwizard.data import hub, writers
from ftwizard.data.checks.found import FileFound
from ftwizard.data.convert import Conversion
from ftwizard.data.format_names import Format
from ftwizard.data.new_file import require_free
from ftwizard.data.targets import Target, target
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.text import plural, visible

SHOWN_LINES = 8


def convert(arguments: argparse.Namespace) -> int:
    """Write a data file anew for a target, and say what its rows have lost and which are left out.

    A data set on the Hub is made a file first.
    """
    goal = target(arguments.target)
    _require_choice(arguments.written_as, goal)
    out = file_names.expand(arguments.out)
    require_free(out)
    with progress.reporter(shown=True) as say:
        file, source = hub.locate(arguments.data, say)
        say("reading", what=str(file))
        found = engine.convert(
            file,
            out,
            goal,
            format=arguments.format,
            written_as=arguments.written_as,
            say=say,
        )
    if arguments.json:
        output.print_json(found)
    else:
        output.say(output.console(), *_lines(found, goal, source))
    return 0 if arguments.skip_bad or not found.left_out else 1


def _require_choice(format: Format | None, goal: Target) -> None:
    choices = writers.choices(goal)
    if format is not None and format not in choices:
        named = " or ".join(choices) or "no format for conversations"
        raise FtwizardError(f"{goal.words} takes {named}, not {format}.", "Leave out --as.", USAGE)


def _lines(found: Conversion, goal: Target, source: str | None) -> list[str]:
    mark = "!" if found.left_out else "✓"
    rows = f"{found.rows_out:,} of {plural(found.rows_in, 'row')}"
    lines = [f"{mark} {visible(found.out)}: {rows}, for {goal.words}"]
    if source:
        lines.append(f"  from {visible(source)}")
    for word, findings in (("left out", found.left_out), ("changed", found.changed)):
        for finding in findings:
            lines += said(word, finding)
    lines.append(f"  Check it: ftwizard check {visible(found.out)}")
    return lines


def said(word: str, finding: FileFound) -> list[str]:
    """Return what was done with rows, in words: ``left out, wrong_kind: 2 rows, at line 3, 9``."""
    mark = "✗" if word == "left out" else "!"
    head = f"{mark} {word}, {finding.code}"
    if finding.lines:
        where = ", ".join(map(str, finding.lines[:SHOWN_LINES]))
        more = f" and {finding.count - SHOWN_LINES:,} more" if finding.count > SHOWN_LINES else ""
        head += f": {plural(finding.count, 'row')}, at line {where}{more}"
    fix = f"; {finding.fix}" if finding.fix else ""
    return [head, f"    {finding.message}{fix}"]
