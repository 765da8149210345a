"""The keys at the foot of a screen: where they are too many, the way out stays."""

from __future__ import annotations

from typing import Any, ClassVar, NamedTuple

from rich.cells import cell_len
from rich.text import Text
from textual.screen import Screen
from textual.widget import Widget

KEPT = {"back", "help", "quit"}
"""Actions that are never left out; what Enter does is not either."""


class Key(NamedTuple):
    """A key as it is shown: its name, what it does in a word, and in the app's own."""

    name: str
    does: str
    action: str
    stays: bool
    enabled: bool = True

    @property
    def cells(self) -> int:
        """Return what it takes up: its name, a blank, its description, and the gap behind it."""
        return cell_len(self.name) + 1 + cell_len(self.does) + 1


class Keys(Widget):
    """One line that leaves out what has no room; help and the palette have every key.

    Textual's own footer makes a widget of each key anew whenever one changes, and keeps the old.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"keys--name", "keys--does"}

    def __init__(self) -> None:
        super().__init__()
        self._keys: list[Key] = []

    def on_mount(self) -> None:
        self.screen.bindings_updated_signal.subscribe(self, self._on_bindings)

    def render(self) -> Text:
        name, does = (self.get_component_rich_style(f"keys--{part}") for part in ("name", "does"))
        line = Text(no_wrap=True)
        for key in fitting(self._keys, self.size.width):
            faint = "" if key.enabled else "dim"
            line.append(Text.assemble((key.name, name), " ", (key.does, does), style=faint))
            line.append(" ")
        return line

    def _on_bindings(self, screen: Screen[Any]) -> None:
        if self.is_attached and screen is self.screen and self.app.app_focus:
            self.call_after_refresh(self._look)

    def _look(self) -> None:
        if self.is_attached and (found := self._found()) != self._keys:
            self._keys = found
            self.refresh()

    def _found(self) -> list[Key]:
        """Return the keys that are shown, each action once."""
        found: dict[str, Key] = {}
        for _, binding, enabled, _ in self.screen.active_bindings.values():
            if binding.show and binding.action not in found:
                name = self.app.get_key_display(binding)
                stays = binding.key == "enter" or binding.action in KEPT
                found[binding.action] = Key(
                    name, binding.description, binding.action, stays, enabled
                )
        return list(found.values())


def fitting(keys: list[Key], width: int) -> list[Key]:
    """Return the keys that fit into ``width`` cells: of those that may go, the last go first."""
    kept = list(keys)
    left = width - sum(key.cells for key in keys)
    for key in reversed(keys):
        if left >= 0:
            break
        if not key.stays:
            kept.remove(key)
            left += key.cells
    return kept
