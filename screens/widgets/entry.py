"""A line to type in, one row high, that says so when it is too short for what is pasted."""

from __future__ import annotations

from typing import Any

from textual.widgets import Input


class Entry(Input):
    """An ``Input`` that is compact and bounded: a megabyte pasted by mistake is not laid out."""

    def __init__(self, value: str = "", *, max_length: int, **more: Any) -> None:
        super().__init__(value, max_length=max_length, compact=True, **more)

    def restricted(self) -> None:
        self.notify(
            f"At most {self.max_length:,} characters fit here; nothing was changed.",
            severity="warning",
            markup=False,
        )
