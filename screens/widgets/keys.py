"""The keys at the foot of a screen: where they are too many, the way out stays."""

from __future__ import annotations

from collections.abc import Iterable

from rich.cells import cell_len
from textual import events
from textual.app import ComposeResult
from textual.widget import Widget
from textual.widgets import Footer
from textual.widgets._footer import FooterKey

KEPT = {"back", "help", "quit"}
"""Actions that are never left out; what Enter does is not either."""


class Keys(Footer):
    """A footer that leaves out what has no room; help and the palette have every key."""

    def __init__(self) -> None:
        super().__init__(show_command_palette=False, compact=True)
        self._width = 0

    def compose(self) -> ComposeResult:
        yield from fitting(list(super().compose()), self.app.size.width)

    def on_resize(self, event: events.Resize) -> None:
        if event.size.width != self._width:
            self._width = event.size.width
            self.call_after_refresh(self.recompose)


def fitting(keys: list[Widget], width: int) -> Iterable[Widget]:
    """Return the keys that fit into ``width`` cells: of those that may go, the last go first."""
    left = width - sum(map(_cells, keys))
    for key in reversed(list(keys)):
        if left >= 0:
            break
        if isinstance(key, FooterKey) and key.key != "enter" and key.action not in KEPT:
            keys.remove(key)
            left += _cells(key)
    return keys


def _cells(key: Widget) -> int:
    """Return what a key takes up: its name, a blank, its description, and the gap behind it."""
    if not isinstance(key, FooterKey):
        return 0
    return cell_len(key.key_display) + 1 + cell_len(key.description) + 1
