"""What lies over a page until it is answered, and what every screen does with a storm of sizes."""

from __future__ import annotations

from importlib.resources import files
from typing import ClassVar

from textual import events
from textual.await_complete import AwaitComplete
from textual.screen import ModalScreen, Screen, ScreenResultType
from textual.types import CSSPathType


class OneSize(Screen[ScreenResultType]):
    """A screen that answers the terminal's size of now alone.

    A screen sends itself each size that it was laid out in. Textual drops the older of two sizes
    that stand one behind the other; with anything between them both stay, each is sent again by
    the other, and the screen goes from one to the other for ever.
    """

    CSS_PATH: ClassVar[CSSPathType | None] = str(files("ftwizard").joinpath("assets", "pages.tcss"))

    def dismiss(self, result: ScreenResultType | None = None) -> AwaitComplete:
        """Leave with a result, once, and with whatever has come to lie above."""
        if self not in self.app.screen_stack:
            return AwaitComplete()
        while (above := self.app.screen) is not self:
            above.dismiss(None)
        return super().dismiss(result)

    async def on_event(self, event: events.Event) -> None:
        if not isinstance(event, events.Resize) or event.size == self.app.size:
            await super().on_event(event)


class Dialog(OneSize[ScreenResultType], ModalScreen[ScreenResultType]):
    """A question or an account; it dismisses with the answer."""
