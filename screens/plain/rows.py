"""The questions about the rows, line by line: which file, what is wrong with it, what validates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from rich.text import Text

from ftwizard import file_names
from ftwizard import plan as plans
from ftwizard.data import targets
from ftwizard.data.format_names import NAMES
from ftwizard.errors import FtwizardError
from ftwizard.screens import (
    checking,
    histogram,
    making,
    new_names,
    overview,
    palette,
    reports,
    row_texts,
    rows_read,
    subjects,
    suggestions,
    texts,
)
from ftwizard.screens import draft as drafts
from ftwizard.screens.draft import OWN_FILE, SHARES, Draft
from ftwizard.screens.plain.asking import GO_ON, OTHER, Asker, Back
from ftwizard.screens.subjects import Subject
from ftwizard.text import plural, visible

SHOWN_ROWS = 5
"""First rows to choose from, and rows of a finding that are shown at once."""
BARS = (76, 24)
"""Cells and lines of a histogram."""
_SUGGEST = suggestions.paths(suggestions.is_data)


def file(ask: Asker, draft: Draft) -> Draft:
    """Ask for the rows until they can be used; say what is in them."""
    ask.explain(
        "One row a line: chat messages, Alpaca, prompt and completion, or another of many formats."
    )
    given = drafts.shown_path(draft.plan.data.files.train)
    while True:
        given = ask.line("File of your rows", given, check=_file_problem, suggest=_SUGGEST)
        own = draft.plan.data.files.validation
        files = plans.Files(train=drafts.whole(given), validation=own)
        changed = files.train != draft.plan.data.files.train
        draft = draft.with_data(format="auto") if changed else draft
        read = check(ask, draft.reading(files, None))
        if read is not None:
            return read


def check(ask: Asker, draft: Draft) -> Draft | None:
    """Check the rows of a draft and say what is found; None where there are none to use."""
    path = draft.plan.data.files.train
    seen = drafts.stamp(path)
    argv = checking.checked(draft, path)
    try:
        found = ask.run(f"Reading {visible(drafts.shown_path(path), 50)}", "check", *argv)
    except FtwizardError as error:
        if not (fit := checking.formats_meant(error)):
            ask.problem(error)
            return None
        ask.say(visible(error.message, 500))
        chosen = ask.choose("Which format is meant?", [(name, NAMES[name]) for name in fit])
        named = next(name for name in fit if name == chosen)
        return check(ask, draft.with_data(format=named))
    say_findings(ask, draft, found)
    read = draft.reading(draft.plan.data.files, found, seen)
    if not reports.converts_first(found):
        return read if found["usable"] else None
    options = [(GO_ON, "convert them"), (OTHER, "name another file")]
    if ask.choose("The place to train takes another form. What now?", options) == OTHER:
        return None
    made = _convert(ask, read)
    return None if made is None else _read_new(ask, read, made)


def _file_problem(name: str) -> str:
    return file_names.problem(name) if name else "Name a file."


def say_findings(ask: Asker, draft: Draft, found: reports.Report) -> None:
    """Say the verdict first, then each finding with its lines and what to do."""
    ask.say(reports.verdict(found), hang=2)
    if facts := reports.facts(found):
        ask.say(facts, hang=2)
    for note in found.get("notes") or []:
        ask.say(f"· {visible(str(note), 300)}", hang=2)
    for subject in subjects.of(found).values():
        if one := subject.finding:
            ask.say(reports.sentence(one), hang=2)
            ask.say(
                f"  {reports.where(one, unit=subject.unit)}. What to do: {visible(str(one['fix']), 300)}.",
                hang=2,
            )
    if known := overview.lengths(found, draft):
        title = Text(f"Lengths in {known.unit}{known.rows}: ")
        ask.say(title.append_text(histogram.figures(known)), hang=2)


def look(ask: Asker, draft: Draft) -> Draft:
    """Show rows, or make a new file of them, as long as that is wanted."""
    while True:
        known = subjects.of(draft.checked or {})
        first = [id for id, one in known.items() if one.row][:SHOWN_ROWS]
        found = [id for id, one in known.items() if one.lines]
        options = [(GO_ON, "no, go on")]
        options += [(id, _label(known[id])) for id in (*first, *found)]
        options.append((OTHER, "no, but repair, split or convert them, or see how long they are"))
        chosen = ask.choose("Look at a row?", options)
        if chosen == GO_ON:
            return draft
        if chosen == OTHER:
            draft = _more(ask, draft)
        elif known[chosen].finding:
            _show_rows(ask, draft, known[chosen])
        else:
            ask.say(known[chosen].read_out())
            ask.say()


def _label(subject: Subject) -> str:
    if row := subject.row:
        return f"row {row['line']:,}: {rows_read.first_words(row['example'])}"
    assert subject.finding is not None
    shown, of = min(SHOWN_ROWS, len(subject.lines)), subject.finding["count"]
    first = f"the first {shown} of {of:,} rows" if shown < of else plural(of, "row")
    return f"{reports.title(subject.finding)}: {first}"


def _show_rows(ask: Asker, draft: Draft, subject: Subject) -> None:
    lines = [part for line in subject.lines[:SHOWN_ROWS] for part in ("--line", str(line))]
    argv = ("show", *checking.judged(draft.plan, draft.target, subject.path), *lines)
    try:
        found = ask.run("Reading the rows", *argv)
    except FtwizardError as error:
        ask.problem(error)
        return
    for row in found["rows"]:
        ask.say(row_texts.whole(row, ask.width))
        ask.say()


def _more(ask: Asker, draft: Draft) -> Draft:
    """Make a new file of the rows, or show how long they are."""
    options = [
        (GO_ON, "nothing"),
        ("repair", "repair what is sure, into a new file"),
        ("split", "split off a file that validates"),
        ("convert", "convert them for another place to train"),
        ("lengths", "see how long they are"),
    ]
    chosen = ask.choose("What else?", options)
    if chosen == "lengths":
        ask.say(overview.bars(draft.checked or {}, draft, *BARS))
    make = {"repair": _repair, "split": _split, "convert": _convert}.get(chosen)
    made = make(ask, draft) if make else None
    if made is None:
        return draft
    return _read_new(ask, draft, made) or draft


def _read_new(ask: Asker, draft: Draft, made: making.Made) -> Draft | None:
    files = plans.Files(train=made.train, validation=made.validation)
    return check(ask, draft.with_data(format="auto").reading(files, None))


def _repair(ask: Asker, draft: Draft) -> making.Made | None:
    source = draft.plan.data.files.train
    out = _name(ask, "New file", new_names.free_name(source, "fixed"))
    argv = ("check", *checking.judged(draft.plan, draft.target, source), "--fix", out)
    done = _run(ask, "Repairing", argv, out)
    if done is None:
        return None
    _say_done(ask, done["repairs"], out, "Nothing had to be changed.")
    return _used(ask, making.Made(out, draft.plan.data.files.validation))


def _split(ask: Asker, draft: Draft) -> making.Made | None:
    source = draft.plan.data.files.train
    train = _name(ask, "File to train on", new_names.free_name(source, "train"))
    own = _name(ask, "File that validates", new_names.free_name(source, "validation"), train)
    done = _run(ask, "Splitting", making.split_command(draft, train, own), train, own)
    return None if done is None else making.Made(train, own)


def _convert(ask: Asker, draft: Draft) -> making.Made | None:
    source = draft.plan.data.files.train
    options = making.convertible(draft.checked or {})
    name = ask.choose("Convert for which place?", options, str(draft.target or ""))
    out = _name(ask, "New file", new_names.free_name(source, name))
    argv = ("convert", *checking.arguments(draft.plan, source), "--target", name, "--out", out)
    done = _run(ask, f"Converting for {targets.target(name).words}", argv, out)
    if done is None:
        return None
    _say_done(ask, done, out, "Every row is carried whole.")
    return _used(ask, making.Made(out))


def _name(ask: Asker, question: str, given: str, *others: str) -> str:
    named = [drafts.shown_path(other) for other in others]
    typed = ask.line(question, given, check=lambda name: new_names.problem([name, *named]))
    return drafts.whole(typed)


def _run(ask: Asker, title: str, argv: Sequence[str], *files: str) -> dict[str, Any] | None:
    """Run a command that writes files; return its document, None where it failed."""
    try:
        found: dict[str, Any] = ask.run(title, *argv)
    except FtwizardError as error:
        ask.problem(error)
        return None
    ask.written += files
    return found


def _say_done(ask: Asker, done: dict[str, Any], out: str, none: str) -> None:
    ask.say(making.written(done, out), hang=2)
    ask.say(making.changes(done, none), hang=2)


def _used(ask: Asker, made: making.Made) -> making.Made | None:
    options: Sequence[tuple[str, str]] = [(GO_ON, "yes"), (OTHER, "no, keep the old one")]
    return made if ask.choose("Use the new file?", options) == GO_ON else None


def doubts(ask: Asker, draft: Draft) -> Draft:
    """Ask whether rows that cannot be used are left out, or other errors are put up with."""
    found = draft.checked or {}
    bad = found["rows"] - found["usable"]
    if bad:
        good = plural(found["usable"], "good row")
        options = [(GO_ON, f"yes, with {good}"), (OTHER, "no, take another file")]
        if ask.choose(f"Go on without {plural(bad, 'row')}?", options) == OTHER:
            raise Back("file")
    elif found["verdict"] == "error":
        options = [(GO_ON, "yes, all the same"), (OTHER, "no, take another file")]
        if ask.choose("Go on in spite of what was found?", options) == OTHER:
            raise Back("file")
    if raised := reports.raised(found):
        ask.say(Text.assemble(("! ", f"bold {palette.WARNING}"), raised.words), hang=2)
        options = [(GO_ON, "go on all the same"), (OTHER, "no, take another file")]
        if ask.choose("Fine-tune for facts that change?", options) == OTHER:
            raise Back("file")
    return draft.allowing("skip-bad-rows", bool(bad))


def validation(ask: Asker, draft: Draft) -> Draft:
    """Ask which share validates, or which file; none only where that is insisted on."""
    ask.explain("The loss on rows that are not trained on shows when it learns yours by heart.")
    chosen = ask.choose("Rows kept for validation", SHARES, draft.share)
    draft = _own_file(ask, draft) if chosen == OWN_FILE else draft.validating(chosen)
    if not draft.validates and "no-validation" not in draft.plan.allow:
        try:
            ask.insist(*texts.NO_VALIDATION)
        except Back:
            return validation(ask, draft.validating(SHARES[0][0]))
    return draft.allowing("no-validation", not draft.validates)


def _own_file(ask: Asker, draft: Draft) -> Draft:
    """Ask for the file that validates, and check it with the rows."""
    given = drafts.shown_path(draft.plan.data.files.validation or "")
    while True:
        given = ask.line("File that validates", given, check=_file_problem, suggest=_SUGGEST)
        own = drafts.whole(given)
        files = draft.plan.data.files
        if own == files.validation:  # it was checked with the rows
            return draft.validating(OWN_FILE)
        wanted = draft.validating(OWN_FILE).reading(
            msgspec.structs.replace(files, validation=own), None
        )
        if (read := check(ask, wanted)) is not None:
            return read
