"""Rows for tests of what comes after reading."""

from __future__ import annotations

from ftwizard.data.conversation import Conversation
from ftwizard.data.conversation import to_conversation as conversation_of
from ftwizard.data.example import Example
from ftwizard.data.reader import ParsedRow


def row_of(line: int, conversation: Conversation) -> ParsedRow:
    """Return a row that means ``conversation``."""
    example = Example(kind="chat", messages=conversation.messages, tools=conversation.tools)
    return ParsedRow(line=line, example=example, conversation=conversation)


def row(line: int, example: Example) -> ParsedRow:
    """Return a row that means ``example``."""
    return ParsedRow(line=line, example=example, conversation=conversation_of(example))
