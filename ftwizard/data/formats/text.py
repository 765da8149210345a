"""Plain text rows."""

from __future__ import annotations

from typing import Any

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.formats.fields import describe_keys, extra_fields, get_text, require_object

_KNOWN = frozenset(("text",))


def read_text(row: Any) -> Example:
    """Read ``text``; raise RowProblem."""
    fields = require_object(row)
    if fields.get("text") is None:
        raise RowProblem("missing_text", f"no text ({describe_keys(fields)})", "add it as text")
    return Example(kind="text", text=get_text(fields, "text"), extra=extra_fields(fields, _KNOWN))
