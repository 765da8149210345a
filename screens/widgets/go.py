"""The line that leads on: what comes next, or how far that which is waited for is."""

from __future__ import annotations

from textual.widgets import Static


class Go(Static, can_focus=True):
    """One line that takes the focus; Enter on it is the screen's own."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
