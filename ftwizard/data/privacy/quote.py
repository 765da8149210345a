"""Quotes from rows for messages: on one line, truncated, without secrets."""

from __future__ import annotations

import functools

from ftwizard.text import visible

_MIN_SECRET_CHARACTERS = 8
SEARCHED = 4_096
"""Characters of a long text that are searched: any secret that starts in the quoted part ends
within them or is recognized by its start."""


def quoted(text: str, limit: int) -> str:
    """Return ``text`` as ``visible`` shows it, with secrets replaced by their kind.

    Redaction runs before truncation, because a truncated secret is not recognized, and again
    after it, because a truncated word can look like a secret.
    """
    if len(text) < _MIN_SECRET_CHARACTERS:
        return visible(text, limit)
    return _redacted(text[:SEARCHED], limit)


@functools.lru_cache(4_096)
def _redacted(text: str, limit: int) -> str:
    from ftwizard.data.privacy.detect import redact  # slow to import

    clean = redact(text)
    if clean == text:
        return redact(visible(text, limit))
    return visible(clean, max(limit, _MIN_REDACTED_WIDTH))


_MIN_REDACTED_WIDTH = 60
"""Width that fits the kind of a redacted secret."""
