"""Footer with the keys of a screen; exit keys always stay visible."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from rich.cells import cell_len
from rich.text import Text
from textual.screen import Screen
from textual.widget import Widget

ALWAYS_SHOWN = {"back", "help", "quit"}
"""Actions that are never dropped; nor is the action of Enter."""


class Key(NamedTuple):
    """A key in the footer: its name, description and action."""

    name: str
    description: str
    action: str
    is_required: bool
    enabled: bool = True

    @property
    def cells(self) -> int:
        """Width of name, blank, description and gap."""
        return cell_len(self.name) + 1 + cell_len(self.description) + 1


QUIT = Key("^q", "quit", "quit", True)
"""The app's own key, which works on every screen."""


class Keys(Widget):
    """One line that drops keys that do not fit; help and the command palette list all of them.

    Textual's own footer recreates a widget per key on every change, and keeps the old ones.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {"keys--name", "keys--does"}

    def __init__(self, keys: Sequence[Key] = ()) -> None:
        """``keys``: those to show; without any, the ones of the screen."""
        super().__init__()
        self._keys, self._is_fixed = list(keys), bool(keys)

    def on_mount(self) -> None:
        if not self._is_fixed:
            self.screen.bindings_updated_signal.subscribe(self, self._on_bindings)

    def render(self) -> Text:
        name = self.get_component_rich_style("keys--name")
        description = self.get_component_rich_style("keys--does")
        line = Text(no_wrap=True)
        for key in fit_keys(self._keys, self.size.width):
            style = "" if key.enabled else "dim"
            parts = (key.name, name), " ", (key.description, description)
            line.append(Text.assemble(*parts, style=style))
            line.append(" ")
        return line

    def _on_bindings(self, screen: Screen[Any]) -> None:
        if self.is_attached and screen is self.screen and self.app.app_focus:
            self.call_after_refresh(self._update)

    def _update(self) -> None:
        if self.is_attached and (keys := self._collect_keys()) != self._keys:
            self._keys = keys
            self.refresh()

    def _collect_keys(self) -> list[Key]:
        """Return the visible keys, each action once."""
        keys: dict[str, Key] = {}
        for _, binding, enabled, _ in self.screen.active_bindings.values():
            if binding.show and binding.action not in keys:
                name = self.app.get_key_display(binding)
                is_required = binding.key == "enter" or binding.action in ALWAYS_SHOWN
                keys[binding.action] = Key(
                    name, binding.description, binding.action, is_required, enabled
                )
        return list(keys.values())


def fit_keys(keys: list[Key], width: int) -> list[Key]:
    """Return the keys that fit into ``width`` cells; optional ones are dropped from the end."""
    shown = list(keys)
    free_cells = width - sum(key.cells for key in keys)
    for key in reversed(keys):
        if free_cells >= 0:
            break
        if not key.is_required:
            shown.remove(key)
            free_cells += key.cells
    return shown
