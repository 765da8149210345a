"""Keys of a screen: in its footer, where exit keys always stay visible, and as the list in its help."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding
from textual.dom import DOMNode
from textual.screen import Screen
from textual.widget import Widget

from ftwizard.screens.widgets.scroll_pane import ScrollPane

ALWAYS_SHOWN = {"back", "help", "quit"}
"""Actions that are never dropped; nor is the action of Enter."""


SCROLLING = {
    "up,down": "scroll", "pageup,pagedown": "scroll by a page", "home,end": "first, last line",
}  # fmt: skip
"""Keys of Textual's panes, and what they do."""
PALETTE = "all actions, by name"


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


def list_keys(screen: Screen[Any]) -> dict[str, list[str]]:
    """List what every key of a screen and of its widgets does, with the names of the keys.

    Of actions that share a key, the one that it has now. Enter comes first, the way out last.
    """
    app, active = screen.app, {key.binding.action for key in screen.active_bindings.values()}
    bound = list(_list_own_bindings(screen, active))
    priority = {key for key, binding in bound if binding.priority}
    for widget in screen.query("*").results(Widget):
        if not any(inner.can_focus for inner in widget.walk_children(Widget, with_self=True)):
            continue
        bound += [each for each in _list_own_bindings(widget, active) if each[0] not in priority]
    bound += _list_own_bindings(app, active)
    bound.append((app.COMMAND_PALETTE_BINDING, Binding("", "quit", PALETTE)))
    bound.sort(key=lambda each: (each[0] != "enter", each[1].action in ALWAYS_SHOWN))
    names: dict[str, list[str]] = {}
    for key, binding in bound:
        alone = replace(binding, key=key, key_display=None)
        name = key if key == "enter" else app.get_key_display(alone)  # not as a symbol
        listed = names.setdefault(binding.tooltip or binding.description, [])
        if name not in listed:
            listed.append(name)
    return names


def _list_own_bindings(node: DOMNode, active: set[str]) -> Iterator[tuple[str, Binding]]:
    """Yield key and binding of each key that our own classes bind; a pane's, as it scrolls."""
    taken = set[str]()
    for base in type(node).__mro__:
        if not base.__module__.startswith("ftwizard."):
            continue
        choices: dict[str, list[Binding]] = {}
        for binding in base.__dict__.get("BINDINGS", ()):
            for key in binding.key.split(","):
                choices.setdefault(key, []).append(binding)
        for key, bindings in choices.items():
            if key not in taken:
                current = (binding for binding in bindings if binding.action in active)
                yield key, next(current, bindings[0])
        taken |= choices.keys()
        if issubclass(base, DOMNode) and not base._inherit_bindings:
            break
    if isinstance(node, ScrollPane) and node.can_focus:
        for keys, does in SCROLLING.items():
            yield from ((key, Binding(key, "scroll", does)) for key in keys.split(","))
