"""New data files: the commands that make them, and texts on what changed."""

from __future__ import annotations

import contextlib
import re
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.text import Text

from ftwizard.data import platforms, row_edit
from ftwizard.data.documents import Conversion, DataReport, Repairs
from ftwizard.data.row_edit import RowEdit, TextProblem
from ftwizard.plan import schema
from ftwizard.plan.schema import Plan
from ftwizard.screens.draft.drafts import SHARES, Draft, format_path
from ftwizard.screens.draft.suggestions import suggest_name
from ftwizard.screens.terminal import visible_text
from ftwizard.screens.wizard.data import data_check, report_text
from ftwizard.text import format_count, make_visible

_EDITED = re.compile(r"\.edited(-\d+)?(?=\.jsonl$)")
"""Part of the name of a file with an edited row: the next edit gets the same name, numbered."""
MAX_SHOWN_DIFFERENCES = 12
LONG_DETAILS = (
    "Training cuts such rows, and one may take longer to evaluate than all others. Left out, they are in "
    "neither the training nor the test rows."
)


@dataclass(frozen=True)
class FileCommand:
    """A command that writes new data files, and the texts around it."""

    title: str
    details: str
    files: tuple[tuple[str, str], ...]
    """Label and suggested name of each new file."""
    progress: str
    """Title while it runs."""
    argv: tuple[str, ...]
    """The command, without the options of ``outputs``."""
    outputs: tuple[str, ...]
    """The option that names each new file."""
    unchanged: str = ""
    """Text if no row was changed; empty if the result is used without a question."""
    validation: str | None = None
    """The validation file that is kept."""

    def build_argv(self, names: Sequence[str]) -> list[str]:
        """Build the command that writes under these names."""
        named = [part for pair in zip(self.outputs, names, strict=True) for part in pair]
        return [*self.argv, *named]

    def get_files(self, names: Sequence[str]) -> schema.Files:
        """Return the data files to continue with."""
        validation = names[1] if len(names) > 1 else self.validation
        return schema.Files(train=names[0], validation=validation)


def build_fix(draft: Draft, *, leaves_out_long: bool = False) -> FileCommand:
    """Build the command that fixes the rows, and replaces secrets in them."""
    length = str(draft.plan.recipe.max_length)
    files, report = draft.plan.data.files, draft.checked
    redacts = report is not None and report_text.count_secrets(report) > 0
    secrets = "Secrets become placeholders. " if redacts else ""
    return FileCommand(
        "Fix into a new file",
        "Only unambiguous errors are fixed. Rows that would need a guess are skipped and listed. "
        f"{secrets}Your file is not changed.",
        (("New file", suggest_name(files.train, "fixed")),),
        f"Fixing {make_visible(format_path(files.train), 50)}",
        (
            "check",
            *data_check.build_target_args(draft.plan, draft.target, files.train),
            *(("--redact",) if redacts else ()),
            *(("--leave-out-long", "--max-length", length) if leaves_out_long else ()),
        ),
        ("--fix",),
        "Nothing was changed.",
        files.validation,
    )


def ask_about_long(draft: Draft) -> str:
    """Return the question on rows that are too long; empty if there are none."""
    count = report_text.count_rows(draft.checked, "too_long") if draft.checked else 0
    if not count:
        return ""
    return f"Leave out {format_count(count, 'row')} that {'is' if count == 1 else 'are'} too long?"


def build_split(draft: Draft) -> FileCommand:
    """Build the command that splits the rows into a training and a validation file."""
    source, bad = draft.plan.data.files.train, count_bad_rows(draft)
    share = draft.share if draft.share in ("0.1", "0.2") else "0.1"
    without = "\nUnusable rows are skipped." if bad else ""
    read = data_check.build_target_args(draft.plan, draft.target, source)
    argv = ("split", *read, "--validation", share)
    return FileCommand(
        "Split into two files",
        f"Validation gets {dict(SHARES)[share]}. Rows with the same prompt stay together.{without}",
        (
            ("Training file", suggest_name(source, "train")),
            ("Validation file", suggest_name(source, "validation")),
        ),
        f"Splitting {make_visible(format_path(source), 50)}",
        (*argv, *(("--allow", "skip-bad-rows") if bad else ())),
        ("--out-train", "--out-validation"),
    )


def build_row_args(plan: Plan, path: str, line: int) -> tuple[str, ...]:
    """Build the command that prints a row as text to edit."""
    return ("edit", path, "--line", str(line), *data_check.build_encoding_args(plan))


def build_edit(plan: Plan, path: str, line: int, row: str) -> FileCommand:
    """Build the command that replaces the row at a line with that in the file ``row``."""
    source = str(Path(path).with_name(_EDITED.sub("", Path(path).name)))
    return FileCommand(
        "Save the edited row",
        "All rows are copied into a new file with this row replaced. Your file is not changed.",
        (("New file", suggest_name(source, "edited")),),
        "Writing the new file",
        (*build_row_args(plan, path, line), "--row", row),
        ("--out",),
        validation=plan.data.files.validation,
    )


def format_edit(edited: RowEdit) -> tuple[Text, Text]:
    """Format where an edited row was written, and what changed in it."""
    heading = Text.assemble(
        report_text.MARKS["ok"],
        (f"{format_count(edited.rows, 'row')} written", "bold"),
        f" to {make_visible(format_path(edited.out), 200)}",
    )
    account = Text(f"{edited.unit.capitalize()} {edited.line:,}:\n")
    for difference in edited.differences[:MAX_SHOWN_DIFFERENCES]:
        account.append("· ", "dim").append(f"{row_edit.describe_difference(difference)}\n")
    if (more := len(edited.differences) - MAX_SHOWN_DIFFERENCES) > 0:
        account.append(f"· and {more:,} more\n", "dim")
    if edited.left_out:
        damaged = format_count(edited.left_out, "damaged row")
        account.append(*report_text.MARKS["error"]).append(f"{damaged} left out\n")
    return heading, account


@contextlib.contextmanager
def keep_text(text: str) -> Iterator[str]:
    """Yield a private temporary file with a text."""
    with tempfile.TemporaryDirectory(prefix="ftwizard-") as folder:
        file = Path(folder) / "row.json"
        file.write_text(text, encoding="utf-8", errors="backslashreplace")
        yield str(file)


def describe_problem(problem: TextProblem | None) -> Text:
    """Describe whether a text is a row."""
    if problem is None:
        return Text.assemble(report_text.MARKS["ok"], "valid JSON")
    at = f"Line {problem.line}, column {problem.column}: " if problem.line else ""
    return Text.assemble(report_text.MARKS["error"], at, make_visible(problem.message, 300))


def describe_unchanged(changes: Repairs) -> str:
    """Describe that a fix changed no row, so that the new file is not needed."""
    return (
        f"{make_visible(format_path(changes.out), 200)} has the same rows as your file and is not "
        "needed. Your file is still the one in use."
    )


def build_conversion(draft: Draft, target: str) -> FileCommand:
    """Build the command that converts the rows for a target."""
    source, words = draft.plan.data.files.train, platforms.get_target(target).words
    return FileCommand(
        f"Convert for {words}",
        "What the target cannot represent is listed by row, never dropped silently.",
        (("New file", suggest_name(source, target)),),
        f"Converting for {words}",
        ("convert", *data_check.build_file_args(draft.plan, source), "--target", target),
        ("--out",),
        "Every row was converted completely.",
    )


def read_changes(document: dict[str, Any]) -> Repairs | Conversion:
    """Read which rows a command fixed or converted."""
    if "repairs" in document:
        return msgspec.convert(document["repairs"], Repairs)
    return msgspec.convert(document, Conversion)


def count_bad_rows(draft: Draft) -> int:
    """Count the unusable rows."""
    return draft.checked.rows - draft.checked.usable if draft.checked else 0


def list_targets(report: DataReport) -> list[tuple[str, str]]:
    """List the targets that rows of this kind can be converted for, by name and label."""
    kinds = {row.example["kind"] for row in report.preview}
    every = platforms.all_targets().values()
    fit = [
        target
        for target in every
        if kinds & set(target.kinds)
        or ("preference" in kinds and platforms.describe_move("preference", target))
    ] or list(every)
    return [(target.name, target.words) for target in fit]


def format_written(done: Repairs | Conversion, file: str) -> Text:
    """Format how many rows were written."""
    rows = f"{done.rows_out:,} of {format_count(done.rows_in, 'row')}"
    return Text.assemble(
        report_text.MARKS["ok"],
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
            text.append(*report_text.MARKS[severity]).append(
                f"{format_count(change.count, 'row')}{words}: "
            )
            text.append_text(visible_text.mark_line(change.message, 300))
            if change.lines:
                text.append(f"\n  {report_text.format_lines(change, unit=done.unit)}", "dim")
            text.append("\n")
    return text or Text(none)
