"""Errors for the person at the terminal: what is wrong and what to do next."""

from __future__ import annotations

from typing import Any

FAILED = 1
"""The command failed, or its input cannot be used."""
USAGE = 2
"""Wrong usage, or a missing extra."""
DECLINED = 3
"""Declined by the user or by a safety rule."""
CANNOT_TELL = 4
"""The question of the command cannot be answered with what there is."""


class FtwizardError(Exception):
    """An error shown as one or two sentences, never as a traceback.

    ``message`` says what is wrong and where, ``hint`` what to do next. ``exit_code`` is the exit
    code of the command: ``FAILED``, ``USAGE`` or ``DECLINED``. ``code`` is a stable name of the
    cause, if it has one; ``candidates`` are choices of which one would resolve it, such as formats.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        exit_code: int = FAILED,
        *,
        code: str = "",
        candidates: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.code = code
        self.candidates = candidates
        self.document: dict[str, Any] = {}
        """Fields that ``--json`` prints in addition to the error."""

    @property
    def text(self) -> str:
        """Return message and hint as one text."""
        return f"{self.message} {self.hint}".rstrip()


class MissingExtra(FtwizardError):
    """Raised where an optional dependency is needed and not installed."""

    def __init__(self, extra: str, package: str) -> None:
        super().__init__(
            f"This needs the package {package}, which is not installed.",
            f"Install it with: pip install 'ftwizard[{extra}]'",
            USAGE,
        )
