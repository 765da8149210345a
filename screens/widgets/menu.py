"""A list of lines to choose from, drawn by the line: fast at any length, safe with any text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from rich.text import Text
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.reactive import reactive
from textual.scroll_view import ScrollView
from textual.strip import Strip

CURSOR = "▸ "
INDENT = "  "


@dataclass(frozen=True)
class Line:
    """One line: something to choose (it has an ``id``), or a heading, a note, a gap."""

    text: Text
    id: str | None = None
    """What choosing it means; None where it cannot be chosen."""


class Menu(ScrollView, can_focus=True):
    """Lines of which one has the cursor; up and down skip those that cannot be chosen."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"menu--cursor", "menu--cursor-blurred"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "up", "Up", show=False),
        Binding("down,j", "move(1)", "Down", show=False),
        Binding("pageup", "page(-1)", "Page up", show=False),
        Binding("pagedown", "page(1)", "Page down", show=False),
        Binding("home", "end(0)", "First", show=False),
        Binding("end", "end(-1)", "Last", show=False),
        Binding("enter", "choose", "Choose", show=False),
    ]
    marks: reactive[bool] = reactive(True)
    """Whether the line with the cursor is marked."""
    cursor: reactive[int] = reactive(-1)
    """Index of the line with the cursor, -1 where none can be chosen."""

    class Moved(Message):
        """The cursor has moved to another line."""

        def __init__(self, menu: Menu, id: str) -> None:
            super().__init__()
            self.menu = menu
            self.id = id

        @property
        def control(self) -> Menu:
            return self.menu

    class Chosen(Message):
        """Enter was pressed on a line."""

        def __init__(self, menu: Menu, id: str) -> None:
            super().__init__()
            self.menu = menu
            self.id = id

        @property
        def control(self) -> Menu:
            return self.menu

    def __init__(
        self, lines: Sequence[Line] = (), *, id: str | None = None, leaves: bool = False
    ) -> None:
        """``leaves``: up on the first line goes on to what has the focus before."""
        super().__init__(id=id)
        self._leaves = leaves
        self._lines: list[Line] = []
        self.show(lines)

    @property
    def chosen(self) -> str | None:
        """Return the id of the line with the cursor."""
        return self._lines[self.cursor].id if 0 <= self.cursor < len(self._lines) else None

    @property
    def shows_cursor(self) -> bool:
        """Say whether the line with the cursor is in sight."""
        top = self.scroll_offset.y
        return self.chosen is not None and top <= self.cursor < top + self.size.height

    def can_move(self, by: int) -> bool:
        """Say whether there is a line to choose after the one with the cursor, or before it."""
        rest = self._lines[self.cursor + 1 :] if by > 0 else self._lines[: max(0, self.cursor)]
        return any(line.id is not None for line in rest)

    def show(self, lines: Sequence[Line], *, cursor: str | None = None) -> None:
        """Show other lines; the cursor stays on the line of its id, or goes to ``cursor``."""
        wanted = cursor or self.chosen
        lines = list(lines)
        if lines == self._lines and cursor is None:
            return
        grown = len(lines) != len(self._lines)
        self._lines = lines
        places = [i for i, line in enumerate(lines) if line.id is not None]
        same = [i for i in places if lines[i].id == wanted]
        near = [i for i in places if i <= self.cursor][-1:]
        self.cursor = (same or near or places or [-1])[0]
        self._resize()
        self.refresh(layout=grown)

    def _resize(self) -> None:
        width = max((line.text.cell_len for line in self._lines), default=0) + len(INDENT)
        self.virtual_size = Size(width, len(self._lines))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines)

    def watch_cursor(self, old: int, new: int) -> None:
        self.refresh()
        if new >= 0:
            # A heading right above the first choice comes into view with it.
            above = 0 if all(line.id is None for line in self._lines[:new]) else new
            self.scroll_to_region(Region(0, above, 1, new - above + 1), animate=False)
            if self.is_mounted and (chosen := self.chosen) is not None:
                self.post_message(self.Moved(self, chosen))

    def action_move(self, by: int) -> None:
        place = self.cursor + by
        while 0 <= place < len(self._lines) and self._lines[place].id is None:
            place += by
        if 0 <= place < len(self._lines):
            self.cursor = place
        elif by < 0:
            self.scroll_home(animate=False)
        else:
            self.scroll_end(animate=False)

    def action_up(self) -> None:
        before = self.cursor
        self.action_move(-1)
        if self._leaves and self.cursor == before:
            self.screen.focus_previous()

    def action_page(self, by: int) -> None:
        for _ in range(max(1, self.size.height - 1)):
            self.action_move(by)

    def action_end(self, place: int) -> None:
        places = [i for i, line in enumerate(self._lines) if line.id is not None]
        if places:
            self.cursor = places[place]

    def action_choose(self) -> None:
        if (chosen := self.chosen) is not None:
            self.post_message(self.Chosen(self, chosen))

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        index = self.scroll_offset.y + y
        if index >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        line = self._lines[index]
        here = index == self.cursor and self.marks
        base = self.rich_style
        if here:
            name = "menu--cursor" if self.has_focus else "menu--cursor-blurred"
            base = self.get_component_rich_style(name)
        text = line.text.copy()
        text.truncate(max(1, width - len(INDENT)), overflow="ellipsis")
        console = self.app.console
        segments = [Segment(CURSOR if here else INDENT, base)]
        segments += [
            Segment(part, base + (style or Style.null()))
            for part, style, _ in text.render(console, "")
        ]
        return Strip(segments).extend_cell_length(width, base).crop(0, width)
