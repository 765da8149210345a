"""One-line text input with a length limit."""

from __future__ import annotations

from typing import Any

from textual.widgets import Input


class TextInput(Input):
    """A compact, bounded ``Input``: a megabyte pasted by mistake is rejected, not laid out."""

    def __init__(self, value: str = "", *, max_length: int, **options: Any) -> None:
        super().__init__(value, max_length=max_length, compact=True, **options)

    def restricted(self) -> None:
        self.notify(
            f"Too long: at most {self.max_length:,} characters. Nothing was inserted.",
            severity="warning",
            markup=False,
        )
