"""A pane to read in: it scrolls when it has the focus, and begins at the top with other text."""

from __future__ import annotations

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widgets import Static


class Reading(VerticalScroll):
    """Shows one text."""

    def compose(self) -> ComposeResult:
        yield Static(markup=False)

    def show(self, text: Text) -> None:
        """Show another text, from its beginning."""
        self.query_one(Static).update(text)
        self.scroll_home(animate=False)

    @property
    def room(self) -> tuple[int, int]:
        """Return the cells of a line and the lines that are seen."""
        return self.scrollable_content_region.width, self.size.height
