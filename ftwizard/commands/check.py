"""``check``: is this data fit to train on?"""

from __future__ import annotations

import argparse

import msgspec

from ftwizard.commands import output, progress
from ftwizard.data import hub, read
from ftwizard.data.container import FileProblem
from ftwizard.data.report import Report, of_file, report
from ftwizard.text import plural, visible

SHOWN_LINES = 8
MARKS = {"ok": "✓", "warning": "!", "error": "✗"}


def check(arguments: argparse.Namespace) -> int:
    """Read a data file as a run would, and say what is in it and what is wrong with it.

    A data set on the Hub is made a file first.
    """
    with progress.reporter(shown=True) as say:
        file, source = hub.locate(arguments.data, say)
        say("reading", what=str(file))
        try:
            found = report(read.read(file, arguments.format), source)
        except FileProblem as problem:
            if arguments.json:
                problem.document = msgspec.to_builtins(of_file(file, problem))
            raise
    if arguments.json:
        output.print_json(found)
    else:
        output.say(output.console(), *_lines(found))
    return 0 if found.verdict != "error" else 1


def _lines(found: Report) -> list[str]:
    mark = MARKS[found.verdict]
    rows = f"{plural(found.rows, 'row')}, {found.usable:,} usable"
    lines = [f"{mark} {visible(found.path)}: {rows} ({found.format or 'no format that is known'})"]
    if found.source:
        lines.append(f"  from {visible(found.source)}")
        lines.append("  A plan names the file: what a run reads must not change with the Hub.")
    for finding in found.findings:
        where = ", ".join(map(str, finding.lines[:SHOWN_LINES]))
        more = f" and {finding.count - SHOWN_LINES:,} more" if finding.count > SHOWN_LINES else ""
        lines.append(
            f"{MARKS[finding.severity]} {finding.code}: {plural(finding.count, 'row')}, at line {where}{more}"
        )
        lines.append(f"    {finding.message}; {finding.fix}")
    if found.usable and found.tokens is None:
        lines.append("  Tokens: not counted, which takes the model: ftwizard estimate PLAN")
    return lines
