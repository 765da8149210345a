"""What new files can be made of a file of rows, by which command, and what was done: in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.text import Text

from ftwizard.data import targets
from ftwizard.screens import checking, marked, reports
from ftwizard.screens.draft import Draft, shown_path
from ftwizard.text import plural, visible


@dataclass(frozen=True)
class Made:
    """Files to go on with."""

    train: str
    validation: str | None = None


def share_of(draft: Draft) -> str:
    """Return the share of the rows that is split off: the one that was chosen, else a tenth."""
    return draft.share if draft.share in ("0.1", "0.2") else "0.1"


def bad_rows(draft: Draft) -> int:
    """Return how many rows cannot be used."""
    found = draft.checked or {"rows": 0, "usable": 0}
    return int(found["rows"] - found["usable"])


def split_command(draft: Draft, train: str, validation: str) -> list[str]:
    """Return the command that writes two files of the rows."""
    argv = ["split", *checking.arguments(draft.plan, draft.plan.data.files.train)]
    argv += ["--out-train", train, "--out-validation", validation]
    argv += ["--validation", share_of(draft)]
    return [*argv, "--allow", "skip-bad-rows"] if bad_rows(draft) else argv


def convertible(found: reports.Report) -> list[tuple[str, str]]:
    """Return the targets that take rows of this kind, by name and in words."""
    kinds = {row["example"].get("kind") for row in found.get("preview") or []}
    every = targets.targets().values()
    fit = [one for one in every if kinds & set(one.kinds)] or list(every)
    return [(one.name, one.words) for one in fit]


def written(done: dict[str, Any], file: str) -> Text:
    """Return how many rows are in the new file."""
    sign, style = reports.MARKS["ok"]
    rows = f"{done['rows_out']:,} of {plural(done['rows_in'], 'row')}"
    return Text.assemble(
        (f"{sign} ", style), (f"{rows} written", "bold"), f" to {visible(shown_path(file), 200)}"
    )


def changes(done: dict[str, Any], none: str) -> Text:
    """Return what was changed in rows and which rows were left out, with their lines."""
    text = Text()
    for severity, name, words in (("warning", "changed", ""), ("error", "left_out", " left out")):
        for one in done.get(name) or []:
            sign, style = reports.MARKS[severity]
            text.append(f"{sign} ", style).append(f"{plural(one['count'], 'row')}{words}: ")
            text.append_text(marked.line(str(one["message"]), 300))
            if one["lines"]:
                text.append(f"\n  {reports.lines(one)}", "dim")
            text.append("\n")
    return text or Text(none)
