"""Text formatting: safe printing of untrusted text; sizes, durations, amounts and plurals."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable
from decimal import Decimal
from typing import Literal, NamedTuple

_ESCAPES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Cc: C0 and C1 controls; Cf: bidi overrides, zero-width and tag characters; Cs: lone surrogates;
# Zl, Zp: line and paragraph separators.
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}

Role = Literal["", "dim", "accent", "good", "warning", "bad"]


class Span(NamedTuple):
    """A piece of a line and its role, which a screen shows as a style."""

    text: str
    role: Role = ""


def make_visible(text: str, limit: int | None = None) -> str:
    """Return ``text`` on one line, with control characters made visible.

    ``limit`` is the maximum length in characters; longer text ends in an ellipsis.
    """
    if limit is not None and len(text) > limit:
        text = text[: max(limit - 1, 0)] + "…"
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(c) for c in text)


def make_lines_visible(text: str) -> str:
    """Return ``text`` as ``visible`` does, but keep line breaks and tabs."""
    return "".join(c if c in "\n\t" else _escape(c) for c in text)


def _escape(char: str) -> str:
    if char in _ESCAPES:
        return _ESCAPES[char]
    if unicodedata.category(char) not in _UNSAFE:
        return char
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def format_count(count: int, singular: str, plural: str | None = None) -> str:
    """Format a count with its noun: ``1 row``, ``2 rows``, ``1,200 rows``."""
    return f"{count:,} {singular if count == 1 else plural or singular + 's'}"


def find_similar(word: str, names: Iterable[str]) -> str | None:
    """Return the name that is nearest to a mistyped ``word``, in any case; None if none is near."""
    by_lower = {name.lower(): name for name in names}
    near = difflib.get_close_matches(word.lower(), list(by_lower), 1)
    return by_lower[near[0]] if near else None


def format_suggestion(word: str, names: Iterable[str]) -> str:
    """Return ``Did you mean NAME?`` for a mistyped ``word``; empty if no name is near."""
    name = find_similar(word, names)
    return f"Did you mean {make_visible(name)}?" if name else ""


def format_bytes(count: float) -> str:
    """Format a number of bytes: ``512 B``, ``63 MB``, ``1.4 GB`` (powers of ten)."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def format_dollars(value: float | Decimal) -> str:
    """Format US dollars to the digits that matter: ``$0.004``, ``$112.50``, ``$1,240``."""
    return f"${format_amount(value)}"


def format_dollar_range(low: float | Decimal, high: float | Decimal) -> str:
    """Format a range of US dollars: ``$3.36–24.00``, or ``$3.60`` where both ends read the same."""
    first, last = format_amount(low), format_amount(high)
    return f"${first}–{last}" if first != last else f"${first}"


def format_amount(value: float | Decimal) -> str:
    """Format US dollars as ``format_dollars`` does, without the sign."""
    value = float(value)
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 0.01 or value == 0:
        return f"{value:.2f}"
    if value >= 1e-4:
        return f"{value:.2g}"
    return f"{Decimal(f'{value:.0e}'):f}" if value >= 1e-9 else f"{value:.0e}"


def format_epochs(epochs: float) -> str:
    """Format a number of epochs: ``1 epoch``, ``2.5 epochs``."""
    return f"{epochs:g} {'epoch' if epochs == 1 else 'epochs'}"


def format_duration(seconds: float) -> str:
    """Format a duration: ``8 s``, ``4 min 10 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def format_byte_range(low: float, high: float) -> str:
    """Format a range of bytes: ``9.1–11.4 GB``, ``900 MB – 1.2 GB``."""
    first, last = format_bytes(low), format_bytes(high)
    return first if first == last else _join_range(first, last)


def _join_range(first: str, last: str) -> str:
    (amount, _, unit), last_unit = first.partition(" "), last.partition(" ")[2]
    is_shared = unit == last_unit and " " not in unit  # "1–3 h 30 min" starts at 1 h
    return f"{amount}–{last}" if is_shared else f"{first} – {last}"


def format_duration_range(low: float, high: float) -> str:
    """Format an estimated range of time: ``7–16 min``, ``50 s – 2 min``, ``1 h 30 min – 3 h``.

    Rounded to minutes above two minutes, to ten minutes above two hours.
    """
    first, last = _round_duration(low), _round_duration(high)
    return f"about {first}" if first == last else _join_range(first, last)


def _round_duration(seconds: float) -> str:
    for minimum, step in ((36_000, 3_600), (7_200, 600), (120, 60), (60, 10), (0, 1)):
        if seconds >= minimum:
            rounded = format_duration(max(1, round(seconds / step)) * step)
            return rounded.removesuffix(" 00 min")
    return format_duration(seconds)


def format_age(seconds: float) -> str:
    """Format an age in its largest unit: ``8 s``, ``4 min``, ``3 h``, ``2 days``."""
    for unit, length in (("day", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return format_count(count, "day") if unit == "day" else f"{count} {unit}"
    return f"{max(0, int(seconds))} s"


def format_learning_rate(rate: float) -> str:
    """Format a learning rate as in a plan: ``2e-4``, and 0 or one from 0.1 as a plain number."""
    if not 0 < rate < 0.1:
        return f"{rate:g}"
    digits, _, power = f"{rate:.2e}".partition("e")
    return f"{digits.rstrip('0').rstrip('.')}e{int(power)}"


def shorten_middle(text: str, width: int) -> str:
    """Return a text of at most ``width`` characters: names often differ only at their ends."""
    if len(text) <= width:
        return text
    tail = max(0, width - 1) // 2
    return f"{text[: max(0, width - 1 - tail)]}…{text[len(text) - tail :]}"
