"""``--columns`` and ``--encoding``: how a data file is read."""

from __future__ import annotations

import argparse

from ftwizard.data.io import encodings
from ftwizard.data.io.read_options import ReadOptions
from ftwizard.data.mapping import options


def get_options(arguments: argparse.Namespace) -> ReadOptions:
    """Return how the file is read; raise FtwizardError (``USAGE``) for an invalid value."""
    if arguments.encoding is not None:
        encodings.find_codec(arguments.encoding)
    columns = options.parse_columns(arguments.columns)
    return ReadOptions(columns=columns, encoding=arguments.encoding)
