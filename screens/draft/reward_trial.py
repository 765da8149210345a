"""The dry run of a draft's rewards on ten rows: the command, its result in words, what follows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from rich.cells import cell_len
from rich.text import Text

from ftwizard.plan.schema import Plan
from ftwizard.rewards import dry_run
from ftwizard.rewards.dry_run import DryRun, RewardScores
from ftwizard.screens import palette
from ftwizard.screens.draft.drafts import Draft, Fingerprint, get_fingerprint
from ftwizard.text import format_count, make_visible, shorten_middle

TITLE = "Trying the rewards on ten rows"
OWN_CODE = "It runs the code of your file, as the training will."
ANYWAY = "train with it anyway"
MAX_NAME = 24
MAX_ANSWER = 40
MAX_LINES = 8
"""Lines of what the functions printed, and of rows of a finding."""
_MARKS = {
    "ok": ("✓ ", palette.GOOD),
    "warning": ("! ", f"bold {palette.WARNING}"),
    "error": ("✗ ", palette.BAD),
}


def get_subject(plan: Plan) -> tuple[Any, ...]:
    """Return what the result of a dry run depends on."""
    settings = plan.recipe.grpo
    files = [str(reward.file) for reward in settings.rewards if reward.file]
    stamps: list[Fingerprint | None] = [
        get_fingerprint(file) for file in (plan.data.files.train, *files)
    ]
    return settings.rewards, settings.reference_column, settings.answer_template, plan.data, stamps


def runs_own_code(plan: Plan) -> bool:
    """Return whether a reward of the plan is a function of the user's own."""
    return any(reward.file for reward in plan.recipe.grpo.rewards)


def read_report(document: Any) -> DryRun:
    """Return the document of ``ftwizard rewards --json``."""
    return msgspec.convert(document, DryRun)


def with_verdict(draft: Draft, report: DryRun) -> Draft:
    """Return a draft that allows rewards that the person continues with, although they tell little."""
    return draft.allowing("weak-grader", report.verdict == "error")


def format_heading(report: DryRun) -> Text:
    """Format the verdict on a line."""
    rows = format_count(len(report.rows), "row")
    words = {
        "ok": f"{rows} tried: {dry_run.TELLS}.",
        "warning": f"{rows} tried, with a warning.",
        "error": f"{rows} tried: these rewards teach nothing."
        if report.is_allowable
        else f"{rows} tried: a reward failed.",
    }
    return Text.assemble(_MARKS[report.verdict], (words[report.verdict], "bold"))


def format_result(report: DryRun) -> Text:
    """Format the rewards of each kind of answer, then what is wrong, then what was tried."""
    lines = [*_format_table(report), Text()]
    for finding in report.findings:
        where = ""
        if len(finding.lines) > 1:  # the message names a single one
            more = " and more" if len(finding.lines) > MAX_LINES else ""
            shown = ", ".join(f"{line:,}" for line in finding.lines[:MAX_LINES])
            where = f" (rows at lines {shown}{more})"
        lines.append(
            Text.assemble(
                _MARKS[finding.severity],
                make_visible(finding.message.rstrip("."), 600),
                f"{where}. ",
                (make_visible(finding.fix, 400), "dim"),
            )
        )
    lines += _describe_tried(report)
    return Text("\n").join(lines)


def _format_table(report: DryRun) -> Iterator[Text]:
    """Yield a line for each reward, with its values for each kind of answer."""
    total = [report.total] if report.total and len(report.rewards) > 1 else []
    scores = [*report.rewards, *total]
    cells = [["reward", "weight", *dry_run.ANSWERS], *map(_list_cells, scores)]
    widths = [max(cell_len(row[column]) for row in cells) for column in range(len(cells[0]))]
    for number, row in enumerate(cells):
        name = row[0] + " " * (widths[0] - cell_len(row[0]))
        rest = [f"{cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield Text("  ".join([name, *rest]), "dim" if number == 0 else "", no_wrap=True)


def _list_cells(score: RewardScores) -> Sequence[str]:
    name = shorten_middle(make_visible(score.name, 60), MAX_NAME)
    values = (score.expected, score.other, score.empty)
    weight = f"{score.weight:g}" if score.function else ""
    return [name, weight, *(dry_run.format_values(score, each) for each in values)]


def _describe_tried(report: DryRun) -> Iterator[Text]:
    if report.rows:
        first = report.rows[0]
        expected = "none" if first.expected is None else f"“{_shorten(first.expected)}”"
        words = (
            f"At line {first.line:,}: expected {expected}, another row's “{_shorten(first.other)}”."
        )
        yield Text.assemble(("· ", "dim"), (words, "dim"))
    if report.printed:
        yield Text.assemble(("· ", "dim"), ("The functions printed:", "dim"))
        for line in report.printed.split("\n")[:MAX_LINES]:
            yield Text(f"  {make_visible(line, 200)}", "dim")


def _shorten(text: str) -> str:
    return shorten_middle(make_visible(" ".join(text.split())), MAX_ANSWER)
