"""Line that shows the next step, or the progress of a pending one."""

from __future__ import annotations

from textual.widgets import Static


class NextStep(Static, can_focus=True):
    """One focusable line; Enter on it is handled by the screen."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id, markup=False)
