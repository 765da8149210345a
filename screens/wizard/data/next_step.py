"""The next step after a data check, and the questions that need confirmation."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from ftwizard.data.documents import DataReport
from ftwizard.screens import palette
from ftwizard.screens.dialogs.confirm import ConfirmDialog
from ftwizard.screens.wizard import texts
from ftwizard.screens.wizard.data import report_text
from ftwizard.text import format_count, make_visible

PENDING = {"own": "Name the validation file", "again": "Read the data again with the changes"}


def format_verdict(report: DataReport, width: int) -> Text:
    """Format the verdict with the facts below it, in ``width`` cells."""
    text = Text("\n").join(
        filter(None, (report_text.format_verdict(report), report_text.format_facts(report)))
    )
    return texts.wrap_hanging(text, 2, width)


def format_next_step(report: DataReport, pending: str = "") -> Text:
    """Format what Enter does next; ``pending``: the one of ``PENDING`` to do first."""
    words = PENDING[pending] if pending else _describe_next_step(report)
    return Text.assemble(("→ ", f"bold {palette.ACCENT}"), words, no_wrap=True)


def _describe_next_step(report: DataReport) -> str:
    if report_text.converts_first(report):
        return "Convert the rows: the target needs another format"
    if report_text.is_wrong_kind(report):
        return "Name another file: the target does not take this kind of rows"
    if not report.usable:
        return "Read it again once it is fixed"
    if report_text.lacks_conversion(report):
        return "Continue with the rows as they are; c converts them first"
    if report.rows > report.usable:
        return f"Continue with the {format_count(report.usable, 'usable row')}"
    return f"Continue with all {format_count(report.rows, 'row')}"


def list_doubts(report: DataReport) -> Iterator[ConfirmDialog]:
    """Yield the confirmations that a report needs: errors, and facts that change."""
    if errors := _ask_about_errors(report):
        yield errors
    if raised := report_text.find_tool_warning(report):
        yield ConfirmDialog(
            "Fine-tune on facts that change?", raised.message, "continue anyway", "back"
        )


def _ask_about_errors(report: DataReport) -> ConfirmDialog | None:
    if bad := report.rows - report.usable:
        return ConfirmDialog(
            f"Continue without {format_count(bad, 'row')}?",
            f"They cannot be used as they are. {format_count(report.usable, 'usable row')} remain.",
            "skip them",
            "back to the list",
        )
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if not errors:
        return None
    words = "\n".join(make_visible(finding.message, 300) for finding in errors[:4])
    return ConfirmDialog(
        "Continue despite these errors?", words, "continue anyway", "back to the list"
    )
