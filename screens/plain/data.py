"""The questions about the data in plain mode."""

from __future__ import annotations

import shlex

import msgspec
from rich.text import Text

from ftwizard import user_paths
from ftwizard.cli import edit
from ftwizard.data import row_edit
from ftwizard.data.documents import DataReport, ShownRows
from ftwizard.data.hub import ids
from ftwizard.data.row_edit import RowEdit, RowText
from ftwizard.errors import FtwizardError
from ftwizard.plan import schema
from ftwizard.screens import palette
from ftwizard.screens.draft import drafts, objectives, recent_files, suggestions, texts
from ftwizard.screens.draft.drafts import OWN_FILE, SHARES, Draft
from ftwizard.screens.plain import columns
from ftwizard.screens.plain.prompts import CONTINUE, FORGET, OTHER, GoBack, Prompter
from ftwizard.screens.wizard.data import (
    data_check,
    length_histogram,
    new_files,
    report_text,
    row_text,
    selection,
)
from ftwizard.screens.wizard.data.new_files import FileCommand
from ftwizard.screens.wizard.data.selection import Subject
from ftwizard.text import format_count, make_lines_visible, make_visible

MAX_SHOWN_ROWS = 5
"""First rows to choose from, and rows of a finding shown at once."""
HISTOGRAM_SIZE = (76, 24)
"""Width and height of the histogram."""
_SUGGEST = suggestions.build_path_suggester(suggestions.is_data_file)


def ask_file(prompter: Prompter, draft: Draft) -> Draft:
    """Ask for the data file until it is usable; print its findings."""
    name = drafts.format_path(draft.plan.data.files.train)
    is_named = draft.checked is None and user_paths.is_file(name)  # on the command line
    if not name:
        prompter.print()
        prompter.print(texts.EXAMPLE_ROWS)
        name = _choose_recent(prompter)
        is_named = bool(name)
    while True:
        if not is_named:
            name = prompter.ask_line(
                "Data file", name, check=_find_data_problem, suggest=recent_files.suggest_data
            )
        is_named = False
        own = draft.plan.data.files.validation
        train = name if ids.parse(name) else drafts.get_absolute_path(name)
        files = schema.Files(train=train, validation=own)
        changed = files.train != draft.plan.data.files.train
        draft = draft.with_rows_as_they_are() if changed else draft
        read = check_rows(prompter, draft.with_check(files, None))
        if read is not None:
            return read


def _choose_recent(prompter: Prompter) -> str:
    """Offer the files used lately; return the chosen one, empty for another."""
    while files := [
        file for file in recent_files.list_recent() if not ids.parse(file.name) and file.exists
    ][:MAX_SHOWN_ROWS]:
        options = [
            (file.name, f"{drafts.format_path(file.name)}: {file.describe()}") for file in files
        ]
        options += [(OTHER, "another file"), (FORGET, "forget these files")]
        chosen = prompter.choose("Which data?", options)
        if chosen != FORGET:
            return "" if chosen == OTHER else drafts.format_path(chosen)
        for file in files:
            recent_files.forget(file.name)
    return ""


def check_rows(prompter: Prompter, draft: Draft) -> Draft | None:
    """Check a draft's data and print the findings; return None if no row is usable."""
    path = draft.plan.data.files.train
    fingerprint = drafts.get_fingerprint(path)
    argv = data_check.build_check_args(draft, path)
    try:
        document = prompter.run(
            f"Reading {make_visible(drafts.format_path(path), 50)}", "check", *argv
        )
    except FtwizardError as error:
        changed = _ask_how_to_read(prompter, draft, error)
        if changed is not None:
            return check_rows(prompter, changed)
        if not (options := data_check.list_candidate_formats(error)):
            prompter.print_problem(error)
            return None
        prompter.print(make_visible(error.message, 500))
        chosen = prompter.choose("Which format is it?", options)
        return check_rows(prompter, draft.with_data(format=chosen))
    report = data_check.read_report(document, draft)
    if (follows := _follow_rows(prompter, draft, report)) is not None:
        return check_rows(prompter, follows)
    print_findings(prompter, draft, report)
    recent_files.remember(path, report)
    if not report.usable and (likely := report.likely_encoding):
        decoded = columns.ask_likely_encoding(prompter, draft, likely)
        return check_rows(prompter, decoded) if decoded else None
    if ids.parse(path):  # the run reads the file that it was downloaded to
        fingerprint = drafts.get_fingerprint(report.path)
    files = msgspec.structs.replace(draft.plan.data.files, train=report.path)
    read = draft.with_check(files, report, fingerprint)
    return read if report.usable else None


def _follow_rows(prompter: Prompter, draft: Draft, report: DataReport) -> Draft | None:
    """Return the draft with the objective that the rows are for; None if it has it, or takes them."""
    if (follows := objectives.follow_rows(draft, report)) is not None:
        return follows
    fitting = objectives.find_fitting(draft, report)
    if fitting is None or report.usable or not report_text.is_wrong_kind(report):
        return None
    name, chosen = map(objectives.get_name, (fitting, draft.plan.recipe.objective))
    prompter.print(f"{chosen} does not take these rows; {name} does.")
    options = [(CONTINUE, f"train with {name}"), (OTHER, f"keep {chosen}, and choose another file")]
    if prompter.choose("What now?", options) == OTHER:
        return None
    return objectives.take_fitting(draft, report)


def _ask_how_to_read(prompter: Prompter, draft: Draft, error: FtwizardError) -> Draft | None:
    """Ask for the columns or the encoding if an error is about these; None to keep it as it was."""
    if data_check.list_candidate_encodings(error):
        return columns.ask_encoding(prompter, draft, error)
    if error.code == data_check.LACKS_ANSWER:
        return columns.ask_columns(prompter, draft)
    if error.code == "unknown_format":
        return columns.ask_columns(prompter, draft, only_unknown=True)
    return None


def _find_data_problem(name: str) -> str:
    """Describe why data cannot be read; a data set on the Hub is looked for when it is read."""
    return "" if ids.parse(name) else _find_file_problem(name)


def _find_file_problem(name: str) -> str:
    return user_paths.explain_problem(name) if name else "Enter a file name."


def print_findings(prompter: Prompter, draft: Draft, report: DataReport) -> None:
    """Print the verdict, then each finding with its lines and fix."""
    prompter.print(report_text.format_verdict(report), hang=2)
    if objective := report_text.format_objective(objectives.describe(draft, report)):
        prompter.print(objective, hang=2)
    target = data_check.build_target_args(draft.plan, draft.target, report.path)
    fix = shlex.join(("ftwizard", "check", *target, "--fix", "NEW.jsonl", "--redact"))
    if facts := report_text.format_facts(report, fix, draft.plan.test_share):
        prompter.print(facts, hang=2)
    if reading := report_text.format_reading(draft.plan.data):
        prompter.print(reading, hang=2)
    for note in report.notes:
        prompter.print(f"· {make_visible(note, 300)}", hang=2)
    for subject in selection.list_subjects(report).values():
        if finding := subject.finding:
            prompter.print(report_text.format_finding(finding), hang=2)
            prompter.print(
                f"  {report_text.describe_location(finding, unit=subject.unit)}. Fix: {make_visible(finding.fix.rstrip('.'), 300)}.",
                hang=2,
            )
    if lengths := length_histogram.get_lengths(report, draft):
        title = Text(f"Lengths in {lengths.unit}{lengths.rows}: ")
        prompter.print(title.append_text(length_histogram.format_figures(lengths)), hang=2)


def inspect_rows(prompter: Prompter, draft: Draft) -> Draft:
    """Show rows or offer tools until the person continues."""
    while draft.checked:
        by_id = selection.list_subjects(draft.checked)
        first = [id for id, subject in by_id.items() if subject.row][:MAX_SHOWN_ROWS]
        with_rows = [id for id, subject in by_id.items() if subject.lines]
        options = [(CONTINUE, "continue")]
        options += [(id, _format_label(by_id[id])) for id in (*first, *with_rows)]
        options.append((OTHER, "fix, split, convert or map the rows, or see their lengths"))
        chosen = prompter.choose("What next?", options)
        if chosen == CONTINUE:
            return draft
        if chosen == OTHER:
            draft = _ask_tool(prompter, draft)
        elif by_id[chosen].finding:
            _print_rows(prompter, draft, by_id[chosen])
        else:
            prompter.print(by_id[chosen].describe())
            prompter.print()
    return draft


def _format_label(subject: Subject) -> str:
    if row := subject.row:
        return f"show row {row.line:,}: {row_text.summarize(row.example)}"
    assert subject.finding is not None
    shown, count = min(MAX_SHOWN_ROWS, len(subject.lines)), subject.finding.count
    first = f"the first {shown} of {count:,} rows" if shown < count else format_count(count, "row")
    return f"show {report_text.format_title(subject.finding)}: {first}"


def _print_rows(prompter: Prompter, draft: Draft, subject: Subject) -> None:
    lines = [part for line in subject.lines[:MAX_SHOWN_ROWS] for part in ("--line", str(line))]
    argv = ("show", *data_check.build_target_args(draft.plan, draft.target, subject.path), *lines)
    try:
        document = prompter.run("Reading the rows", *argv)
    except FtwizardError as error:
        prompter.print_problem(error)
        return
    for row in msgspec.convert(document, ShownRows).rows:
        prompter.print(row_text.format_row(row, prompter.width))
        prompter.print()


def _ask_tool(prompter: Prompter, draft: Draft) -> Draft:
    """Offer a tool: a new file, or the row lengths."""
    options = [
        (CONTINUE, "nothing"),
        ("repair", "fix rows into a new file"),
        ("split", "split off a validation file"),
        ("convert", "convert rows for another target"),
        ("edit", "edit one row in your editor"),
        ("columns", "choose the columns to read"),
        ("lengths", "see the lengths of the rows"),
    ]
    if likely := draft.checked and draft.checked.likely_encoding:
        options.append(("decode", "decode the file in its likely encoding"))
    chosen = prompter.choose("What else?", options)
    if chosen in ("columns", "decode"):
        changed = (
            columns.ask_likely_encoding(prompter, draft, likely)
            if likely and chosen == "decode"
            else columns.ask_columns(prompter, draft)
        )
        return (check_rows(prompter, changed) or draft) if changed else draft
    if chosen == "lengths" and draft.checked:
        prompter.print(length_histogram.draw_bars(draft.checked, draft, *HISTOGRAM_SIZE))
    files = None
    if chosen == "repair":
        leaves_out = bool(question := new_files.ask_about_long(draft)) and (
            prompter.choose(question, [("yes", "leave out"), ("no", "keep")]) == "yes"
        )
        files = _write(prompter, new_files.build_fix(draft, leaves_out_long=leaves_out))
    elif chosen == "split":
        files = _write(prompter, new_files.build_split(draft))
    elif chosen == "convert":
        files = _convert(prompter, draft)
        draft = draft.with_conversion(files.train) if files else draft
    elif chosen == "edit":
        files = _edit_row(prompter, draft)
        draft = draft.with_data(encoding=None) if files else draft
        # Its rows are read as before: the edited one has the same columns.
        return check_rows(prompter, draft.with_check(files, None)) or draft if files else draft
    return _read_new(prompter, draft, files) or draft if files else draft


def _edit_row(prompter: Prompter, draft: Draft) -> schema.Files | None:
    """Edit a row in the user's editor; return the files to continue with, if any."""
    path = draft.plan.data.files.train
    unit = draft.checked.unit if draft.checked else "line"
    prompt = "Number of the row" if unit == "row" else "Line of the row"
    line = prompter.ask_value(prompt, "1", parse=int)
    try:
        document = prompter.run(
            "Reading the row", *new_files.build_row_args(draft.plan, path, line)
        )
        row = msgspec.convert(document, RowText)
        with new_files.keep_text(row.text) as file:
            while True:
                edit.run_editor(edit.find_editor(), file)
                text = edit.read_text(file)
                problem = row_edit.find_text_problem(text)
                if text.strip() == row.text.strip():
                    prompter.print("Nothing was changed.")
                    return None
                if problem is None:
                    return _write(prompter, new_files.build_edit(draft.plan, path, line, file))
                prompter.print(new_files.describe_problem(problem), hang=2)
                options = [(CONTINUE, "edit again"), (OTHER, "discard it")]
                if prompter.choose("The row cannot be used. What now?", options) == OTHER:
                    return None
    except FtwizardError as error:
        prompter.print_problem(error)
        return None


def _read_new(prompter: Prompter, draft: Draft, files: schema.Files) -> Draft | None:
    return check_rows(prompter, draft.with_rows_as_they_are().with_check(files, None))


def _convert(prompter: Prompter, draft: Draft) -> schema.Files | None:
    options = new_files.list_targets(draft.checked) if draft.checked else []
    target = prompter.choose("Convert for which target?", options, str(draft.target or ""))
    return _write(prompter, new_files.build_conversion(draft, target))


def _write(prompter: Prompter, command: FileCommand) -> schema.Files | None:
    """Write new files under names to ask for; return the files to continue with, if any."""
    names: list[str] = []
    for label, name in command.files:
        others = [drafts.format_path(other) for other in names]

        def parse(typed: str, others: list[str] = others) -> str:
            if problem := suggestions.find_problem([typed, *others]):
                raise ValueError(problem)
            return drafts.get_absolute_path(typed)

        names.append(prompter.ask_value(label, name, parse=parse))
    try:
        document = prompter.run(command.progress, *command.build_argv(names))
    except FtwizardError as error:
        prompter.print_problem(error)
        return None
    prompter.written_files += names
    if "differences" in document:
        heading, account = new_files.format_edit(msgspec.convert(document, RowEdit))
        prompter.print(heading, hang=2)
        prompter.print(account, hang=2)
    if command.unchanged:
        changes = new_files.read_changes(document)
        prompter.print(new_files.format_written(changes, names[0]), hang=2)
        prompter.print(new_files.format_changes(changes, command.unchanged), hang=2)
        options = [(CONTINUE, "yes"), (OTHER, "no, keep the old one")]
        if prompter.choose("Use the new file?", options) == OTHER:
            return None
    return command.get_files(names)


def confirm_doubts(prompter: Prompter, draft: Draft) -> Draft:
    """Confirm skipping unusable rows, or continuing despite errors."""
    for doubt in report_text.list_doubts(draft.checked) if draft.checked else ():
        warning = make_lines_visible(doubt.details)
        prompter.print(Text.assemble(("! ", f"bold {palette.WARNING}"), warning), hang=2)
        options = [(CONTINUE, doubt.yes), (OTHER, "no, choose another file")]
        if prompter.choose(doubt.question, options) == OTHER:
            raise GoBack("file")
    return draft.allowing("skip-bad-rows", new_files.count_bad_rows(draft) > 0)


def ask_validation(prompter: Prompter, draft: Draft) -> Draft:
    """Ask for a validation share or file; none needs confirmation. Some platforms take none."""
    if not draft.plan.takes_validation:
        return draft.allowing("no-validation", False)
    prompter.explain("Validation loss shows when the model starts memorizing the training data.")
    chosen = prompter.choose("Validation data", draft.shares, draft.share)
    draft = _ask_own_file(prompter, draft) if chosen == OWN_FILE else draft.with_validation(chosen)
    if not draft.validates and "no-validation" not in draft.plan.allow:
        try:
            prompter.confirm_phrase(*texts.NO_VALIDATION)
        except GoBack:
            return ask_validation(prompter, draft.with_validation(SHARES[0][0]))
    return draft.allowing("no-validation", not draft.validates)


def _ask_own_file(prompter: Prompter, draft: Draft) -> Draft:
    """Ask for the validation file and check it with the data."""
    name = drafts.format_path(draft.plan.data.files.validation or "")
    while True:
        name = prompter.ask_line(
            "Validation file", name, check=_find_file_problem, suggest=_SUGGEST
        )
        own = drafts.get_absolute_path(name)
        files = draft.plan.data.files
        if own == files.validation:  # already checked with the data
            return draft.with_validation(OWN_FILE)
        wanted = draft.with_validation(OWN_FILE).with_check(
            msgspec.structs.replace(files, validation=own), None
        )
        if (read := check_rows(prompter, wanted)) is not None:
            return read
