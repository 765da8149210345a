"""Notes on what a row loses, or has changed, in conversion to another format."""

from __future__ import annotations

from ftwizard.data.findings import RowFinding
from ftwizard.data.privacy.quote import quote

_SHOWN_KEYS = 5


class ConversionNotes:
    """Notes for one row, at most one per code."""

    def __init__(self) -> None:
        self.findings: list[RowFinding] = []
        self._codes: set[str] = set()

    def note(self, code: str, message: str, fix: str) -> None:
        """Note a loss that does not prevent writing the row."""
        if code not in self._codes:
            self._codes.add(code)
            self.findings.append(RowFinding(code, message, fix))

    def note_dropped(self, keys: list[str], target_name: str) -> None:
        """Note dropped fields; ``target_name`` names the target."""
        if keys:
            self.note(
                "extra_keys",
                f"{target_name} does not support {format_keys(keys)}: dropped",
                "no action needed unless the field matters",
            )


def format_keys(keys: list[str]) -> str:
    """Format field names as a short list."""
    shown = ", ".join(f"“{quote(str(key), 30)}”" for key in keys[:_SHOWN_KEYS])
    more = len(keys) - _SHOWN_KEYS
    return f"{shown} and {more:,} more" if more > 0 else shown
