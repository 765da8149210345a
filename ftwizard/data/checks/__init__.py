"""What is worth a second look in rows that can be used: one family of checks a file."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ftwizard.data.checks import text
from ftwizard.data.conversation import Conversation
from ftwizard.data.read import Problem, Row

Family = Callable[[Conversation], Iterator[tuple[str, str, str]]]
"""A usable row → (code, message, fix) of all that it finds in it."""

_FAMILIES: tuple[Family, ...] = (text.check,)


def notes(rows: list[Row]) -> list[Problem]:
    """Return what the checks find in ``rows``, each code once a row."""
    found: list[Problem] = []
    for row in rows:
        seen: set[str] = set()
        for family in _FAMILIES:
            for code, message, fix in family(row.conversation):
                if code not in seen:
                    seen.add(code)
                    found.append(Problem(line=row.line, code=code, message=message, fix=fix))
    return found
