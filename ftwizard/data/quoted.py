"""What a message quotes of a row: on one line, cut to a width, and never a secret."""

from __future__ import annotations

import functools

from ftwizard.text import visible

_SHORTEST_SECRET = 8
SEARCHED = 4_096
"""Characters searched of a long text: a secret that begins in what is shown ends within them, or
is known by its beginning."""


def quoted(text: str, limit: int) -> str:
    """Return ``text`` as ``visible`` shows it, with its secrets named instead.

    They are looked for before the text is cut: half a secret is not known for one. And once more
    afterwards: cut in its middle, a word can look like one.
    """
    if len(text) < _SHORTEST_SECRET:
        return visible(text, limit)
    return _redacted(text[:SEARCHED], limit)


@functools.lru_cache(4_096)
def _redacted(text: str, limit: int) -> str:
    from ftwizard.data.secrets import redact  # what it searches with is heavy

    clean = redact(text)
    if clean == text:
        return redact(visible(text, limit))
    return visible(clean, max(limit, _SHORTEST_SHOWN))


_SHORTEST_SHOWN = 60
"""Room for the name of a secret where a text holds one."""
