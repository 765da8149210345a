"""Plain text rows."""

from __future__ import annotations

from typing import Any

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.formats.fields import as_object, extra, keys_of, text

_KNOWN = frozenset(("text",))


def example(row: Any) -> Example:
    """Read ``text``; raise RowProblem."""
    fields = as_object(row)
    if fields.get("text") is None:
        raise RowProblem("missing_text", f"no text ({keys_of(fields)})", "add it as text")
    return Example(kind="text", text=text(fields, "text"), extra=extra(fields, _KNOWN))
