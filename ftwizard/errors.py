"""Errors that a person reads: what is wrong, and what to do next."""

from __future__ import annotations

from typing import Any

FAILED = 1
"""It failed, or what it was given cannot be used."""
USAGE = 2
"""Wrong usage, or a missing extra."""
DECLINED = 3
"""Declined by the user or by a safety rule."""
CANNOT_TELL = 4


class FtwizardError(Exception):
    """A sentence for the person at the terminal, never a traceback.

    ``message`` says what is wrong and where, ``hint`` what to do next; ``exit_code`` is what the
    command answers with (``FAILED``, ``USAGE``, ``DECLINED`` or ``CANNOT_TELL``).
    """

    def __init__(self, message: str, hint: str = "", exit_code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.document: dict[str, Any] = {}
        """What ``--json`` prints beside the error."""


class MissingExtra(FtwizardError):
    """An optional part of the installation is needed and absent."""

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(
            f"This needs the package {package}, which is not installed.",
            f"Install it with: pip install 'ftwizard[{extra}]'",
            USAGE,
        )
