"""Base classes of pages: top line, body and footer with keys."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import ActiveBinding, Binding, BindingType
from textual.screen import ScreenResultType
from textual.widgets import Static
from textual.worker import Worker, WorkerState

from ftwizard.screens.dialogs.dialog import BaseScreen, show_error
from ftwizard.screens.draft import STEPS
from ftwizard.screens.widgets.keys import Keys

MIN_COLUMNS, MIN_ROWS = 60, 16
_KEY_ORDER = {
    "next": 0, "read": 0, "rows": 0, "row": 0, "choose": 0,
    "mask": 2, "lengths": 2, "app.focus_next": 3, "columns": 4, "back": 5, "leave": 5, "cancel": 5,
    "help": 6, "quit": 7,
}  # fmt: skip
"""Position of each action in the footer: Enter, the page's own keys (1), navigation, leaving."""
TOO_SMALL = f"Window too small.\nEnlarge it to {MIN_COLUMNS}×{MIN_ROWS} or more."


class Page(BaseScreen[ScreenResultType]):
    """A screen of the app: ``body`` yields its widgets."""

    NAME: ClassVar[str] = ""
    """Title in the top line."""
    STEP: ClassVar[int | None] = None
    """Index of its wizard step, from 0."""
    skipped_steps: frozenset[str] = frozenset()
    """Steps of the wizard that its answers leave out."""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", "back", key_display="esc"),
        Binding("f1,question_mark", "help", "help", key_display="?", tooltip="this list"),
    ]
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-cramped"), (MIN_COLUMNS, "-narrow"), (110, "-wide"),
    ]  # fmt: skip
    VERTICAL_BREAKPOINTS = [  # noqa: RUF012
        (0, "-flat"), (MIN_ROWS, "-low"), (22, "-short"), (36, "-tall"),
    ]  # fmt: skip

    def compose(self) -> ComposeResult:
        yield Static(TOO_SMALL, id="too-small", markup=False)
        yield Static(self._format_top(), id="top", markup=False)
        yield from self.body()
        yield Keys()

    def body(self) -> ComposeResult:
        """Yield the widgets between top line and footer."""
        raise NotImplementedError

    def top_line(self) -> Text:
        """Return the top line: product and current step."""
        line = Text.assemble((" ftwizard ", "bold reverse"), "  ", no_wrap=True)
        if self.STEP is None:
            return line.append(self.NAME, "bold")
        for number, name in enumerate(STEPS):
            if name in self.skipped_steps:
                continue
            mark = "✓" if number < self.STEP else "●" if number == self.STEP else "○"
            style = "bold" if number == self.STEP else "dim" if number > self.STEP else ""
            line.append(f"{mark} {name}", style).append("  ")
        return line

    def refresh_top_line(self) -> None:
        """Update the top line; a page that is not composed yet has none."""
        for top in self.query("#top").results(Static):
            top.update(self._format_top())

    def _format_top(self) -> Text:
        suffix = "   slow connection" if getattr(self.app, "slow", False) else ""
        return self.top_line().append(suffix, "dim")

    @property
    def help_title(self) -> str:
        return self.NAME or STEPS[self.STEP or 0]

    @property
    def active_bindings(self) -> dict[str, ActiveBinding]:
        """The keys in footer order: Enter, this page's own keys, the way out."""
        bindings = super().active_bindings
        order = sorted(bindings.items(), key=lambda item: _KEY_ORDER.get(item[1].binding.action, 1))
        return dict(order)

    def action_back(self) -> None:
        """Return to the previous screen."""
        self.dismiss(None)

    def on_worker_state_changed(self, event: Worker.StateChanged) -> None:
        if event.state is WorkerState.ERROR and event.worker.error is not None:
            show_error(self.app, event.worker.error)
