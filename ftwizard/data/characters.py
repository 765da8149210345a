"""Characters that a text does not show: controls, hidden ones, ones that turn its direction."""

from __future__ import annotations

import re

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
"""Of C0 and C1, but tab and line ends."""
BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
# Not U+200C and U+200D, which Persian, Indic scripts and emoji need.
_VARIANT = "[\ufe00-\ufe0f\U000e0100-\U000e01ef]"
# One variation selector tells how the sign before it is drawn, an emoji or an ideograph; bytes can
# be hidden in many.
HIDDEN = re.compile(
    "[\u200b\u2060-\u2064\ufeff\U000e0000-\U000e007f]"
    rf"|(?<![^\x00-\x7f]){_VARIANT}{{2,}}|(?<=[^\x00-\x7f]{_VARIANT}){_VARIANT}+"
)
"""``FLAG`` is to be left out first."""
FLAG = re.compile("\U0001f3f4[\U000e0061-\U000e007a\U000e0030-\U000e0039]+\U000e007f")
"""Flags of regions (England, Scotland, Wales) are spelt in tag characters after a black flag."""
# What UTF-8 read as Windows-1252 or Latin-1 begins with; ftfy then judges the whole text.
_MAYBE_MOJIBAKE = re.compile("[\u00c2-\u00f4][\u0080-\u00bf\u0152-\u017e\u02c6\u02dc\u2013-\u2122]")
_FLAG_OR_HIDDEN = re.compile(f"({FLAG.pattern})|{HIDDEN.pattern}")


def is_mojibake(text: str) -> bool:
    """Tell whether a text is UTF-8 that was read in another encoding."""
    if not _MAYBE_MOJIBAKE.search(text):
        return False
    from ftfy.badness import is_bad  # only texts that look like it pay for its tables

    return bool(is_bad(text))


def without_bidi(text: str) -> str:
    """Return ``text`` without characters that turn its direction."""
    return BIDI.sub("", text)


def without_hidden(text: str) -> str:
    """Return ``text`` without characters that are not seen; flags of regions stay."""
    if not HIDDEN.search(text):
        return text
    return _FLAG_OR_HIDDEN.sub(lambda match: match[1] or "", text)
