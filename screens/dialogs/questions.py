"""Questions: confirmation with Enter, with y or with a typed phrase, and a choice from a list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Input, Static

from ftwizard.screens import layout, palette
from ftwizard.screens.dialogs.dialog import Dialog
from ftwizard.screens.widgets.menu import Menu, MenuLine
from ftwizard.screens.widgets.scroll_pane import ScrollPane, TextPane
from ftwizard.screens.widgets.text_input import TextInput

MAX_BOX_SHARE = 0.9
"""Share of the screen's rows that a dialog takes at most, as in ``pages.tcss``."""
MIN_MENU_ROWS = 3


class ConfirmDialog(Dialog[bool]):
    """Dismisses with True on Enter, False on Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter", "dismiss(True)", "yes", show=False),
        Binding("escape", "dismiss(False)", "no", show=False),
    ]

    def __init__(self, question: Text | str, details: str, yes: str, no: str = "cancel") -> None:
        title = Text(question, "bold") if isinstance(question, str) else question
        super().__init__(title, details, keys=[("enter", yes), ("esc", no)])


class ResultDialog(ConfirmDialog):
    """Confirms the result of a command: ``account`` below a heading; arrow keys scroll it."""

    def __init__(self, heading: Text, account: Text, yes: str, no: str) -> None:
        super().__init__(heading, "", yes, no)
        self._account = account

    def body(self) -> ComposeResult:
        yield TextPane(id="account")

    def on_mount(self) -> None:
        self.query_one(TextPane).focus()
        self.on_resize()

    def on_resize(self) -> None:
        self.call_after_refresh(self._show)

    def _show(self) -> None:
        pane = self.query_one(TextPane)
        pane.show(layout.wrap_hanging(self._account, 2, pane.visible_size[0]))


class DestructiveConfirm(Dialog[bool]):
    """Confirms what cannot be undone: True on y as on the command line, False on Enter, Esc and n."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "yes", show=False),
        Binding("escape,enter,n", "dismiss(False)", "no", show=False),
    ]

    def __init__(self, question: str, details: str, yes: str) -> None:
        super().__init__(Text(question, "bold"), details, keys=[("y", yes), ("esc", "cancel")])


class TypedConfirm(Dialog[bool]):
    """Dismisses with True once ``phrase`` was typed, never on a stray Enter; with False on Esc."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss(False)", "no", show=False),
    ]

    def __init__(
        self, warning: str, hint: str, phrase: str, lead: str = "To continue anyway, type"
    ) -> None:
        super().__init__(
            Text.assemble(("! ", f"bold {palette.WARNING}"), warning),
            hint,
            Text.assemble(f"{lead}  ", (phrase, "bold")),
            keys=[("enter", "confirm"), ("esc", "back")],
        )
        self._phrase = phrase

    def body(self) -> ComposeResult:
        yield TextInput(max_length=100)
        yield Static(id="wrong", markup=False)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        event.stop()
        typed = event.value.strip().lower()
        if typed == self._phrase:
            self.dismiss(True)
            return
        event.input.value = ""
        problem = f"{'No match. ' if typed else ''}Type the words above."
        self.query_one("#wrong", Static).update(Text.assemble(("✗ ", palette.BAD), problem))


class ChooseDialog(Dialog[str | None]):
    """Dismisses with the id of the chosen option, None on Esc."""

    BOX = ScrollPane

    def __init__(
        self, question: str, details: str, options: Sequence[tuple[str, str]], chosen: str = ""
    ) -> None:
        keys = [("enter", "select"), ("esc", "back")]
        super().__init__(Text(question, "bold"), details, keys=keys)
        self._options, self._chosen = options, chosen

    def body(self) -> ComposeResult:
        yield Menu(id="options")

    def on_mount(self) -> None:
        menu = self.query_one(Menu)
        lines = [MenuLine(Text(label, no_wrap=True), id) for id, label in self._options]
        menu.show(lines, cursor=self._chosen or None)
        menu.focus()

    def on_resize(self) -> None:
        self.call_after_refresh(self._fit_menu)

    def _fit_menu(self) -> None:
        """Keep the menu within what the texts above it leave of the box: it scrolls, the box not."""
        box, menu = self.query_one("#box"), self.query_one(Menu)
        above = sum(
            text.outer_size.height + text.styles.margin.height for text in box.query(Static)
        )
        rows = (
            int(self.size.height * MAX_BOX_SHARE)
            - box.gutter.height
            - menu.styles.margin.height
            - above
        )
        menu.styles.max_height = max(MIN_MENU_ROWS, rows)
        # Below a long text on a small screen, enter would choose what cannot be seen.
        self.call_after_refresh(menu.scroll_visible, animate=False)

    def on_menu_chosen(self, event: Menu.Chosen) -> None:
        self.dismiss(event.id)
