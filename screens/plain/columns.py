"""The questions about columns and encoding in plain mode."""

from __future__ import annotations

import msgspec

from ftwizard.data.column_report import ColumnReport
from ftwizard.data.io.encodings import LikelyEncoding
from ftwizard.errors import FtwizardError
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.plain.prompts import CONTINUE, OTHER, Prompter
from ftwizard.screens.wizard.data import column_choices, data_check
from ftwizard.screens.wizard.data.column_choices import FIELDS, KINDS, ROLES, ColumnChoices
from ftwizard.text import make_visible

AGAIN = "again"
TYPED = "typed"


def ask_columns(prompter: Prompter, draft: Draft, *, only_unknown: bool = False) -> Draft | None:
    """Ask which column each part of an example is read from; return None to keep it as it was.

    ``only_unknown``: ask nothing if the training file has a known format.
    """
    title, argv = data_check.build_columns_command(draft.plan)
    try:
        document = prompter.run(title, *argv)
    except FtwizardError as error:
        prompter.print_problem(error)
        return None
    report = msgspec.convert(document, ColumnReport)
    if only_unknown and report.format is not None:
        return None
    prompter.print(column_choices.format_reason(report))
    choices = ColumnChoices.start(report, draft.plan.data.columns)
    while True:
        if choices.find_problem():  # no guess
            choices = _ask_parts(prompter, choices)
        prompter.print(column_choices.describe_choices(choices), hang=2)
        prompter.print(column_choices.format_preview(choices))
        prompter.print()
        is_readable = isinstance(choices.preview(), dict)
        options = [(CONTINUE, "read the rows so")] if is_readable else []
        options += [(AGAIN, "choose other columns"), (OTHER, "neither; keep it as it was")]
        chosen = prompter.choose("Is the row right?", options)
        if chosen == CONTINUE:
            return draft.with_data(format="auto", columns=choices.columns)
        if chosen == OTHER:
            return None
        choices = _ask_parts(prompter, choices)


def _ask_parts(prompter: Prompter, choices: ColumnChoices) -> ColumnChoices:
    choices = choices.with_kind(prompter.choose("Each row is", KINDS, choices.kind))
    for part, label in FIELDS[choices.kind]:
        options = [*choices.list_options(part), (TYPED, "type a nested key or a template")]
        chosen = prompter.choose(label, options, choices.sources.get(part, ""))
        if chosen == TYPED:
            before = column_choices.show_source(choices.sources.get(part, ""))
            prompter.note(column_choices.HINT)
            parse = column_choices.parse_source
            chosen = prompter.ask_value(label, before, parse=parse)
        choices = choices.with_source(part, chosen)
    for word in choices.list_speakers():
        role = prompter.choose(f"“{make_visible(word, 30)}” is", ROLES, choices.columns.roles[word])
        choices = choices.with_role(word, role)
    return choices


def ask_encoding(prompter: Prompter, draft: Draft, error: FtwizardError) -> Draft | None:
    """Offer the encodings that an error names; return None to keep it as it was."""
    prompter.print(make_visible(error.message, 500))
    return _choose_encoding(prompter, draft, data_check.list_candidate_encodings(error))


def ask_likely_encoding(prompter: Prompter, draft: Draft, likely: LikelyEncoding) -> Draft | None:
    """Offer the likely encodings of a file; return None to keep it as it was."""
    prompter.print(data_check.describe_encoding(likely))
    return _choose_encoding(prompter, draft, data_check.list_encodings(likely))


def _choose_encoding(
    prompter: Prompter, draft: Draft, encodings: list[tuple[str, str]]
) -> Draft | None:
    options = [*encodings, (OTHER, "none of these; keep it as it was")]
    chosen = prompter.choose(data_check.ENCODING_QUESTION, options)
    if chosen == OTHER:
        return None
    return draft.with_data(encoding=None if chosen == data_check.UTF_8 else chosen)
