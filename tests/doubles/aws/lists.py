"""Pages of lists: filters, order and tokens, as all lists of Bedrock have them."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Any

from tests.doubles.aws.errors import invalid

PAGE = 100
Entry = dict[str, Any]


def cut(
    query: dict[str, str], entries: list[Entry], *, name: str, created: str
) -> tuple[list[Entry], str]:
    """Return the entries of a page, and the token of the next one.

    Args:
        query: of the request.
        entries: oldest first, as they are written.
        name: the field that ``nameContains`` is searched in.
        created: the field of the time of creation.
    """
    chosen = [each for each in entries if query.get("nameContains", "") in each[name]]
    if status := query.get("statusEquals"):
        chosen = [each for each in chosen if each["status"] == status]
    for option in ("creationTimeAfter", "createdAfter"):
        if option in query:
            chosen = [each for each in chosen if _read(each[created]) > _read(query[option])]
    for option in ("creationTimeBefore", "createdBefore"):
        if option in query:
            chosen = [each for each in chosen if _read(each[created]) < _read(query[option])]
    if query.get("sortBy", "CreationTime") != "CreationTime":
        raise invalid(f"Invalid sort by field: {query['sortBy']}")
    # Newest first is the service's order where none is asked for.
    if query.get("sortOrder", "Descending") == "Descending":
        chosen.reverse()
    size = int(query.get("maxResults") or PAGE)
    if not 1 <= size <= 1000:
        raise invalid("1 validation error detected: Value at 'maxResults' is out of range")
    start = _read_token(query.get("nextToken"))
    end = start + size
    token = base64.b64encode(str(end).encode()).decode() if end < len(chosen) else ""
    return chosen[start:end], token


def write_page(page: tuple[list[Entry], str], name: str) -> dict[str, Any]:
    entries, token = page
    return {name: entries, **({"nextToken": token} if token else {})}


def _read(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _read_token(token: str | None) -> int:
    try:
        return int(base64.b64decode(token)) if token else 0
    except ValueError:
        raise invalid("The provided nextToken is invalid.") from None
