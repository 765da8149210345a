"""``ftwizard`` without a command: the wizard."""

from __future__ import annotations

import argparse

from ftwizard.commands import output
from ftwizard.errors import USAGE, FtwizardError


def home(arguments: argparse.Namespace) -> int:
    """Open the wizard as this terminal can; without a terminal say what to type instead."""
    if output.wants_screens(arguments):
        return int(arguments.door(None, arguments.ascii, slow=arguments.slow))
    if not output.has_terminal():
        raise FtwizardError(
            "The wizard needs a terminal.",
            "Without one: ftwizard train PLAN, ftwizard demo --yes, or ftwizard --help for the "
            "rest.",
            USAGE,
        )
    if not arguments.plain:
        print("This terminal shows no screens; the questions come line by line, as with --plain.")
    return int(arguments.door(None, arguments.ascii, plain=True))
