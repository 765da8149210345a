"""What a check of data found, in words: the verdict, the findings by how grave they are, and where."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import groupby
from typing import Any

from rich.text import Text

from ftwizard.advice import evidence
from ftwizard.advice.evidence import Raised
from ftwizard.data.format_names import NAMES
from ftwizard.errors import FtwizardError
from ftwizard.screens import marked, palette
from ftwizard.text import plural, visible

Report = dict[str, Any]
"""What ``ftwizard check --json`` prints."""
MARKS = {
    "ok": ("✓", palette.GOOD),
    "error": ("✗", palette.BAD),
    "warning": ("!", f"bold {palette.WARNING}"),
    "info": ("·", "dim"),
}
"""Of a verdict or of how grave a finding is: its sign, and the style that goes with it."""
_GRAVE = {"error": 0, "warning": 1, "info": 2}
_MANY = 1_000_000
"""Tokens from which on millions are counted."""
SHOWN_LINES = 24
"""Of a finding's lines, in words."""


def verdict(found: Report) -> Text:
    """Return what was found in a sentence: rows, format, and whether they can be used."""
    sign, style = MARKS[found["verdict"]]
    text = Text.assemble((f"{sign} ", style))
    if found.get("partial"):
        text.append("first look", "bold").append(f" at {plural(found['rows'], 'row')}")
        return text.append(f" ({_format(found)}): {_state(found)} so far")
    text.append(plural(found["rows"], "row"), "bold").append(f", {_format(found)}; ")
    return text.append(_state(found), palette.BAD if found["verdict"] == "error" else "")


def raised(found: Report) -> Raised | None:
    """Return the question of the right tool that the rows raise again; None where they do not."""
    try:
        return evidence.raised(evidence.evidence(found))
    except FtwizardError:  # a report of an older version says less
        return None


def suggestions(found: Report) -> list[str]:
    """Return what the rows speak for besides: reinforcement where answers can be verified."""
    if found.get("partial"):
        return []
    try:
        rft = evidence.evidence(found).rft
    except FtwizardError:
        return []
    return [f"{rft.reason} {rft.caution}"] if rft else []


def lacks_conversion(found: Report) -> bool:
    """Tell whether the target takes the rows in another form only."""
    return any(one["code"] == "needs_conversion" for one in found["findings"])


def converts_first(found: Report) -> bool:
    """Tell whether the target takes none of the rows before they are converted."""
    return _concerns_all(found, "needs_conversion") and not is_wrong_kind(found)


def is_wrong_kind(found: Report) -> bool:
    """Tell whether no form of these rows can be trained on for the target."""
    return _concerns_all(found, "wrong_kind")


def _concerns_all(found: Report, code: str) -> bool:
    return any(
        one["code"] == code and one["severity"] == "error" and one["count"] >= found["rows"]
        for one in found["findings"]
    )


def can_convert(found: Report) -> bool:
    """Tell whether there are rows that can be written in another form."""
    return bool(found["usable"]) or lacks_conversion(found)


def _format(found: Report) -> str:
    names = (words for name, words in NAMES.items() if name == found["format"])
    return next(names, "no format that is known")


def _state(found: Report) -> str:
    bad = found["rows"] - found["usable"]
    if bad:
        return f"{plural(bad, 'row')} cannot be used"
    if not found["rows"]:
        return "none can be used"
    if found["verdict"] == "error":
        errors = [title(one) for one in found["findings"] if one["severity"] == "error"]
        return f"not usable as they are: {', '.join(errors[:3])}"
    if found["verdict"] == "warning":
        return f"all usable, {_kinds(found, 'warning')} worth a look"
    return "all usable"


def _kinds(found: Report, severity: str) -> str:
    kinds = sum(one["severity"] == severity for one in found["findings"])
    return plural(kinds, "thing")


def facts(found: Report) -> Text:
    """Return a line for each of: tokens, the validation file, where the rows are from."""
    lines = []
    if counted := tokens(found):
        lines.append(counted)
    if validation := found.get("validation"):
        lines.append(Text.assemble(("  to validate  ", "dim"), verdict(validation)))
    if found.get("source"):
        lines.append(Text.assemble((f"  {visible(found['source'], 200)}", "dim")))
    return Text("\n").join(lines)


def tokens(found: Report) -> Text:
    """Return how many tokens there are and how many of them are learnt; empty where neither is
    known."""
    parts = []
    if counted := found.get("tokens"):
        about = "" if _is_exact(counted) else "about "
        parts.append(about + _amount(counted, " tokens"))
    if learnt := found.get("trained_tokens"):
        parts.append(f"learnt {_amount(learnt, '' if counted else ' tokens')}")
    return Text(f"  {'; '.join(parts)}" if parts else "")


def _amount(counted: dict[str, Any], unit: str) -> str:
    """Return ``812,345 tokens``, or of an estimate ``812,000 tokens (800,000–825,000)``."""
    low, total, high = (int(counted[name]) for name in ("low", "total", "high"))
    if _is_exact(counted):
        return f"{total:,}{unit}"
    low, total, high = _rounded(low, math.floor), _rounded(total, round), _rounded(high, math.ceil)
    if total < _MANY:
        return f"{total:,}{unit} ({low:,}–{high:,})"
    return f"{_millions(total)} million{unit} ({_millions(low)}–{_millions(high)})"


def _is_exact(counted: dict[str, Any]) -> bool:
    return bool(counted.get("exact", True) or counted["low"] == counted["high"])


def _millions(value: int) -> str:
    return f"{value / 1e6:,.10g}"


def _rounded(value: int, way: Callable[[float], int]) -> int:
    """Return a number with three digits that count: what is estimated is not exact to the last."""
    unit: int = 10 ** max(0, len(str(abs(value))) - 3)
    return way(value / unit) * unit


def by_gravity(found: Report) -> list[dict[str, Any]]:
    """Return the findings, the gravest first, the most frequent first among equals."""
    return sorted(
        found["findings"], key=lambda one: (_GRAVE.get(one["severity"], 3), -one["count"])
    )


def title(finding: dict[str, Any]) -> str:
    """Return the name of a kind of finding: its code, as words."""
    return visible(str(finding["code"]).replace("_", " "), 60)


def line(finding: dict[str, Any], counts: int, names: int, *, brief: bool) -> Text:
    """Return a finding on a line: mark, count, name and, unless ``brief``, its first words.

    ``counts`` and ``names`` are the cells of these columns.
    """
    sign, style = MARKS.get(finding["severity"], MARKS["info"])
    text = Text.assemble((f"{sign} ", style), f"{finding['count']:>{counts},}  ", no_wrap=True)
    text.append(title(finding) if brief else f"{title(finding):<{names}}  ")
    if not brief:
        words = marked.line(str(finding["message"]), 300)
        words.style = "dim"
        text.append_text(words)
    return text


def sentence(finding: dict[str, Any]) -> Text:
    """Return a finding's name and its first words, as a line of text."""
    sign, style = MARKS.get(finding["severity"], MARKS["info"])
    text = Text.assemble((f"{sign} ", style), (title(finding), "bold"), ": ")
    return text.append_text(marked.line(str(finding["message"]), 300))


def about(finding: dict[str, Any], *, partial: bool = False, unit: str = "line") -> Text:
    """Return all that is to be said of a finding: what, where, what to do."""
    sign, style = MARKS.get(finding["severity"], MARKS["info"])
    text = Text.assemble((f"{sign} ", style), (title(finding), "bold"), "\n\n")
    text.append_text(marked.line(str(finding["message"]), 1000)).append("\n")
    for cause in finding.get("also") or ():
        fix = f"; {cause['fix']}" if cause["fix"] != finding.get("fix") else ""
        words = f"At {unit} {cause['line']:,}: {cause['message']}{fix}"
        text.append_text(marked.line(words, 1000)).append("\n")
    text.append("\n")
    text.append(f"{where(finding, partial=partial, unit=unit)}\n\n")
    if fix := str(finding.get("fix") or ""):
        text.append("What to do  ", "dim").append_text(marked.line(f"{fix.rstrip('.')}.", 1000))
    return text


def where(finding: dict[str, Any], *, partial: bool = False, unit: str = "line") -> str:
    """Say how many rows a finding concerns, and at which lines; ``unit``: what is counted."""
    rows = plural(finding["count"], "row")
    if partial:
        return f"{rows} so far; which ones is known when the whole file was read"
    if not finding["lines"]:
        return rows if finding["count"] > 1 else "the file as a whole"
    return f"{rows}, at {lines(finding, unit=unit)}"


def lines(finding: dict[str, Any], *, unit: str = "line", most: int = SHOWN_LINES) -> str:
    """Return the lines of a finding in words: ``line 3, 8–11, 40 and 388 more``."""
    known = finding["lines"]
    runs = _runs(known)
    shown = ", ".join(f"{a:,}" if a == b else f"{a:,}–{b:,}" for a, b in runs[:most])
    named = sum(b - a + 1 for a, b in runs[:most])
    more = finding["count"] - named
    return f"{unit} {shown}" + (f" and {more:,} more" if more > 0 else "")


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """Return first and last of each run of three and more numbers that follow one another; of
    others each by itself."""
    runs: list[tuple[int, int]] = []
    for _, group in groupby(enumerate(numbers), lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        runs += [(run[0], run[-1])] if len(run) > 2 else [(one, one) for one in run]
    return runs
