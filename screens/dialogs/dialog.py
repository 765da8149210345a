"""Base classes of screens and dialogs."""

from __future__ import annotations

from importlib.resources import files
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen, Screen, ScreenResultType
from textual.types import CSSPathType

from ftwizard.screens import palette


class BaseScreen(Screen[ScreenResultType]):
    """A screen that ignores resize events for any size but the current one.

    A screen sends itself every size that it was laid out in. Textual drops the older of two adjacent
    resize events. With another event between them both stay, each triggers the other again, and the
    screen alternates between the two sizes forever.
    """

    CSS_PATH: ClassVar[CSSPathType | None] = str(files("ftwizard").joinpath("assets", "pages.tcss"))

    def dismiss(self, result: ScreenResultType | None = None) -> AwaitComplete:
        """Close with a result, once, together with all screens above."""
        if self not in self.app.screen_stack:
            return AwaitComplete()
        while (above := self.app.screen) is not self:
            above.dismiss(None)
        return super().dismiss(result)

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, events.Resize) or event.size == self.app.size:
            await super().on_event(event)


class Dialog(BaseScreen[ScreenResultType], ModalScreen[ScreenResultType]):
    """A modal question or message; dismisses with the answer."""


def format_keys(*keys: tuple[str, str]) -> Text:
    """Return one line with the keys of a dialog and what each does."""
    parts = [Text.assemble((key, f"bold {palette.ACCENT}"), f" {does}") for key, does in keys]
    return Text(" " * 5).join(parts)
