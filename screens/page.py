"""What every screen has: a top line that says where one is, a body, and the keys below."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.message import Message
from textual.screen import ScreenResultType
from textual.widgets import Static
from textual.worker import Worker, WorkerState

if TYPE_CHECKING:
    from ftwizard.screens.app import FtwizardApp

from ftwizard.screens.dialog import OneSize
from ftwizard.screens.steps import STEPS
from ftwizard.screens.widgets.keys import Keys

MIN_COLUMNS, MIN_ROWS = 60, 16
_PLACES = {
    "next": 0, "read": 0, "rows": 0, "row": 0, "choose": 0,
    "mask": 2, "lengths": 2, "app.focus_next": 3, "back": 4, "cancel": 4, "help": 5, "quit": 6,
}  # fmt: skip
"""Of what a key does, in every footer."""
TOO_SMALL = f"Please enlarge the window:\n{MIN_COLUMNS}×{MIN_ROWS} at least."


class Page(OneSize[ScreenResultType]):
    """A screen of the app. ``body`` yields its widgets; ``HELP`` is what ``?`` shows."""

    NAME: ClassVar[str] = ""
    """What the top line calls it."""
    STEP: ClassVar[int | None] = None
    """Its place in the wizard, from 0."""
    HELP: ClassVar[str] = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back", key_display="esc"),
        Binding("f1,question_mark", "help", "help", key_display="?"),
    ]
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-cramped"), (MIN_COLUMNS, "-narrow"), (110, "-wide"),
    ]  # fmt: skip
    VERTICAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-flat"), (MIN_ROWS, "-low"), (22, "-short"), (36, "-tall"),
    ]  # fmt: skip

    def compose(self) -> ComposeResult:
        yield Static(TOO_SMALL, id="too-small", markup=False)
        yield Static(self._top(), id="top", markup=False)
        yield from self.body()
        yield Keys()

    def body(self) -> ComposeResult:
        """Yield the widgets between top line and keys."""
        raise NotImplementedError

    def top_line(self) -> Text:
        """Return the top line: the product, and where one is in it."""
        line = Text.assemble((" ftwizard ", "bold reverse"), "  ", no_wrap=True)
        if self.STEP is None:
            return line.append(self.NAME, "bold")
        for number, name in enumerate(STEPS):
            mark = "✓" if number < self.STEP else "●" if number == self.STEP else "○"
            style = "bold" if number == self.STEP else "dim" if number > self.STEP else ""
            line.append(f"{mark} {name}", style).append("  ")
        return line

    def say_line(self) -> None:
        """Say that the line to the terminal is slow, or no more."""
        for top in self.query("#top").results(
            Static
        ):  # a page that is not composed yet says it then
            top.update(self._top())

    def _top(self) -> Text:
        said = "   slow line: seldom redrawn" if getattr(self.app, "slow", False) else ""
        return self.top_line().append(said, "dim")

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """Return the keys in the order of every footer: enter, what is special here, the way out."""
        found = super().active_bindings
        return dict(sorted(found.items(), key=lambda item: _place(item[1].binding.action)))

    def action_back(self) -> None:
        """Leave for the screen before."""
        self.dismiss(None)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            cast("FtwizardApp", self.app).tell(event.worker.error)

    def action_help(self) -> None:
        from ftwizard.screens.help import Help

        self.app.push_screen(Help(self.NAME or STEPS[self.STEP or 0], self.HELP))


def _place(action: str) -> int:
    """Return the place of a key: what Enter does, what is special here, getting about, leaving."""
    return _PLACES.get(action, 1)


class WizardPage(Page[ScreenResultType]):
    """A page of the wizard: Enter is next wherever the focus is, up and down move it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "next", "next", key_display="enter", priority=True),
        # A question mark is typed where there is a line to type in.
        Binding("f1,question_mark", "help", "help", key_display="F1"),
        Binding("tab", "app.focus_next", "next field", key_display="tab"),
        Binding("up", "app.focus_previous", "up", show=False),
        Binding("down", "app.focus_next", "down", show=False),
    ]

    class Entered(Message):
        """Enter was pressed."""

    def action_next(self) -> None:
        """Go on once the keys before this one are obeyed: a slow line delivers them in one piece."""
        (self.focused or self).post_message(self.Entered())  # it goes the way that keys go

    def on_wizard_page_entered(self) -> None:
        self.app.call_later(self.call_later, self.go_on)

    def go_on(self) -> object:
        """Do what Enter does here."""
        raise NotImplementedError
