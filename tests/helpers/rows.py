"""Rows decoded from files, and parsed rows of examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ftwizard.data.conversation import Conversation, to_conversation
from ftwizard.data.example import Example, RowProblem
from ftwizard.data.io import inspect, records
from ftwizard.data.reader import ParsedRow


def row_of(line: int, conversation: Conversation) -> ParsedRow:
    """Return the parsed row of a conversation."""
    example = Example(kind="chat", messages=conversation.messages, tools=conversation.tools)
    return ParsedRow(line=line, example=example, conversation=conversation)


def row(line: int, example: Example) -> ParsedRow:
    """Return the parsed row of an example."""
    return ParsedRow(line=line, example=example, conversation=to_conversation(example))


def write_chats(path: Path, secret: str = "") -> Path:
    """Write rows that every provider takes."""
    rows = (
        {"messages": [{"role": "user", "content": f"How many legs have {n * 37} spiders?"},
                      {"role": "assistant", "content": f"They have {n * 296}. {secret}"}]}
        for n in range(40)
    )  # fmt: skip
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def decode_file(path: Path, data: str | bytes) -> list[tuple[int, Any]]:
    """Write a file; return the line and value of each of its rows, or a problem's code."""
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    rows: list[tuple[int, Any]] = []
    for record in records.read_records(path, inspect.inspect(path)):
        try:
            rows.append((record.line, records.decode_value(record.value)))
        except RowProblem as problem:
            rows.append((record.line, problem.code))
    return rows
