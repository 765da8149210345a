"""``doctor``: what this machine can do, and what is missing."""

from __future__ import annotations

import argparse

from ftwizard import doctor as engine
from ftwizard.commands import output

MARKS = {"ok": "✓", "warning": "!", "missing": "✗"}


def doctor(arguments: argparse.Namespace) -> int:
    """Print each check with what to do about it; 1 if something that training needs is missing."""
    found = engine.look()
    if arguments.json:
        output.print_json({"checks": found})
    else:
        rows = [
            (
                f"{MARKS[one.status]} {one.name}",
                f"{one.found}\n  {one.fix}" if one.fix else one.found,
            )
            for one in found
        ]
        out = output.console()
        from rich.text import Text

        out.print(output.pairs((name, Text(words)) for name, words in rows))
    return 1 if any(one.status == "missing" for one in found) else 0
