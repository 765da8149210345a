"""List menu that renders line by line: fast at any length, safe with any text."""

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
class MenuLine:
    """A line of a menu: an option (with an ``id``), a heading, a note or a gap."""

    text: Text
    id: str | None = None
    """Reported when the line is chosen; None if it cannot be chosen."""


@dataclass
class _LineMessage(Message):
    """Something happened to a line of a menu."""

    menu: Menu
    id: str

    @property
    def control(self) -> Menu:
        return self.menu


class Menu(ScrollView, can_focus=True):
    """Lines with a cursor; up and down skip lines that cannot be chosen."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {"menu--cursor", "menu--cursor-blurred"}
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "up", "Up", show=False, tooltip="move"),
        Binding("down,j", "move(1)", "Down", show=False, tooltip="move"),
        Binding("pageup", "page(-1)", "Page up", show=False, tooltip="move by a page"),
        Binding("pagedown", "page(1)", "Page down", show=False, tooltip="move by a page"),
        Binding("home", "end(0)", "First", show=False, tooltip="first, last line"),
        Binding("end", "end(-1)", "Last", show=False, tooltip="first, last line"),
        Binding("enter", "choose", "Choose", show=False, tooltip="select"),
    ]
    marks: reactive[bool] = reactive(True)
    """Whether to show the cursor."""
    cursor: reactive[int] = reactive(-1)
    """Index of the line with the cursor, -1 if none can be chosen."""

    class Moved(_LineMessage):
        """The cursor moved to another line."""

        def can_replace(self, message: Message) -> bool:
            """A held key outruns a slow page, which needs only the last line."""
            return isinstance(message, Menu.Moved) and message.menu is self.menu

    class Chosen(_LineMessage):
        """Enter was pressed on a line."""

    def __init__(
        self, lines: Sequence[MenuLine] = (), *, id: str | None = None, leaves: bool = False
    ) -> None:
        """``leaves``: up on the first line moves the focus to the previous widget."""
        super().__init__(id=id)
        self._leaves = leaves
        self._lines: list[MenuLine] = []
        self.show(lines)

    @property
    def chosen(self) -> str | None:
        """The id of the line with the cursor, None if there is none."""
        return self._lines[self.cursor].id if 0 <= self.cursor < len(self._lines) else None

    @property
    def is_cursor_visible(self) -> bool:
        """Whether the line with the cursor is in view."""
        top = self.scroll_offset.y
        return self.chosen is not None and top <= self.cursor < top + self.size.height

    def can_move(self, by: int) -> bool:
        """Return whether another line can be chosen after the cursor, or before it."""
        rest = self._lines[self.cursor + 1 :] if by > 0 else self._lines[: max(0, self.cursor)]
        return any(line.id is not None for line in rest)

    def show(self, lines: Sequence[MenuLine], *, cursor: str | None = None) -> None:
        """Replace the lines; the cursor stays on its id, or moves to ``cursor``."""
        wanted = cursor or self.chosen
        lines = list(lines)
        if lines == self._lines and cursor is None:
            return
        resized = len(lines) != len(self._lines)
        self._lines = lines
        choosable = [i for i, line in enumerate(lines) if line.id is not None]
        same = [i for i in choosable if lines[i].id == wanted]
        above = [i for i in choosable if i <= self.cursor][-1:]
        self.cursor = (same or above or choosable or [-1])[0]
        self._resize()
        self.refresh(layout=resized)

    def _resize(self) -> None:
        width = max((line.text.cell_len for line in self._lines), default=0) + len(INDENT)
        self.virtual_size = Size(width, len(self._lines))

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return len(self._lines)

    def watch_cursor(self, old: int, new: int) -> None:
        self.refresh()
        if new >= 0:
            # Scroll headings above the first option into view with it.
            top = 0 if all(line.id is None for line in self._lines[:new]) else new
            self.scroll_to_region(Region(0, top, 1, new - top + 1), animate=False)
            if self.is_mounted and (chosen := self.chosen) is not None:
                self.post_message(self.Moved(self, chosen))

    def action_move(self, by: int) -> None:
        index = self.cursor + by
        while 0 <= index < len(self._lines) and self._lines[index].id is None:
            index += by
        if 0 <= index < len(self._lines):
            self.cursor = index
        elif by < 0:
            self.scroll_home(animate=False)
        else:
            self.scroll_end(animate=False)

    def action_up(self) -> None:
        old_cursor = self.cursor
        self.action_move(-1)
        if self._leaves and self.cursor == old_cursor:
            self.screen.focus_previous()

    def action_page(self, by: int) -> None:
        for _ in range(max(1, self.size.height - 1)):
            self.action_move(by)

    def action_end(self, index: int) -> None:
        choosable = [i for i, line in enumerate(self._lines) if line.id is not None]
        if choosable:
            self.cursor = choosable[index]

    def action_choose(self) -> None:
        if (chosen := self.chosen) is not None:
            self.post_message(self.Chosen(self, chosen))

    def render_line(self, y: int) -> Strip:
        width = self.scrollable_content_region.width
        index = self.scroll_offset.y + y
        if index >= len(self._lines):
            return Strip.blank(width, self.rich_style)
        line = self._lines[index]
        has_cursor = index == self.cursor and self.marks
        base = self.rich_style
        if has_cursor:
            name = "menu--cursor" if self.has_focus else "menu--cursor-blurred"
            base = self.get_component_rich_style(name)
        text = line.text.copy()
        text.truncate(max(1, width - len(INDENT)), overflow="ellipsis")
        console = self.app.console
        segments = [Segment(CURSOR if has_cursor else INDENT, base)]
        segments += [
            Segment(part, base + (style or Style.null()))
            for part, style, _ in text.render(console, "")
        ]
        return Strip(segments).extend_cell_length(width, base).crop(0, width)
