"""From the rows to what comes next: in words, and in questions where there is cause for doubt."""

from __future__ import annotations

from collections.abc import Iterator

from rich.text import Text

from ftwizard.screens import palette, reports, texts
from ftwizard.screens.ask import Ask
from ftwizard.screens.reports import Report
from ftwizard.text import plural, visible

NEEDED = {"own": "Name the file that validates", "again": "Read again with what was changed"}


def verdict(found: Report, width: int) -> Text:
    """Return the verdict and the facts below it, in ``width`` cells."""
    said = Text("\n").join(filter(None, (reports.verdict(found), reports.facts(found))))
    return texts.hanging(said, 2, width)


def lead(found: Report, needed: str = "") -> Text:
    """Return what Enter does once a file was read; ``needed``: one of ``NEEDED``, done first."""
    words = NEEDED[needed] if needed else _onward(found)
    return Text.assemble(("→ ", f"bold {palette.ACCENT}"), words, no_wrap=True)


def _onward(found: Report) -> str:
    if reports.converts_first(found):
        return "Convert them: the place to train takes another form"
    if reports.is_wrong_kind(found):
        return "Name another file: rows of this kind are not trained on there"
    if not found["usable"]:
        return "Read it again, once it is corrected"
    if reports.lacks_conversion(found):
        return "Go on with the rows as they are; c converts them first"
    if found["rows"] > found["usable"]:
        return f"Go on with the {plural(found['usable'], 'good row')}"
    return f"Go on with all {plural(found['rows'], 'row')}"


def doubts(found: Report) -> Iterator[Ask]:
    """Yield what is asked before going on: in spite of errors, and of facts that change."""
    if errors := _in_spite(found):
        yield errors
    if raised := reports.raised(found):
        yield Ask("Fine-tune for facts that change?", raised.words, "go on all the same", "back")


def _in_spite(found: Report) -> Ask | None:
    if bad := found["rows"] - found["usable"]:
        return Ask(
            f"Go on without {plural(bad, 'row')}?",
            f"They cannot be used as they are; {plural(found['usable'], 'good row')} are left.",
            "leave them out",
            "back to the list",
        )
    errors = [one for one in found["findings"] if one["severity"] == "error"]
    if not errors:
        return None
    words = "\n".join(visible(str(one["message"]), 300) for one in errors[:4])
    return Ask("Go on in spite of this?", words, "go on all the same", "back to the list")
