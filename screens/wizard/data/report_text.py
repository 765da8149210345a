"""Texts of a data check report: verdict, findings by severity, and locations."""

from __future__ import annotations

import itertools
import math
import shlex
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import NamedTuple

from rich.text import Text

from ftwizard.advice import evidence, recipe_advice
from ftwizard.advice.evidence import FineTuningWarning
from ftwizard.catalog.hosted_models import get_tuning
from ftwizard.data.documents import DataReport
from ftwizard.data.findings import FileFinding, Finding
from ftwizard.data.format_names import FORMAT_NAMES
from ftwizard.data.mapping.options import format_columns
from ftwizard.data.repair.forecast import describe_forecast
from ftwizard.data.tokens.stats import TokenLengths, TrainableTokens
from ftwizard.plan.schema import Data
from ftwizard.rewards.recognized_answers import describe_answers
from ftwizard.runs import evaluation_plan
from ftwizard.screens import layout, palette
from ftwizard.screens.draft import texts
from ftwizard.screens.terminal import visible_text
from ftwizard.text import format_count, make_visible

MARKS = {
    "ok": ("✓ ", palette.GOOD),
    "error": ("✗ ", palette.BAD),
    "warning": ("! ", f"bold {palette.WARNING}"),
    "info": ("· ", "dim"),
}
"""Mark and style of each verdict or severity."""
_MILLIONS_FROM = 1_000_000
"""Counts from here on are given in millions."""
PENDING = {"own": "Name the validation file", "again": "Read the data again with the changes"}
"""What is left to do before the next step."""
MAX_SHOWN_LINES = 24
MAX_BY_HAND = 5
"""Line ranges of a finding that are listed."""


def format_verdict(report: DataReport) -> Text:
    """Format the verdict: rows, format, and whether they are usable."""
    text = Text.assemble(MARKS[report.verdict])
    names = (words for name, words in FORMAT_NAMES.items() if name == report.format)
    format = next(names, "unknown format")
    if report.partial:
        text.append("first look", "bold").append(f" at {format_count(report.rows, 'row')}")
        return text.append(f" ({format}): {_describe_state(report)} so far")
    text.append(format_count(report.rows, "row"), "bold").append(f", {format}; ")
    return text.append(_describe_state(report), palette.BAD if report.verdict == "error" else "")


class Doubt(NamedTuple):
    """A question to confirm before the data is used."""

    question: str
    details: str
    yes: str = "continue anyway"
    no: str = "back to the list"


def list_doubts(report: DataReport) -> Iterator[Doubt]:
    """Yield what to confirm: unusable rows or errors, secrets, and facts that change."""
    errors = [finding for finding in report.findings if finding.severity == "error"]
    if bad := report.rows - report.usable:
        rest = f"{format_count(report.usable, 'usable row')} remain."
        question = f"Continue without {format_count(bad, 'row')}?"
        yield Doubt(question, f"They cannot be used as they are. {rest}", "skip them")
    elif errors:
        details = "\n".join(make_visible(finding.message, 300) for finding in errors[:4])
        yield Doubt("Continue despite these errors?", details)
    if secrets := count_secrets(report):
        yield Doubt("Train on possible secrets?", _describe_secrets(secrets, report), no="back")
    if warning := evidence.warn_of_facts(evidence.read_evidence(report)):
        yield _doubt_facts(warning)


def count_secrets(report: DataReport) -> int:
    """Count the training rows with possible secrets."""
    return count_rows(report, "secret")


def count_rows(report: DataReport, code: str) -> int:
    """Count the training rows with a finding."""
    return next((finding.count for finding in report.findings if finding.code == code), 0)


def _describe_secrets(count: int, report: DataReport) -> str:
    return (
        f"{format_count(count, 'row')} of {report.rows:,} may contain passwords or keys, which the "
        "model could repeat to anyone. Fixing the rows replaces these in a new file."
    )


def _doubt_facts(warning: FineTuningWarning) -> Doubt:
    if warning.kind == "changing":
        return Doubt(texts.FACTS_QUESTION, warning.message, no="back")
    if warning.wrong_tool:
        return Doubt(texts.SUBJECT_QUESTION, warning.message, no="back")
    question, yes, no = texts.UNCLEAR_SUBJECT
    return Doubt(question, warning.message, yes, no)


def list_suggestions(report: DataReport) -> list[str]:
    """List what else the data suggests where answers are verifiable: a reward, or reinforcement."""
    if report.partial:
        return []
    if report.target == "trl-grpo":
        return list(filter(None, (recipe_advice.describe_rewards(report),)))
    if (rft := evidence.read_evidence(report).rft) is None:
        return []
    parts = (rft.reason, "" if is_graded(report) else rft.caution, evidence.describe_template(rft))
    return [" ".join(part for part in parts if part)]


def is_graded(report: DataReport) -> bool:
    """Tell whether a grader scores the model's own answers, so that no token of the rows is trained on."""
    return get_tuning(report.target) == "reinforcement"


def lacks_conversion(report: DataReport) -> bool:
    """Tell whether the target needs rows in another format."""
    return any(finding.code == "needs_conversion" for finding in report.findings)


def is_converted_at_upload(report: DataReport) -> bool:
    """Tell whether the upload writes the rows in another format."""
    return any(
        finding.code == "needs_conversion" and finding.severity == "info"
        for finding in report.findings
    )


def is_wrong_kind(report: DataReport) -> bool:
    """Tell whether the target cannot train on this kind of rows at all."""
    return _concerns_all(report, "wrong_kind")


def _concerns_all(report: DataReport, code: str) -> bool:
    return any(
        finding.code == code and finding.severity == "error" and finding.count >= report.rows
        for finding in report.findings
    )


def can_convert(report: DataReport) -> bool:
    """Tell whether there are rows that can be converted."""
    return bool(report.usable) or lacks_conversion(report) or _has_pairs(report)


def _has_pairs(report: DataReport) -> bool:
    """Tell whether the first rows are preference pairs, which other targets take."""
    return any(row.example["kind"] == "preference" for row in report.preview)


def can_fix(report: DataReport) -> bool:
    """Tell whether the fix may change rows: not if it was tried without effect."""
    if not report.findings or is_wrong_kind(report):
        return False
    forecast = report.forecast
    if forecast is None or forecast.convertible is not None or forecast.tried is not None:
        return True
    by_option = {"secret", "too_long"}.intersection(forecast.by_hand)
    return forecast.helps or count_secrets(report) > 0 or bool(by_option)


def can_map(report: DataReport) -> bool:
    """Tell whether the columns of the rows can be chosen."""
    return bool(report.rows) and not (lacks_decoding(report) and not report.usable)


def lacks_decoding(report: DataReport) -> bool:
    """Tell whether the file has rows in another encoding than UTF-8, which is likely known."""
    return report.likely_encoding is not None


def _describe_state(report: DataReport) -> str:
    bad = report.rows - report.usable
    if bad:
        return f"{format_count(bad, 'row')} unusable"
    if not report.rows:
        return "none usable"
    if report.verdict == "error":
        errors = [finding for finding in report.findings if finding.severity == "error"]
        return f"unusable as is: {', '.join(map(format_title, errors[:3]))}"
    words = "all usable, converted at upload" if is_converted_at_upload(report) else "all usable"
    if report.verdict == "warning":
        warnings = sum(finding.severity == "warning" for finding in report.findings)
        return f"{words}, {format_count(warnings, 'warning')}"
    return words


def format_facts(report: DataReport, fix_command: str = "", test_share: float = 0.0) -> Text:
    """Format the tokens, what test rows can show, the validation file, the source and what a fix does, a
    line each.

    ``fix_command``: the command that fixes the rows, named where there are no keys; ``test_share``: of the
    rows that become test rows.
    """
    lines = []
    if counted := format_tokens(report):
        lines.append(counted)
    if answers := evidence.read_answers(report):
        lines.append(Text.assemble(("  answers  ", "dim"), describe_answers(answers)))
    if rows := round(report.usable * test_share):
        power = evaluation_plan.describe_rows_power(rows)
        lines.append(Text.assemble(("  verdict  ", "dim"), power))
    if validation := report.validation:
        lines.append(Text.assemble(("  validation  ", "dim"), format_verdict(validation)))
    if report.source:
        lines.append(Text.assemble((f"  {make_visible(report.source, 200)}", "dim")))
    lines += _describe_repair(report, fix_command)
    return Text("\n").join(lines)


def _describe_repair(report: DataReport, command: str) -> Iterator[Text]:
    """Yield what the fix here would do, which redacts secrets too, and what remains by hand."""
    label = "  fix  " if command else "  fix (f)  "
    columns = "columns: as its fix says" if command else "columns: o"
    if (forecast := report.forecast) is None or forecast.convertible is not None:
        return
    does = [describe_forecast(forecast)] if forecast.helps else []
    if secrets := forecast.by_hand.get("secret"):
        does.append(f"replaces secrets in {format_count(secrets, 'row')}")
    if long := forecast.by_hand.get("too_long"):
        does.append(
            f"can leave out {format_count(long, 'row')} that {'is' if long == 1 else 'are'} too long"
        )
    if does:
        done_by = f", with: {make_visible(command, 300)}" if command else ""
        yield Text.assemble((label, "dim"), ", ".join(does), done_by)
    if forecast.columns:
        option = make_visible(
            f"--columns {shlex.quote(forecast.columns)}" if command else forecast.columns, 300
        )
        label = "  columns  " if command else "  columns (o)  "
        yield Text.assemble((label, "dim"), f"{option} reads each text as its turns")
    rest = {
        code: count
        for code, count in forecast.by_hand.items()
        if code not in ("secret", "too_long")
    }
    by_hand = [
        f"{code.replace('_', ' ')} ({format_count(count, 'row')}"
        f"{f', or {columns}' if code in _COLUMN_FINDINGS else ''}{_REASONS.get(code, '')})"
        for code, count in itertools.islice(rest.items(), MAX_BY_HAND)
    ]
    if (more := len(rest) - MAX_BY_HAND) > 0:
        by_hand.append(f"{more} more")
    if by_hand:
        yield Text.assemble(("  by hand  ", "dim"), ", ".join(by_hand))


def format_reading(data: Data) -> Text:
    """Format the column mapping and the encoding that the rows are read with; empty without."""
    columns = format_columns(data.columns) if data.columns else ""
    parts = [part for part in (columns, data.encoding or "") if part]
    words = make_visible("; ".join(parts), 300)
    return Text.assemble(("  read with  ", "dim"), words) if parts else Text()


def format_objective(words: str) -> Text:
    """Format what the rows train, unless they are learned as they are; ``words``: its description."""
    return Text.assemble(("  objective  ", "dim"), words) if words else Text()


def format_summary(
    report: DataReport, data: Data, width: int, objective: str = "", test_share: float = 0.0
) -> Text:
    """Format the verdict with the facts below it, in ``width`` cells; ``objective``: what they train;
    ``test_share``: as for ``format_facts``."""
    lines = (
        format_verdict(report),
        format_objective(objective),
        format_facts(report, test_share=test_share),
        format_reading(data),
    )
    text = Text("\n").join(filter(None, lines))
    return layout.wrap_hanging(text, 2, width)


def format_next_step(report: DataReport, pending: str = "", objective: str = "") -> Text:
    """Format what Enter does next.

    ``pending``: the one of ``PENDING`` to do first; ``objective``: the one that would train on rows
    that the chosen one does not take.
    """
    words = PENDING[pending] if pending else _describe_next_step(report, objective)
    return Text.assemble(("→ ", f"bold {palette.ACCENT}"), words, no_wrap=True)


def _describe_next_step(report: DataReport, objective: str) -> str:
    if objective and not report.usable:
        return f"Change the objective to {objective}, which trains on these rows"
    if is_wrong_kind(report):
        if _has_pairs(report):
            return "Name another file, or c converts these pairs for another target"
        return "Name another file: the target does not take this kind of rows"
    if not report.usable and lacks_decoding(report):
        return "Decode the file: it is not UTF-8"
    if not report.usable:
        return "Read it again once it is fixed"
    if lacks_conversion(report) and not is_converted_at_upload(report):
        return "Continue with the rows as they are; c converts them first"
    if report.rows > report.usable:
        return f"Continue with the {format_count(report.usable, 'usable row')}"
    return f"Continue with all {format_count(report.rows, 'row')}"


def format_tokens(report: DataReport) -> Text:
    """Format the numbers of tokens and of trainable tokens; empty if unknown."""
    parts = []
    if counted := report.tokens:
        parts.append(_format_amount(counted, " tokens"))
    if (trainable := report.trained_tokens) and not is_graded(report):
        parts.append(f"trainable: {_format_amount(trainable, '' if counted else ' tokens')}")
    return Text(f"  {'; '.join(parts)}" if parts else "")


def _format_amount(counted: TokenLengths | TrainableTokens, unit: str) -> str:
    """Format ``812,345 tokens``, or for an estimate ``812,345 tokens (800,123–824,567)``."""
    if counted.exact or counted.low == counted.high:
        return f"{counted.total:,}{unit}"
    if counted.total < _MILLIONS_FROM:
        return f"{counted.total:,}{unit} ({counted.low:,}–{counted.high:,})"
    low = _round_to_3_digits(counted.low, math.floor)
    total = _round_to_3_digits(counted.total, round)
    high = _round_to_3_digits(counted.high, math.ceil)
    low_words, words, high_words = (f"{value / 1e6:,.10g}" for value in (low, total, high))
    return f"{words} million{unit} ({low_words}–{high_words})"


def _round_to_3_digits(value: int, rounding: Callable[[float], int]) -> int:
    """Round an estimated count to three significant digits."""
    unit: int = 10 ** max(0, len(str(abs(value))) - 3)
    return rounding(value / unit) * unit


def format_title(finding: Finding) -> str:
    """Format a finding's code as words."""
    return make_visible(finding.code.replace("_", " "), 60)


def format_finding_line(finding: Finding, counts: int, names: int, *, brief: bool) -> Text:
    """Format a finding on a line: mark, count, name and, unless ``brief``, its message.

    ``counts`` and ``names`` are the widths of these columns.
    """
    text = Text.assemble(MARKS[finding.severity], f"{finding.count:>{counts},}  ", no_wrap=True)
    text.append(format_title(finding) if brief else f"{format_title(finding):<{names}}  ")
    if not brief:
        words = visible_text.mark_line(finding.message, 300)
        words.style = "dim"
        text.append_text(words)
    return text


def format_finding(finding: Finding) -> Text:
    """Format a finding's name and message."""
    text = Text.assemble(MARKS[finding.severity], (format_title(finding), "bold"), ": ")
    return text.append_text(visible_text.mark_line(finding.message, 300))


_COLUMN_FINDINGS = ("unread_columns", "template_text")
"""Findings that another column mapping answers."""
_REASONS = {"identical_pair": ": neither answer is better"}
"""Why rows are unusable, where the name of the finding leaves that open."""


def describe_finding(finding: Finding, *, partial: bool = False, unit: str = "line") -> Text:
    """Describe a finding in full: message, location and fix."""
    text = Text.assemble(MARKS[finding.severity], (format_title(finding), "bold"), "\n\n")
    text.append_text(visible_text.mark_line(finding.message, 1000)).append("\n")
    for cause in finding.also:
        fix = f"; {cause.fix}" if cause.fix != finding.fix else ""
        words = f"At {unit} {cause.line:,}: {cause.message}{fix}"
        text.append_text(visible_text.mark_line(words, 1000)).append("\n")
    text.append("\n")
    text.append(f"{describe_location(finding, partial=partial, unit=unit)}\n\n")
    if finding.fix:
        fix = f"{finding.fix.rstrip('.')}."
        text.append("Fix  ", "dim").append_text(visible_text.mark_line(fix, 1000))
    if finding.code in _COLUMN_FINDINGS:
        text.append("\nHere, o on the data page chooses the columns.")
    return text


def describe_location(finding: Finding, *, partial: bool = False, unit: str = "line") -> str:
    """Describe how many rows a finding affects, and where; ``unit``: what lines count."""
    rows = format_count(finding.count, "row")
    if partial:
        return f"{rows} so far; line numbers follow once the whole file is read"
    if not finding.lines:
        return "the whole file"
    return f"{rows}, at {format_lines(finding, unit=unit)}"


def format_lines(
    finding: Finding | FileFinding, *, unit: str = "line", most: int = MAX_SHOWN_LINES
) -> str:
    """Format the lines of a finding: ``lines 3, 8–11, 40 and 388 more``."""
    runs = _find_runs(finding.lines)
    shown = ", ".join(f"{a:,}" if a == b else f"{a:,}–{b:,}" for a, b in runs[:most])
    named = sum(b - a + 1 for a, b in runs[:most])
    more = finding.count - named
    units = unit if len(finding.lines) == 1 else f"{unit}s"
    return f"{units} {shown}" + (f" and {more:,} more" if more > 0 else "")


def _find_runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Return first and last of each run of three or more consecutive numbers; other numbers
    stay single."""
    runs: list[tuple[int, int]] = []
    for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        runs += [(run[0], run[-1])] if len(run) > 2 else [(number, number) for number in run]
    return runs
