"""Words and phrases in text, compared without case and emphasis."""

from __future__ import annotations

import re
import unicodedata

UNSPACED = r"[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]"
"""Characters of scripts without spaces between words."""


def fold(text: str) -> str:
    """Return a text without case, emphasis and repeated white space."""
    text = re.sub(r"[*_`]+", "", unicodedata.normalize("NFKC", text).replace("’", "'"))
    return " ".join(text.casefold().split())


def has_words(text: str, phrase: str) -> bool:
    """Return whether a folded text contains a phrase that is not part of a longer word."""
    phrase = fold(phrase)
    if not phrase:
        return False
    before = "" if re.match(rf"\W|{UNSPACED}", phrase) else r"(?<!\w)"
    after = "" if re.search(rf"(?:\W|{UNSPACED})$", phrase) else r"(?!\w)"
    if before and re.search(UNSPACED, text):
        before, after = r"(?<![^\W\u0e00-\uffff])", r"(?![^\W\u0e00-\uffff])" if after else ""
    return re.search(before + re.escape(phrase) + after, text) is not None
