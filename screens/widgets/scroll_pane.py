"""Scrollable text pane."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static


class TextPane(VerticalScroll):
    """Shows one text."""

    def compose(self) -> ComposeResult:
        yield Static(markup=False)

    def show(self, text: Text) -> None:
        """Replace the text and scroll to the top."""
        self.query_one(Static).update(text)
        self.scroll_home(animate=False)

    @property
    def visible_size(self) -> tuple[int, int]:
        """Width in cells and height in lines of the visible area."""
        return self.scrollable_content_region.width, self.size.height
