"""Foreign text made safe to print: file names, rows and messages of others are data."""

from __future__ import annotations

import unicodedata

_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Cc: C0 and C1 controls; Cf: bidi overrides, zero-width and tag characters; Cs: lone surrogates;
# Zl, Zp: line and paragraph separators.
_UNSAFE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def visible(text: str, limit: int | None = None) -> str:
    """Return ``text`` on one line with every control character shown instead of obeyed.

    ``limit`` cuts to that many characters, with an ellipsis.
    """
    if limit is not None and len(text) > limit:
        text = text[: max(limit - 1, 0)] + "…"
    if text.isascii() and text.isprintable():
        return text
    return "".join(_shown(c) for c in text)


def visible_lines(text: str) -> str:
    """Like ``visible``, but keeps line breaks and tabs."""
    return "".join(c if c in "\n\t" else _shown(c) for c in text)


def _shown(char: str) -> str:
    if char in _NAMED:
        return _NAMED[char]
    if unicodedata.category(char) not in _UNSAFE:
        return char
    code = ord(char)
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "␡"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """``1 row``, ``2 rows``, ``1,200 rows``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def size(count: float) -> str:
    """Bytes as a person reads them: ``512 B``, ``63 MB``, ``1.4 GB`` (powers of ten)."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def dollars(value: float) -> str:
    """US dollars with as many digits as matter: ``$0.004``, ``$112.50``, ``$1,240``."""
    return f"${_digits(value)}"


def dollar_range(low: float, high: float) -> str:
    """A range of US dollars: ``$3.36–24.00``, ``$3.60`` where both read alike."""
    first, last = _digits(low), _digits(high)
    return f"${first}–{last}" if first != last else f"${first}"


def _digits(value: float) -> str:
    if value >= 1000:
        return f"{value:,.0f}"
    if value >= 0.01 or value == 0:
        return f"{value:.2f}"
    return f"{value:.2g}" if value >= 1e-4 else f"{value:.0e}"


def duration(seconds: float) -> str:
    """A span of time: ``8 s``, ``4 min 10 s``, ``2 h 05 min``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min"


def sizes(low: float, high: float) -> str:
    """A range of bytes: ``9.1–11.4 GB``, ``900 MB – 1.2 GB``."""
    first, last = size(low), size(high)
    if first == last:
        return first
    (amount, unit), other = first.split(" "), last.rpartition(" ")[2]
    return f"{amount}–{last}" if unit == other else f"{first} – {last}"


def spans(low: float, high: float) -> str:
    """A range of time that is estimated: ``7–16 min``, ``50 s – 2 min``, ``1 h 30 min – 3 h``.

    No finer than it can be known: whole minutes from two minutes on, and tens of them from two
    hours on.
    """
    first, last = _roughly(low), _roughly(high)
    if first == last:
        return f"about {first}"
    (amount, _, unit), other = first.partition(" "), last.partition(" ")[2]
    return f"{amount}–{last}" if unit == other else f"{first} – {last}"


def _roughly(seconds: float) -> str:
    for least, step in ((36_000, 3_600), (7_200, 600), (120, 60), (60, 10), (0, 1)):
        if seconds >= least:
            words = duration(max(1, round(seconds / step)) * step)
            return words.removesuffix(" 00 min")
    return duration(seconds)


def age(seconds: float) -> str:
    """How long ago, in its largest unit: ``8 s``, ``4 min``, ``3 h``, ``2 days``."""
    for unit, length in (("day", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return plural(count, "day") if unit == "day" else f"{count} {unit}"
    return f"{max(0, int(seconds))} s"
