"""One row in an editor, and the new file that the edited row goes into."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

import msgspec
from textual import work
from textual.app import App, SuspendNotSupported
from textual.binding import Binding, BindingType
from textual.widgets import TextArea

from ftwizard.background import run_in_thread
from ftwizard.cli import edit
from ftwizard.data import row_edit
from ftwizard.data.row_edit import RowEdit, RowText
from ftwizard.errors import FtwizardError
from ftwizard.plan.schema import Plan
from ftwizard.screens.dialogs import command_progress
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.dialogs.questions import ConfirmDialog
from ftwizard.screens.wizard.data import new_file_dialogs, new_files
from ftwizard.screens.wizard.text_area_page import TextAreaPage
from ftwizard.text import format_bytes

REST_S = 0.3
"""Time without a key until the text is checked."""
MAX_LINE_CHARACTERS = 20_000
"""Longest line that is edited here: each key lays out its whole line anew."""
MAX_CHARACTERS = 200_000


async def edit_row(app: App[Any], plan: Plan, path: str, line: int) -> RowEdit | None:
    """Edit a row and write it into a new file; return the edit if that file is to be used.

    What was typed is only given up after a question.
    """
    title = "Reading the row"
    argv = new_files.build_row_args(plan, path, line)
    document = await command_progress.run_command(app, title, *argv)
    if document is None:
        return None
    row = msgspec.convert(document, RowText)
    text = row.text
    while True:
        typed = await _ask_text(app, row, text)
        if typed is None:
            return None
        text = typed
        edited = await _write(app, plan, path, line, text)
        if edited is not None:
            heading, account = new_files.format_edit(edited)
            return edited if await new_file_dialogs.confirm_use(app, heading, account) else None


async def _write(app: App[Any], plan: Plan, path: str, line: int, text: str) -> RowEdit | None:
    """Ask for a name and write the new file; None to return to the text."""
    with new_files.keep_text(text) as row:
        command = new_files.build_edit(plan, path, line, row)
        result = await new_file_dialogs.write(app, command)
    return msgspec.convert(result[1], RowEdit) if result else None


async def _ask_text(app: App[Any], row: RowText, text: str) -> str | None:
    """Edit a text here, or one too large for that in the user's own editor; None to give up."""
    longest = max(map(len, text.splitlines()), default=0)
    if longest <= MAX_LINE_CHARACTERS and len(text) <= MAX_CHARACTERS:
        return await app.push_screen_wait(RowEditorPage(row, text))
    again = ConfirmDialog("The row is not saved yet", "", "edit again", "discard it")
    if text != row.text and not await app.push_screen_wait(again):
        return None
    try:
        text = _run_editor(app, text)
    except FtwizardError as error:
        size = format_bytes(len(text.encode(errors="replace")))
        message = f"This row has {size}, which is too large to edit here. {error.message}"
        await app.push_screen_wait(ErrorDialog(FtwizardError(message, error.hint)))
        return None
    while problem := await run_in_thread(row_edit.find_text_problem, text):
        question = ConfirmDialog(
            "The row cannot be used",
            new_files.describe_problem(problem).plain,
            "edit again",
            "discard it",
        )
        if not await app.push_screen_wait(question):
            return None
        text = _run_editor(app, text)
    return text if text.strip() != row.text.strip() else None


def _run_editor(app: App[Any], text: str) -> str:
    """Edit a text in the user's editor, with the screens suspended; raises FtwizardError."""
    argv = edit.find_editor()
    with new_files.keep_text(text) as file:
        try:
            with app.suspend():
                edit.run_editor(argv, file)
        except SuspendNotSupported:
            raise FtwizardError("No editor can be opened in this terminal.") from None
        return edit.read_text(file)


class RowEditorPage(TextAreaPage):
    """Dismisses with the edited text, or None if nothing was changed or it was discarded."""

    STEP: ClassVar[int | None] = 1
    NAME = "Edit row"
    NOTES = (
        "One part of the row per line; \\n is a line break in a text.",
        "Invisible characters are written as \\u codes.",
        "A row that is not valid JSON is shown as it is.",
    )
    UNCHANGED = "The row stays as it was."
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding(
            "ctrl+s",
            "save",
            "save",
            key_display="^s",
            priority=True,
            tooltip="save into a new file",
        ),
    ]

    def __init__(self, row: RowText, text: str) -> None:
        kind = "JSON" if row.is_json else "not valid JSON, shown as it stands"
        super().__init__(text, f"row {row.line:,}", kind)
        self._row = row

    @property
    def is_changed(self) -> bool:
        return self.query_one(TextArea).text != self._row.text

    def on_text_area_changed(self) -> None:
        self._check()

    @work(group="check", exclusive=True, exit_on_error=False)
    async def _check(self) -> None:
        """Check the text once no key follows."""
        await asyncio.sleep(REST_S)
        problem = await run_in_thread(row_edit.find_text_problem, self.query_one(TextArea).text)
        self.show_state(new_files.describe_problem(problem))

    @work(group="leave", exclusive=True, exit_on_error=False)
    async def action_save(self) -> None:
        area = self.query_one(TextArea)
        if not self.is_changed:
            self.notify("Nothing was changed.", markup=False)
            return
        if problem := await run_in_thread(row_edit.find_text_problem, area.text):
            self.show_state(new_files.describe_problem(problem))
            if problem.line and problem.column:
                area.move_cursor((problem.line - 1, problem.column - 1))
            return
        self.dismiss(area.text)
