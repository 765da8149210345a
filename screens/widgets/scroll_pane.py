"""Panes that scroll at the rate of a held key."""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll  # noqa: TID251
from textual.geometry import Size
from textual.widgets import Static


class ScrollPane(VerticalScroll):
    """Scrolls at once.

    Textual scrolls after the next refresh, and animated: all keys until then start from the same line,
    so half of a held key's presses are lost.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("k", "scroll_up", "scroll", show=False),
        Binding("j", "scroll_down", "scroll", show=False),
    ]

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """Measure beside the place of the scrollbar.

        Textual measures an automatic height without it, so that lines wrapped there do not fit.
        """
        return super().get_content_height(container, viewport, width - self.scrollbar_gutter.width)

    def scroll_to(self, x: float | None = None, y: float | None = None, **options: Any) -> None:
        super().scroll_to(x, y, **{**options, "animate": False, "immediate": True})

    def action_scroll_end(self) -> None:
        self.scroll_end(animate=False, immediate=True)

    def scroll_pages(self, by: int) -> None:
        """Scroll by pages that share a line."""
        self.scroll_relative(y=by * max(1, self.size.height - 1))


class TextPane(ScrollPane):
    """Shows one text."""

    def compose(self) -> ComposeResult:
        yield Static(markup=False)

    def show(self, text: Text) -> None:
        """Replace the text and scroll to the top."""
        self.query_one(Static).update(text)
        self.scroll_home()

    @property
    def visible_size(self) -> tuple[int, int]:
        """Width in cells and height in lines of the visible area."""
        return self.scrollable_content_region.width, self.size.height
