"""``ftwizard`` without a command: the wizard."""

from __future__ import annotations

import argparse

from ftwizard.commands import output
from ftwizard.errors import USAGE, FtwizardError


def home(arguments: argparse.Namespace) -> int:
    """Open the wizard; without a terminal say what to type instead."""
    if output.wants_screens(arguments):
        return int(arguments.door(None, arguments.ascii))
    raise FtwizardError(
        "The wizard needs a terminal that can show screens.",
        "Without one: ftwizard train PLAN, ftwizard demo --yes, or ftwizard --help for the rest.",
        USAGE,
    )
