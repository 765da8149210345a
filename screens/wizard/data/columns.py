"""The Columns page: which column each part of an example is read from."""

from __future__ import annotations

from typing import ClassVar

from textual import on, work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Static

from ftwizard.data.column_report import ColumnReport
from ftwizard.data.mapping.column_map import ColumnMap
from ftwizard.screens.dialogs.forms import FormDialog
from ftwizard.screens.page import Page
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.widgets.scroll_pane import TextPane
from ftwizard.screens.wizard.data import column_choices
from ftwizard.screens.wizard.data.column_choices import FIELDS, HINT, KINDS, ROLES, ColumnChoices
from ftwizard.text import make_visible

KIND = "kind"
SPEAKER = "speaker-"
PART = "part-"
"""Beginning of the id of a part's field."""


class SourceDialog(FormDialog[str]):
    """Asks for a column, a nested key or a template; dismisses with it, empty for none."""

    MAX_LENGTH = 400

    def parse(self, typed: list[str]) -> str:
        return column_choices.parse_source(typed[0])


class ColumnsPage(Page[ColumnMap]):
    """Dismisses with the mapping on Enter, with None on Esc."""

    STEP: ClassVar[int | None] = 1
    NAME = "Columns"
    NOTES = (
        "Choose the column of each part; the row below is the result.",
        "Nested key: meta.turns[0].text. Template: {title}\\n\\n{body}.",
        "Words for roles that are not understood are listed.",
    )
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "enter",
            "next",
            "apply",
            key_display="enter",
            priority=True,
            tooltip="apply, and check all rows",
        ),
        Binding("t", "type", "type a column", tooltip="type a nested key or a template"),
        Binding("up", "app.focus_previous", "up", show=False, tooltip="previous part"),
        Binding("down", "app.focus_next", "down", show=False, tooltip="next part"),
        Binding("pageup", "scroll_row(-1)", "scroll up", show=False, tooltip="scroll the row"),
        Binding("pagedown", "scroll_row(1)", "scroll down", show=False, tooltip="scroll the row"),
    ]

    def __init__(self, report: ColumnReport, reason: str, columns: ColumnMap | None = None) -> None:
        """``reason``: why the page is shown; ``columns``: the mapping so far, if there is one."""
        super().__init__()
        self._reason = reason
        self._choices = ColumnChoices.start(report, columns)

    def body(self) -> ComposeResult:
        yield Static(make_visible(self._reason, 300), id="heading", markup=False)
        with Horizontal(classes="field"):
            yield Static("Each row is", classes="name", markup=False)
            yield Choice(KINDS, self._choices.kind, id=KIND)
        yield Vertical(id="parts")
        yield TextPane(id="preview")

    async def on_mount(self) -> None:
        await self._build()
        self.query_one(f"#{self._first_part}", Choice).focus()

    @property
    def _first_part(self) -> str:
        return PART + FIELDS[self._choices.kind][0][0]

    @property
    def _parts(self) -> list[tuple[str, str, list[tuple[str, str]], str]]:
        """Id, label, options and value of each field below the kind."""
        choices = self._choices
        parts = [
            (PART + name, label, choices.list_options(name), choices.sources.get(name, ""))
            for name, label in FIELDS[choices.kind]
        ]
        for number, word in enumerate(choices.list_speakers()):
            label = f"“{make_visible(word, 10)}” is"
            parts.append((f"{SPEAKER}{number}", label, list(ROLES), choices.columns.roles[word]))
        return parts

    async def _build(self) -> None:
        """Show a field for each part of this kind of rows."""
        box, focused = self.query_one("#parts", Vertical), self.focused
        focused_id = focused.id if focused else None
        await box.remove_children()
        await box.mount_all(
            Horizontal(
                Static(label, classes="name", markup=False),
                Choice(options, value, id=name),
                classes="field",
            )
            for name, label, options, value in self._parts
        )
        if focused_id and focused_id != KIND and (same := self.query(f"#{focused_id}")):
            same.first().focus()
        self._show()

    @on(Choice.Changed)
    async def _chosen(self, event: Choice.Changed) -> None:
        id, before = event.choice.id or "", self._parts
        if id == KIND:
            self._choices = self._choices.with_kind(event.value)
        elif id.startswith(SPEAKER):
            word = self._choices.list_speakers()[int(id.removeprefix(SPEAKER))]
            self._choices = self._choices.with_role(word, event.value)
        else:
            self._choices = self._choices.with_source(id.removeprefix(PART), event.value)
        if [part[:3] for part in self._parts] != [part[:3] for part in before]:
            await self._build()
        self._show()

    def _show(self) -> None:
        self.query_one("#preview", TextPane).show(column_choices.format_preview(self._choices))
        self.refresh_bindings()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        if action == "type" and self.is_mounted:
            focused = self.focused
            return isinstance(focused, Choice) and (focused.id or "").startswith(PART)
        return True

    def on_descendant_focus(self) -> None:
        self.refresh_bindings()

    def action_scroll_row(self, by: int) -> None:
        self.query_one("#preview", TextPane).scroll_pages(by)

    @work(group="type", exclusive=True, exit_on_error=False)
    async def action_type(self) -> None:
        """Ask for the source of the focused part."""
        part = ((self.focused.id if self.focused else "") or "").removeprefix(PART)
        label = dict(FIELDS[self._choices.kind])[part]
        typed = column_choices.show_source(self._choices.sources.get(part, ""))
        dialog = SourceDialog(f"Where is it: {label}?", HINT, fields=[("Column", typed)])
        source = await self.app.push_screen_wait(dialog)
        if source is not None:
            self._choices = self._choices.with_source(part, source)
            await self._build()

    def action_next(self) -> None:
        """Apply the mapping after earlier keys were handled."""
        self.app.call_later(self.call_later, self._apply)

    def _apply(self) -> None:
        example = self._choices.preview()
        if isinstance(example, dict):
            self.dismiss(self._choices.columns)
        else:
            words = (
                example if isinstance(example, str) else f"No row is read so: {example.message}."
            )
            self.notify(make_visible(words, 300), severity="warning", markup=False)
