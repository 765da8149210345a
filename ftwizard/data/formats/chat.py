"""Chat rows: ``messages`` in OpenAI's form, and the fields next to them."""

from __future__ import annotations

from typing import Any

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example, Message
from ftwizard.data.formats.fields import (
    as_functions,
    as_object,
    extra,
    first_of,
    keys_of,
    tools,
    with_system,
)
from ftwizard.data.formats.media import placed
from ftwizard.data.formats.turns import turns

LISTS = ("messages", "conversations", "conversation")
"""Names of the list of messages."""
_MESSAGES_ALONE = {"messages"}
_KNOWN = {name: frozenset((name, "system", "tools")) for name in LISTS}


def example(row: Any) -> Example:
    """Read a chat row: ``messages`` (also under another name, or as the whole row), with optional
    ``system``, ``tools``, deprecated ``functions`` and image columns.

    Raises RowProblem.
    """
    if isinstance(row, list) and row and isinstance(row[0], dict):  # xtuner
        row = {"messages": row}
    fields = as_object(row)
    if fields.keys() == _MESSAGES_ALONE and fields["messages"] is not None:  # most rows
        return Example(kind="chat", messages=turns(fields["messages"]))
    name = first_of(fields, LISTS)
    if name is None:
        raise RowProblem("missing_messages", f"no messages ({keys_of(fields)})", "use chat rows")
    messages = with_system(turns(fields[name], name), fields.get("system"))
    return finished(messages, fields, _KNOWN[name])


def finished(messages: list[Message], fields: Message, own: frozenset[str]) -> Example:
    """Return the chat example of a row from its messages; fields not in ``own`` become extra.

    Raises RowProblem.
    """
    messages, taken = placed(messages, fields)
    schemas = tools(fields.get("tools"))
    if schemas is None and fields.get("functions") is not None:
        schemas = as_functions(tools(fields["functions"]))
        taken |= {"functions"}
    return Example(
        kind="chat",
        messages=messages,
        tools=schemas,
        extra=extra(fields, own | taken if taken else own),
    )
