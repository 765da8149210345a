"""State of the app that outlives its screens."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Session:
    """What routes leave behind for the app and for home."""

    code: int = 0
    """Exit code if the route is left now."""
    farewell: list[str] = field(default_factory=list)
    """Lines to print on the terminal after the app has exited."""
    shown_last: str = ""
    """The run shown last; home puts the cursor on it."""
