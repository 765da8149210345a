"""Rows of training files, in the three forms that the service takes."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from tests.doubles.openai_service.rows import count_tokens

Turn = tuple[str, str]
"""Role (``user`` or ``model``) and text."""
_ROLES = {"user": "user", "model": "model", "assistant": "model", "system": "system"}


class RowsRejected(Exception):
    """Raised for a file that the service cannot use."""


@dataclasses.dataclass(frozen=True)
class Row:
    """An example: its turns, of which the last is the expected answer, or the question of RL."""

    turns: tuple[Turn, ...]
    system: str = ""
    references: tuple[tuple[str, str], ...] = ()

    @property
    def prompt(self) -> str:
        turns = self.turns[:-1] if self.turns[-1][0] == "model" else self.turns
        return write_prompt(turns)

    @property
    def answer(self) -> str:
        if self.turns[-1][0] == "model":
            return self.turns[-1][1]
        return self.references[0][1] if self.references else ""

    def count(self, role: str) -> int:
        """Return the tokens of a role; instructions count as the user's."""
        texts = [text for name, text in self.turns if name == role]
        return sum(count_tokens(text) + 1 for text in [*texts, *([self.system] if role == "user" and self.system else [])])  # fmt: skip


def write_prompt(turns: tuple[Turn, ...] | list[Turn]) -> str:
    """Return turns as one text, by which a prompt is recognized."""
    return "\n".join(f"{role}: {text.strip()}" for role, text in turns)


def read_rows(data: bytes, *, method: str, is_open: bool) -> list[Row]:
    """Return the examples of a file; raise RowsRejected with the service's reason."""
    try:
        lines = [line for line in data.decode().split("\n") if line.strip()]
    except UnicodeDecodeError:
        raise RowsRejected("The file is not encoded in UTF-8.") from None
    if not lines:
        raise RowsRejected("The dataset is empty.")
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(read_row(json.loads(line), method=method, is_open=is_open))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, RowsRejected) as error:
            reason = str(error) if isinstance(error, RowsRejected) else "cannot be parsed as JSON"
            raise RowsRejected(f"Dataset example {number} of {len(lines)} {reason}.") from None
    return rows


def read_row(row: Any, *, method: str, is_open: bool) -> Row:
    """Return an example; raise RowsRejected with what is wrong with it."""
    if not isinstance(row, dict):
        raise RowsRejected("is not a JSON object")
    if "contents" in row:
        turns = [_read_content(entry, is_open) for entry in row["contents"]]
        system = row.get("systemInstruction") or row.get("system_instruction") or {}
        result = Row(
            tuple(turns),
            "\n".join(_read_part(part) for part in system.get("parts", [])),
            tuple((row.get("references") or {}).items()),
        )
    elif is_open and "messages" in row:
        messages = [(_ROLES[each["role"]], _read_text(each["content"])) for each in row["messages"]]
        system = "\n".join(text for role, text in messages if role == "system")
        result = Row(tuple(each for each in messages if each[0] != "system"), system)
    elif is_open and "prompt" in row:
        result = Row((("user", str(row["prompt"])), ("model", str(row["completion"]))))
    else:
        raise RowsRejected("has no field contents")
    last = "user" if method == "reinforcement" else "model"
    if not result.turns or result.turns[-1][0] != last:
        raise RowsRejected(f"must end with the role {last}")
    return result


def _read_content(entry: dict[str, Any], is_open: bool) -> Turn:
    role = entry.get("role", "")
    if role not in ("user", "model", *(("assistant",) if is_open else ())):
        raise RowsRejected(f"has the role {role!r}; valid roles are user and model")
    parts = entry.get("parts")
    if not isinstance(parts, list) or not parts:
        raise RowsRejected("has contents without parts")
    return _ROLES[role], "".join(map(_read_part, parts))


def _read_part(part: dict[str, Any]) -> str:
    if "text" not in part:
        kind = {"functionCall": "function call", "functionResponse": "function response"}
        name = next(iter(part), "nothing")
        raise RowsRejected(f"contains an unsupported modality [{kind.get(name, name)}]")
    return str(part["text"])


def _read_text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part["text"] for part in content)
    return str(content)
