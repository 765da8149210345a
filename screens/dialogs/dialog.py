"""Base classes of screens and dialogs, and the error dialog."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen, ScreenResultType
from textual.types import CSSPathType
from textual.widget import Widget
from textual.widgets import Static

from ftwizard.errors import FtwizardError
from ftwizard.screens import crash_log, layout, palette
from ftwizard.screens.terminal import clipboard
from ftwizard.screens.terminal.app import TerminalScreen
from ftwizard.screens.widgets.keys import QUIT, Key, Keys, list_keys
from ftwizard.screens.widgets.scroll_pane import ScrollPane
from ftwizard.text import make_visible

MAX_FIX = 3000
"""Characters of a fix that an error shows: a policy document, with the commands that create it."""
MIN_COPIED = 200
"""Characters from which a fix can be copied by a key."""


class BaseScreen(TerminalScreen[ScreenResultType]):
    """A screen that ignores resize events for any size but the current one.

    A screen sends itself every size that it was laid out in. Textual drops the older of two adjacent
    resize events. With another event between them both stay, each triggers the other again, and the
    screen alternates between the two sizes forever.
    """

    CSS_PATH: ClassVar[CSSPathType | None] = str(files("ftwizard").joinpath("assets", "pages.tcss"))
    NOTES: ClassVar[tuple[str, ...]] = ()
    """Notes behind ``?``, below the keys: a line each, without keys."""
    BINDINGS: ClassVar[list[BindingType]] = [
        # With an input, "?" must remain typeable.
        Binding(
            "f1,question_mark", "help", "help", key_display="?", show=False, tooltip="this list"
        ),
    ]

    @property
    def help_title(self) -> str:
        """Return the title of the help."""
        raise NotImplementedError

    @property
    def help_notes(self) -> tuple[str, ...]:
        """Return the notes of the help."""
        return self.NOTES

    def list_help_keys(self) -> dict[str, list[str]]:
        """List what each key does, with the names of the keys."""
        return list_keys(self)

    def action_help(self) -> None:
        self.app.push_screen(HelpDialog(self))

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
    """A modal question or message in a box; dismisses with the answer, with None on Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(None)", "back", show=False),
    ]
    BOX: ClassVar[type[Widget]] = Vertical

    def __init__(self, *lines: Text | str, keys: Sequence[tuple[str, str]] = ()) -> None:
        """``lines``: texts at the top, unless empty; ``keys``: for the footer, with what each does."""
        super().__init__()
        self._lines, self._keys = lines, keys

    def compose(self) -> ComposeResult:
        with self.BOX(id="box"):
            for line in self._lines:
                if line:
                    classes = None if line is self._lines[0] else "details"
                    yield Static(line, classes=classes, markup=False)
            yield from self.body()
        # Covers the footer of the page below, whose keys do nothing now.
        yield Keys([*(Key(name, does, name, True) for name, does in self._keys), QUIT])

    def body(self) -> ComposeResult:
        """Yield the widgets below the lines."""
        yield from ()

    @property
    def help_title(self) -> str:
        first = self._lines[0]
        return first.plain if isinstance(first, Text) else first

    def list_help_keys(self) -> dict[str, list[str]]:
        """List the keys in the footer by the words there, then the others."""
        named = dict(self._keys)
        keys = {does: [name] for name, does in named.items()}
        for does, names in super().list_help_keys().items():
            if others := [name for name in names if name not in named]:
                keys.setdefault(does, []).extend(others)
        return keys


class HelpDialog(Dialog[None]):
    """Lists what each key of a screen does, and notes on it; any of its own keys closes it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,f1,question_mark,enter,q", "dismiss", "close", show=False),
    ]
    BOX = ScrollPane

    def __init__(self, below: BaseScreen[Any]) -> None:
        super().__init__(Text(below.help_title, "bold"), keys=[("esc", "close")])
        keys = [(" ".join(names), does) for does, names in below.list_help_keys().items()]
        self._rows = [*((Text(name, "bold"), does) for name, does in keys)]
        self._notes = below.help_notes

    def body(self) -> ComposeResult:
        yield Static(layout.build_table(self._rows), markup=False)
        if self._notes:
            notes = Text("\n").join(Text.assemble(("· ", "dim"), note) for note in self._notes)
            yield Static(notes, markup=False)


class NoticeDialog(Dialog[None]):
    """Shows a text until it is closed."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,enter", "dismiss", "close", show=False),
    ]
    BOX = ScrollPane

    def __init__(self, title: Text, details: str, *keys: tuple[str, str]) -> None:
        super().__init__(title, details, keys=[*keys, ("enter", "close")])


class ErrorDialog(NoticeDialog):
    """Shows an error with its fix until it is closed; a long fix, as of several commands, can be copied."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("c", "copy", "copy the fix", show=False),
    ]

    def __init__(self, error: FtwizardError) -> None:
        self._fix = make_visible(error.hint, MAX_FIX)
        message = make_visible(error.message, 1500)
        super().__init__(
            Text.assemble(("✗ ", f"bold {palette.BAD}"), message),
            self._fix,
            *([("c", "copy the fix")] if self._can_copy else []),
        )

    @property
    def _can_copy(self) -> bool:
        return len(self._fix) >= MIN_COPIED

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "copy":
            return self._can_copy
        return super().check_action(action, parameters)

    def action_copy(self) -> None:
        """Copy the fix, which a box in a narrow window cuts into lines."""
        clipboard.copy(self.app, self._fix)
        self.app.notify("Copied, if your terminal allows it. In tmux, prefix ] pastes it.")


def show_error(app: App[Any], error: BaseException) -> None:
    """Show an error from part of a screen; the rest keeps running."""
    if not isinstance(error, FtwizardError):
        error = crash_log.to_user_error(error)
    app.push_screen(ErrorDialog(error))
