"""Rows for tests of what comes after reading."""

from __future__ import annotations

from ftwizard.data.conversation import Conversation
from ftwizard.data.conversation import conversation as conversation_of
from ftwizard.data.example import Example
from ftwizard.data.reader import Row


def row_of(line: int, conversation: Conversation) -> Row:
    """Return a row that means ``conversation``."""
    example = Example(kind="chat", messages=conversation.messages, tools=conversation.tools)
    return Row(line=line, example=example, conversation=conversation)


def row(line: int, example: Example) -> Row:
    """Return a row that means ``example``."""
    return Row(line=line, example=example, conversation=conversation_of(example))
