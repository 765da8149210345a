"""Single choice on one line, marked by a symbol, not by color alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget

from ftwizard.screens import palette


class Choice(Widget, can_focus=True):
    """``(•) first  ( ) second``; left, right and space move the mark."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,space", "move(1)", "choose", key_display="←→", tooltip="change the choice"),
        Binding("left", "move(-1)", "choose", show=False, tooltip="change the choice"),
    ]
    value: reactive[str] = reactive("", init=False)

    @dataclass
    class Changed(Message):
        """A different option was chosen."""

        choice: Choice
        value: str

        def can_replace(self, message: Message) -> bool:
            """A held key outruns a slow page, which needs only the last option."""
            return isinstance(message, Choice.Changed) and message.choice is self.choice

        @property
        def control(self) -> Choice:
            return self.choice

    def __init__(
        self, options: Sequence[tuple[str, str]], value: str, *, id: str | None = None
    ) -> None:
        super().__init__(id=id)
        self._options = list(options)
        self.set_reactive(Choice.value, value)

    def render(self) -> Text:
        style = f"bold {palette.ACCENT}" if self.has_focus else "bold"
        if sum(cell_len(label) + 7 for _, label in self._options) - 3 > self.size.width:
            return self._render_current(style)
        text = Text(no_wrap=True)
        for number, (id, label) in enumerate(self._options):
            is_chosen = id == self.value
            text.append("   " if number else "")
            text.append(f"({'•' if is_chosen else ' '}) {label}", style if is_chosen else "")
        return text

    def _render_current(self, style: str) -> Text:
        """Return only the chosen option, if they do not all fit."""
        index, count = self._index, len(self._options)
        end, label = f" ›  {index + 1}/{count}", Text(self._options[index][1], style)
        if label.cell_len + 2 + len(end) > self.size.width:  # the label matters more than the count
            end = " ›"
        label.truncate(max(1, self.size.width - 2 - len(end)), overflow="ellipsis")
        text = Text.assemble(("‹ ", style), label, (" ›", style), no_wrap=True)
        return text.append(end[2:], "dim")

    def watch_value(self, value: str) -> None:
        self.refresh()
        self.post_message(self.Changed(self, value))

    def action_move(self, by: int) -> None:
        self.value = self._options[(self._index + by) % len(self._options)][0]

    @property
    def _index(self) -> int:
        ids = [id for id, _ in self._options]
        return ids.index(self.value) if self.value in ids else 0
