"""Dialogs on how a file is read: its format, columns and encoding.

Each returns the draft to read again, the same one to keep it as it was.
"""

from __future__ import annotations

from typing import Any

import msgspec
from textual.app import App

from ftwizard.data.column_report import ColumnReport
from ftwizard.errors import FtwizardError
from ftwizard.screens.dialogs import command_progress
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.dialogs.questions import ChooseDialog
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.wizard.data import column_choices, data_check
from ftwizard.screens.wizard.data.columns import ColumnsPage
from ftwizard.text import make_visible


async def ask_after_error(app: App[Any], draft: Draft, error: FtwizardError) -> Draft:
    """Show why a file cannot be read, and ask for what would make it readable."""
    words = make_visible(error.message, 500)
    if encodings := data_check.list_candidate_encodings(error):
        return await _choose_encoding(app, draft, words, encodings)
    if error.code == data_check.LACKS_ANSWER:
        return await ask_columns(app, draft)
    if error.code == "unknown_format":
        report = await _read_columns(app, draft)
        if report is None or report.format is None:
            return await _choose_columns(app, draft, report) if report else draft
    options = data_check.list_candidate_formats(error)
    if not options:
        await app.push_screen_wait(ErrorDialog(error))
        return draft
    chosen = await app.push_screen_wait(ChooseDialog("Which format is it?", words, options))
    return draft if chosen is None else draft.with_data(format=chosen)


async def ask_columns(app: App[Any], draft: Draft) -> Draft:
    """Ask which column each part of an example is read from."""
    report = await _read_columns(app, draft)
    return await _choose_columns(app, draft, report) if report else draft


async def _read_columns(app: App[Any], draft: Draft) -> ColumnReport | None:
    title, argv = data_check.build_columns_command(draft.plan)
    document = await command_progress.run_command(app, title, *argv)
    return None if document is None else msgspec.convert(document, ColumnReport)


async def _choose_columns(app: App[Any], draft: Draft, report: ColumnReport) -> Draft:
    reason = column_choices.format_reason(report)
    page = ColumnsPage(report, reason, draft.plan.data.columns)
    mapping = await app.push_screen_wait(page)
    return draft if mapping is None else draft.with_data(format="auto", columns=mapping)


async def ask_encoding(app: App[Any], draft: Draft) -> Draft:
    """Ask for the encoding: the likely ones, or whether the chosen one is kept."""
    if draft.checked and (likely := draft.checked.likely_encoding):
        details = data_check.describe_encoding(likely)
        return await _choose_encoding(app, draft, details, data_check.list_encodings(likely))
    if encoding := draft.plan.data.encoding:
        options = data_check.list_other_encodings(encoding)
        return await _choose_encoding(app, draft, "The file is not changed.", options)
    return draft


async def _choose_encoding(
    app: App[Any], draft: Draft, details: str, options: list[tuple[str, str]]
) -> Draft:
    dialog = ChooseDialog(data_check.ENCODING_QUESTION, details, options)
    chosen = await app.push_screen_wait(dialog)
    if chosen is None:
        return draft
    return draft.with_data(encoding=None if chosen == data_check.UTF_8 else chosen)
