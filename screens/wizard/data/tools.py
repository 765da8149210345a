"""Tools that write new data files: fix, split and convert."""

from __future__ import annotations

from typing import Any

import msgspec
from textual.app import App

from ftwizard.data import platforms
from ftwizard.data.documents import Conversion, DataReport
from ftwizard.screens.dialogs import command_progress
from ftwizard.screens.dialogs.forms import SaveAsDialog
from ftwizard.screens.dialogs.questions import ChooseDialog, ResultDialog
from ftwizard.screens.draft.drafts import SHARES, Draft, format_path
from ftwizard.screens.draft.suggestions import suggest_name
from ftwizard.screens.wizard.data import data_check, new_files
from ftwizard.screens.wizard.data.new_files import CreatedFiles
from ftwizard.text import make_visible

_USE = ("use the new file", "keep the old one")


async def repair(app: App[Any], draft: Draft) -> CreatedFiles | None:
    """Fix the rows into a new file and show the changes; return it if it is to be used."""
    source = draft.plan.data.files.train
    named = await app.push_screen_wait(
        SaveAsDialog(
            "Fix into a new file",
            "Only unambiguous errors are fixed. Rows that would need a guess are skipped and listed. "
            "Your file is not changed.",
            fields=[("New file", suggest_name(source, "fixed"))],
            enter="writes it",
        )
    )
    if named is None:
        return None
    argv = (
        "check",
        *data_check.build_target_args(draft.plan, draft.target, source),
        "--fix",
        named[0],
    )
    document = await command_progress.run_command(
        app, f"Fixing {make_visible(format_path(source), 50)}", *argv
    )
    if document is None:
        return None
    done = msgspec.convert(document, DataReport).repairs
    assert done is not msgspec.UNSET
    account = new_files.format_changes(done, "Nothing needed fixing.")
    if not await app.push_screen_wait(
        ResultDialog(new_files.format_written(done, named[0]), account, *_USE)
    ):
        return None
    return CreatedFiles(named[0], draft.plan.data.files.validation)


async def split(app: App[Any], draft: Draft) -> CreatedFiles | None:
    """Split the rows into a training and a validation file; return both."""
    source = draft.plan.data.files.train
    share = dict(SHARES)[new_files.get_split_share(draft)]
    without = "\nUnreadable rows are skipped." if new_files.count_bad_rows(draft) else ""
    named = await app.push_screen_wait(
        SaveAsDialog(
            "Split into two files",
            f"Validation gets {share}. Rows with the same prompt stay together.{without}",
            fields=[
                ("Training", suggest_name(source, "train")),
                ("Validation", suggest_name(source, "validation")),
            ],
            enter="writes them",
        )
    )
    if named is None:
        return None
    title = f"Splitting {make_visible(format_path(source), 50)}"
    document = await command_progress.run_command(
        app, title, *new_files.build_split_command(draft, named[0], named[1])
    )
    return None if document is None else CreatedFiles(*named)


async def convert(app: App[Any], draft: Draft) -> CreatedFiles | None:
    """Convert the rows for a target; return the file if it is to be used."""
    source, report = draft.plan.data.files.train, draft.checked
    if report is None:
        return None
    options = new_files.list_targets(report)
    name = await app.push_screen_wait(
        ChooseDialog("Convert for which target?", "", options, str(draft.target or ""))
    )
    if name is None:
        return None
    words = platforms.get_target(name).words
    named = await app.push_screen_wait(
        SaveAsDialog(
            f"Convert for {words}",
            "What the target cannot represent is listed by row, never dropped silently.",
            fields=[("New file", suggest_name(source, name))],
            enter="writes it",
        )
    )
    if named is None:
        return None
    argv = (
        "convert",
        *data_check.build_file_args(draft.plan, source),
        "--target",
        name,
        "--out",
        named[0],
    )
    document = await command_progress.run_command(app, f"Converting for {words}", *argv)
    if document is None:
        return None
    done = msgspec.convert(document, Conversion)
    account = new_files.format_changes(done, "Every row was converted completely.")
    if not await app.push_screen_wait(
        ResultDialog(new_files.format_written(done, named[0]), account, *_USE)
    ):
        return None
    return CreatedFiles(named[0])
