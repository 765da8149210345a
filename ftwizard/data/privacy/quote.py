"""Quotes from rows for messages: on one line, truncated, without secrets."""

from __future__ import annotations

import functools

from ftwizard.text import make_visible

_MIN_SECRET_CHARACTERS = 8
MAX_SEARCHED_CHARACTERS = 4_096
"""Characters of a long text that are searched: any secret that starts in the quoted part ends
within them or is recognized by its start."""


def quote(text: str, limit: int) -> str:
    """Return ``text`` as ``visible`` shows it, with secrets replaced by their kind.

    Redaction runs before truncation, because a truncated secret is not recognized, and again
    after it, because a truncated word can look like a secret.
    """
    if len(text) < _MIN_SECRET_CHARACTERS:
        return make_visible(text, limit)
    return _redacted(text[:MAX_SEARCHED_CHARACTERS], limit)


@functools.lru_cache(4_096)
def _redacted(text: str, limit: int) -> str:
    from ftwizard.data.privacy.detect import redact_text  # slow to import

    clean = redact_text(text)
    if clean == text:
        return redact_text(make_visible(text, limit))
    return make_visible(clean, max(limit, _MIN_REDACTED_WIDTH))


_MIN_REDACTED_WIDTH = 60
"""Width that fits the kind of a redacted secret."""
