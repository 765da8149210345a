"""New data files: the commands that make them, and texts on what changed."""

from __future__ import annotations

from dataclasses import dataclass

from rich.text import Text

from ftwizard.data import platforms
from ftwizard.data.documents import Conversion, DataReport, Repairs
from ftwizard.screens.draft.drafts import Draft, format_path
from ftwizard.screens.terminal import visible_text
from ftwizard.screens.wizard.data import data_check, report_text
from ftwizard.text import format_count, make_visible


@dataclass(frozen=True)
class CreatedFiles:
    """New files to continue with."""

    train: str
    validation: str | None = None


def get_split_share(draft: Draft) -> str:
    """Return the validation share to split off: the chosen one, else 0.1."""
    return draft.share if draft.share in ("0.1", "0.2") else "0.1"


def count_bad_rows(draft: Draft) -> int:
    """Count the unusable rows."""
    return draft.checked.rows - draft.checked.usable if draft.checked else 0


def build_split_command(draft: Draft, train: str, validation: str) -> list[str]:
    """Build the command that splits the data into two files."""
    argv = ["split", *data_check.build_file_args(draft.plan, draft.plan.data.files.train)]
    argv += ["--out-train", train, "--out-validation", validation]
    argv += ["--validation", get_split_share(draft)]
    return [*argv, "--allow", "skip-bad-rows"] if count_bad_rows(draft) else argv


def list_targets(report: DataReport) -> list[tuple[str, str]]:
    """List the targets that accept rows of this kind, by name and label."""
    kinds = {row.example["kind"] for row in report.preview}
    every = platforms.all_targets().values()
    fit = [target for target in every if kinds & set(target.kinds)] or list(every)
    return [(target.name, target.words) for target in fit]


def format_written(done: Repairs | Conversion, file: str) -> Text:
    """Format how many rows were written."""
    sign, style = report_text.MARKS["ok"]
    rows = f"{done.rows_out:,} of {format_count(done.rows_in, 'row')}"
    return Text.assemble(
        (f"{sign} ", style),
        (f"{rows} written", "bold"),
        f" to {make_visible(format_path(file), 200)}",
    )


def format_changes(done: Repairs | Conversion, none: str) -> Text:
    """Format which rows were changed and which were skipped, with their lines."""
    text = Text()
    for severity, changes, words in (
        ("warning", done.changed, ""),
        ("error", done.left_out, " skipped"),
    ):
        for change in changes:
            sign, style = report_text.MARKS[severity]
            text.append(f"{sign} ", style).append(f"{format_count(change.count, 'row')}{words}: ")
            text.append_text(visible_text.mark_line(change.message, 300))
            if change.lines:
                text.append(f"\n  {report_text.format_lines(change)}", "dim")
            text.append("\n")
    return text or Text(none)
