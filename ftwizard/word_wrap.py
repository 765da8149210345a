"""Line breaks that keep units with their numbers: ``12 GB``, ``1,800 rows``, ``step 30``, ``$ 0.12``; and marks."""

from __future__ import annotations

import re

_BEFORE_NUMBERS = ("step", "steps", "row", "line", "lines", "epoch", "rank", "size", "run", "at")
_PRECEDING = "|".join(rf"(?<=\b[{word[0].upper()}{word[0]}]{word[1:]})" for word in _BEFORE_NUMBERS)
GLUE = (
    r"(?:(?<=\d) (?=[^\W\d_]{1,11}\b|%)"  # a number and its unit or noun
    r"|(?<=\d h) (?=\d)|(?<=\d min) (?=\d)"
    r"|(?<=[✓✗]) "
    rf"|(?:(?<=[~≈$€<>≤≥×])|{_PRECEDING}) (?=[~≈$]?\d))"
)
"""Pattern of a space that is not a place for a line break."""
WORD = re.compile(rf"\s*(?:\S+|{GLUE})+\s*")


def keep_units_with_numbers() -> None:
    """Let rich, and Textual through it, break lines only between ``WORD``s.

    Neither has an option for it, and both also break at a no-break space, which would be copied
    from the terminal, too.
    """
    from rich import _wrap

    _wrap.re_word = WORD
