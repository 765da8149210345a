"""The service's check of an uploaded file, by its documentation of data formats."""

from __future__ import annotations

import json
from typing import Any

ROLES = ("system", "user", "assistant", "tool")
_FORMATS = {
    "CONVERSATION": ("messages",),
    "INSTRUCTION": ("prompt", "completion"),
    "GENERAL": ("text",),
    "PREFERENCE_OPENAI": ("input", "preferred_output", "non_preferred_output"),
}


def validate(data: bytes) -> dict[str, Any]:
    """Return a validation report."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        return _fail(f"File is not UTF-8: {error}.")
    rows = [line for line in text.splitlines() if line.strip()]
    if not rows:
        return _fail("File is empty.")
    formats: set[str] = set()
    for number, line in enumerate(rows, 1):
        try:
            row = json.loads(line)
        except ValueError:
            return _fail(f"Line {number} is not valid JSON.")
        problem = _check_row(row, formats)
        if problem:
            return _fail(f"{problem} (line {number})")
    if len(formats) > 1:
        return _fail("All samples must be in the same format.")
    return {"valid": True, "dataset_format": formats.pop(), "nlines": len(rows)}


def _fail(error: str) -> dict[str, Any]:
    return {"valid": False, "error": error, "error_type": "INVALID_FORMAT"}


def _check_row(row: Any, formats: set[str]) -> str:
    if not isinstance(row, dict):
        return "Each line must be a JSON object."
    for name, keys in _FORMATS.items():
        if all(key in row for key in keys):
            formats.add(name)
            break
    else:
        return f"Unknown format: found the columns {sorted(row)}."
    if "weight" in row and not (isinstance(row["weight"], int | float) and row["weight"] >= 0):
        return "Sample weight must be a number of at least 0."
    if name == "CONVERSATION":
        return _check_messages(row["messages"]) or _check_trainable(row["messages"])
    if name == "PREFERENCE_OPENAI":
        return _check_preference(row)
    return ""


def _check_messages(messages: Any) -> str:
    if not isinstance(messages, list) or not messages:
        return "The messages must be a non-empty list."
    for message in messages:
        if not isinstance(message, dict) or "role" not in message:
            return "Each message must be an object with a role."
        if message["role"] not in ROLES:
            return f"Invalid role {message['role']!r}; must be one of {', '.join(ROLES)}."
        if "content" not in message and "tool_calls" not in message:
            return "Each message must have content or tool_calls."
        if message.get("weight", 1) not in (0, 1):
            return "Message weight must be 0 or 1."
    return ""


def _check_trainable(messages: list[dict[str, Any]]) -> str:
    if all(message["role"] != "assistant" for message in messages):
        return "At least one message must be from the assistant."
    return ""


def _check_preference(row: dict[str, Any]) -> str:
    context = row["input"]
    if not isinstance(context, dict) or "messages" not in context:
        return "The input must be an object with messages."
    error = _check_messages(context["messages"])
    if error:
        return error
    for key in ("preferred_output", "non_preferred_output"):
        answers = row[key]
        if not isinstance(answers, list) or len(answers) != 1:
            return f"{key} must have exactly one message."
        if answers[0].get("role") != "assistant":
            return f"{key} must be from the assistant."
    return ""


def read_answers(data: bytes) -> dict[str, str]:
    """Return what a model that learned the file answers, by the last user message."""
    answers = {}
    for line in data.decode(errors="replace").splitlines():
        row = json.loads(line)
        if "messages" in row:
            prompt = ""
            for message in row["messages"]:
                if message["role"] == "user":
                    prompt = _to_text(message.get("content"))
                elif message["role"] == "assistant" and message.get("content"):
                    answers[prompt] = _to_text(message["content"])
        elif "prompt" in row:
            answers[row["prompt"]] = row["completion"]
        elif "preferred_output" in row:
            prompt = _to_text(row["input"]["messages"][-1].get("content"))
            answers[prompt] = _to_text(row["preferred_output"][0].get("content"))
    return answers


def _to_text(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content if isinstance(part, dict))
    return str(content or "")
