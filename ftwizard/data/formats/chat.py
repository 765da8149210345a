"""Chat rows: ``messages`` in OpenAI's form, and the fields next to them."""

from __future__ import annotations

from typing import Any

from ftwizard.data.example import Example, Message, RowProblem
from ftwizard.data.formats.fields import (
    add_system_prompt,
    describe_keys,
    extra_fields,
    first_key,
    parse_tools,
    require_object,
    wrap_functions,
)
from ftwizard.data.formats.media import fill_placeholders
from ftwizard.data.formats.messages import parse_messages

LISTS = ("messages", "conversations", "conversation")
"""Names of the list of messages."""
_MESSAGES_ALONE = {"messages"}
_KNOWN = {name: frozenset((name, "system", "tools")) for name in LISTS}


def read_chat(row: Any) -> Example:
    """Read a chat row: ``messages`` (also under another name, or as the whole row), with optional
    ``system``, ``tools``, deprecated ``functions`` and image columns.

    Raises RowProblem.
    """
    if isinstance(row, list) and row and isinstance(row[0], dict):  # xtuner
        row = {"messages": row}
    fields = require_object(row)
    if fields.keys() == _MESSAGES_ALONE and fields["messages"] is not None:  # most rows
        return Example(kind="chat", messages=parse_messages(fields["messages"]))
    name = first_key(fields, LISTS)
    if name is None:
        raise RowProblem(
            "missing_messages",
            f"the row has no messages ({describe_keys(fields)})",
            "add them under messages",
        )
    messages = add_system_prompt(parse_messages(fields[name], name), fields.get("system"))
    return to_chat_example(messages, fields, _KNOWN[name])


def to_chat_example(messages: list[Message], fields: Message, own: frozenset[str]) -> Example:
    """Return the chat example of a row from its messages; fields not in ``own`` become extra.

    Raises RowProblem.
    """
    messages, taken = fill_placeholders(messages, fields)
    schemas = parse_tools(fields.get("tools"))
    if schemas is None and fields.get("functions") is not None:
        schemas = wrap_functions(parse_tools(fields["functions"]))
        taken |= {"functions"}
    return Example(
        kind="chat",
        messages=messages,
        tools=schemas,
        extra=extra_fields(fields, own | taken if taken else own),
    )
