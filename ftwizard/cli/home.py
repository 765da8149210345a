"""``ftwizard`` without a command: the wizard."""

from __future__ import annotations

import argparse

from ftwizard.cli import output
from ftwizard.errors import USAGE, FtwizardError


def home(arguments: argparse.Namespace) -> int:
    """Open the wizard, as screens or as lines; raise FtwizardError without a terminal."""
    if output.wants_screens(arguments):
        return int(arguments.open_screens(None, arguments.ascii, slow=arguments.slow))
    if not output.has_terminal():
        raise FtwizardError(
            "The wizard needs a terminal.",
            "Without one, run ftwizard train PLAN or ftwizard demo --yes; see ftwizard --help.",
            USAGE,
        )
    if not arguments.plain:
        print("This terminal cannot show screens. Using --plain: questions line by line.")
    return int(arguments.open_screens(None, arguments.ascii, plain=True))
