"""Dialogs of the commands that write new data files: target, names, progress and result."""

from __future__ import annotations

from typing import Any

from rich.text import Text
from textual.app import App

from ftwizard.data.documents import Repairs
from ftwizard.screens.dialogs import command_progress
from ftwizard.screens.dialogs.dialog import NoticeDialog
from ftwizard.screens.dialogs.forms import SaveAsDialog
from ftwizard.screens.dialogs.questions import ChooseDialog, ConfirmDialog, ResultDialog
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.wizard.data import new_files, report_text
from ftwizard.screens.wizard.data.new_files import FileCommand


async def ask_conversion(app: App[Any], draft: Draft) -> FileCommand | None:
    """Ask for the target to convert for; None on Esc."""
    options = new_files.list_targets(draft.checked) if draft.checked else []
    dialog = ChooseDialog("Convert for which target?", "", options, str(draft.target or ""))
    name = await app.push_screen_wait(dialog)
    return None if name is None else new_files.build_conversion(draft, name)


async def ask_fix(app: App[Any], draft: Draft) -> FileCommand:
    """Ask whether rows that are too long are left out, where there are any."""
    if not (question := new_files.ask_about_long(draft)):
        return new_files.build_fix(draft)
    dialog = ConfirmDialog(question, new_files.LONG_DETAILS, "leave out", "keep")
    return new_files.build_fix(draft, leaves_out_long=await app.push_screen_wait(dialog))


async def write(app: App[Any], command: FileCommand) -> tuple[list[str], Any] | None:
    """Write new files under names to ask for; return the names and the command's document.

    None if it was canceled, or failed and its error was shown.
    """
    enter = "write it" if len(command.files) == 1 else "write them"
    dialog = SaveAsDialog(command.title, command.details, fields=command.files, enter=enter)
    names = await app.push_screen_wait(dialog)
    if names is None:
        return None
    argv = command.build_argv(names)
    document = await command_progress.run_command(app, command.progress, *argv)
    return None if document is None else (names, document)


async def confirm_use(app: App[Any], heading: Text, account: Text) -> bool:
    """Show what was written; ask whether it is used from now on."""
    result = ResultDialog(heading, account, "use the new file", "keep the old one")
    return await app.push_screen_wait(result)


async def write_and_confirm(app: App[Any], command: FileCommand) -> list[str] | None:
    """Write new files under names to ask for; return the names if they are to be used."""
    if (result := await write(app, command)) is None:
        return None
    names, document = result
    if not command.unchanged:
        return names
    changes = new_files.read_changes(document)
    if isinstance(changes, Repairs) and not (changes.changed or changes.left_out):
        title = Text.assemble(report_text.MARKS["ok"], ("Nothing to fix", "bold"))
        details = new_files.describe_unchanged(changes)
        await app.push_screen_wait(NoticeDialog(title, details))
        return None
    heading = new_files.format_written(changes, names[0])
    account = new_files.format_changes(changes, command.unchanged)
    return names if await confirm_use(app, heading, account) else None
