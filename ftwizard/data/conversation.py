"""What every format becomes: one conversation, or a problem with its cause."""

from __future__ import annotations

from typing import Any

import msgspec

from ftwizard.text import visible

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
Message = dict[str, Any]


class RowProblem(Exception):
    """A row cannot be used: a stable code, the cause, and what to do."""

    def __init__(self, code: str, message: str, fix: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.fix = fix


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """Messages in order, as chat templates take them, and the tools they may call."""

    messages: list[Message]
    """Each with ``role``, ``content`` (text) and where present ``tool_calls``,
    ``tool_call_id``, ``name``, ``weight``."""
    tools: list[dict[str, Any]] | None = None

    @property
    def prompt(self) -> list[Message]:
        """Return the messages before the last answer."""
        return self.messages[: self._last_answer()]

    @property
    def answer(self) -> str:
        """Return the text of the last answer."""
        return str(self.messages[self._last_answer()]["content"])

    def _last_answer(self) -> int:
        roles = [m["role"] for m in self.messages]
        return len(roles) - 1 - roles[::-1].index("assistant")


def as_object(row: Any) -> Message:
    """Return ``row`` if it is a JSON object, else raise RowProblem."""
    if not isinstance(row, dict):
        raise RowProblem("not_object", "not a JSON object", "one object a line")
    return row


def keys_of(row: Message) -> str:
    """Say which keys a row has: ``its keys: a, b``."""
    return "its keys: " + (", ".join(visible(str(key), 20) for key in list(row)[:5]) or "none")
