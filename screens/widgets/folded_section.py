"""A line that expands and collapses the fields below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.reactive import reactive
from textual.widget import Widget


class FoldedSection(Widget, can_focus=True):
    """``▸ advanced``: space or right expands, left collapses what is below it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("space", "turn", "expand", show=False, tooltip="expand or collapse the line"),
        Binding("right", "turn(True)", "expand", show=False, tooltip="expand or collapse the line"),
        Binding(
            "left", "turn(False)", "collapse", show=False, tooltip="expand or collapse the line"
        ),
    ]
    unfolded: reactive[bool] = reactive(False)
    label: reactive[str] = reactive("")

    @dataclass
    class Turned(Message):
        """The section was expanded or collapsed."""

        unfolded: bool

    def __init__(self, label: str) -> None:
        super().__init__()
        self.label = label

    def render(self) -> Text:
        mark = "▾" if self.unfolded else "▸"
        keys = "← collapse" if self.unfolded else "→ expand"
        return Text.assemble(
            (f"{mark} {self.label}", "bold" if self.has_focus else ""), (f"   {keys}", "dim")
        )

    def action_turn(self, to: bool | None = None) -> None:
        self.unfolded = not self.unfolded if to is None else to
        self.post_message(self.Turned(self.unfolded))
