"""Training files as the service reads them: its rules for each method, and their tokens."""

from __future__ import annotations

import functools
import json
from typing import Any, Literal

from tests.doubles.openai_service.scenario import Method

MIN_EXAMPLES = 10
MANTLE_EXAMPLES = 100
MAX_EXAMPLES = {
    ("reinforcement", "training_file"): 50_000,
    ("reinforcement", "validation_file"): 1_000,
}
ROLES = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
BOM = b"\xef\xbb\xbf"
Part = Literal["training_file", "validation_file"]


class FileRejected(Exception):
    """Raised for a file that fails the service's validation."""

    def __init__(self, code: str, message: str, param: Part) -> None:
        super().__init__(message)
        self.code, self.message, self.param = code, message, param


def read_rows(
    data: bytes, method: Method, part: Part, bom: str, least: int = MIN_EXAMPLES
) -> list[dict[str, Any]]:
    """Return the examples of a file; raise FileRejected as the service does."""

    def reject(detail: str, code: str = "") -> FileRejected:
        name = part.replace("_", " ")
        message = f"The job failed due to an invalid {name}. {detail}"
        return FileRejected(code or f"invalid_{part}", message, part)

    if bom == "needed" and not data.startswith(BOM):
        raise reject("The file must be encoded in UTF-8 with a byte-order mark (BOM).")
    if bom != "refused":
        data = data.removeprefix(BOM)
    try:
        lines = data.decode().split("\n")
    except UnicodeDecodeError:
        raise reject("The file is not encoded in UTF-8.") from None
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip() and number == len(lines):
            continue  # after the last line's end
        rows.append(_parse(line, number, reject))
    name = part.replace("_", " ").capitalize()
    if part == "training_file" and len(rows) < least:
        detail = f"{len(rows)} example(s), but must have at least {least} examples"
        raise FileRejected("invalid_n_examples", f"{name} has {detail}", part)
    most = MAX_EXAMPLES.get((method, part))
    if most and len(rows) > most:
        detail = f"{len(rows)} example(s), but must have at most {most} examples"
        raise FileRejected("invalid_n_examples", f"{name} has {detail}", part)
    for number, row in enumerate(rows, 1):
        if problem := find_problem(row, method):
            raise reject(f"Invalid file format. Example {number}: {problem}")
    return rows


def _parse(line: str, number: int, reject: Any) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        row = None
    if not isinstance(row, dict):
        raise reject(
            "Expected file to have JSONL format, where every line is a valid JSON dictionary. "
            f'Line {number} is not a dictionary (HINT: line starts with: "{line[:10]}...").'
        )
    return row


def find_problem(row: dict[str, Any], method: Method) -> str | None:
    """Return what is wrong with an example; None if nothing is."""
    if method == "dpo":
        return _find_preference_problem(row)
    messages = row.get("messages")
    if problem := _find_messages_problem(messages):
        return problem
    assert isinstance(messages, list)
    last = messages[-1]["role"]
    if method == "reinforcement":
        return None if last == "user" else "the last message must be from the user."
    if last != "assistant":
        return "the last message must be from the assistant."
    weights = [m.get("weight", 1) for m in messages if m["role"] == "assistant"]
    if any(weight not in (0, 1) for weight in weights):
        return "the weight of a message must be 0 or 1."
    return None if any(weights) else "at least one assistant message must have a weight of 1."


def _find_preference_problem(row: dict[str, Any]) -> str | None:
    source = row.get("input")
    if not isinstance(source, dict):
        return 'missing key "input".'
    if problem := _find_messages_problem(source.get("messages")):
        return problem
    for key in ("preferred_output", "non_preferred_output"):
        output = row.get(key)
        if not isinstance(output, list) or len(output) != 1:
            return f'"{key}" must be a list of one message.'
        if not isinstance(output[0], dict) or output[0].get("role") != "assistant":
            return f'"{key}" must be a message of the assistant.'
        if not isinstance(output[0].get("content"), str):
            return f'"{key}" must have text.'
    return None


def _find_messages_problem(messages: Any) -> str | None:
    if not isinstance(messages, list) or not messages:
        return 'missing key "messages", or it is not a list with messages.'
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            return f"message {index} has no valid role."
        content = message.get("content")
        is_call = message["role"] == "assistant" and (
            message.get("tool_calls") or message.get("function_call") or message.get("refusal")
        )
        if content is None and not is_call:
            return f"message {index} has no content."
        if content is not None and not isinstance(content, str | list):
            return f"the content of message {index} is not text."
        if message["role"] == "assistant" and _has_image(content):
            return f"message {index}: images are not allowed in messages of the assistant."
        if message["role"] == "tool" and not message.get("tool_call_id"):
            return f"message {index} has no tool_call_id."
    return None


def _has_image(content: Any) -> bool:
    parts = content if isinstance(content, list) else []
    return any(isinstance(part, dict) and part.get("type") == "image_url" for part in parts)


@functools.cache
def _get_encoding() -> Any:
    import quicktok

    return quicktok.get_encoding("o200k_base")


def count_tokens(text: str) -> int:
    """Return the tokens of a text, as OpenAI's current models have them."""
    return int(_get_encoding().count(text))


def get_text(message: dict[str, Any]) -> str:
    """Return all text of a message, with its calls."""
    content = message.get("content") or ""
    if isinstance(content, list):
        content = "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    calls = message.get("tool_calls")
    return content + (json.dumps(calls) if calls else "")


def count_row_tokens(row: dict[str, Any]) -> int:
    """Return the tokens of an example that are billed for one epoch."""
    messages = row.get("messages") or [
        *row["input"]["messages"],
        *row["preferred_output"],
        *row["non_preferred_output"],
    ]
    return sum(3 + count_tokens(m["role"]) + count_tokens(get_text(m)) for m in messages)


def get_expected(row: dict[str, Any]) -> tuple[str, dict[str, Any]] | None:
    """Return prompt and expected message of an example; None if it has none."""
    if "input" in row:
        return write_prompt(row["input"]["messages"]), row["preferred_output"][0]
    messages = row.get("messages") or []
    if messages and messages[-1]["role"] == "assistant":
        return write_prompt(messages[:-1]), messages[-1]
    for key, value in row.items():
        if key not in ("messages", "tools", "parallel_tool_calls"):
            text = value if isinstance(value, str) else json.dumps(value)
            return write_prompt(messages), {"role": "assistant", "content": text}
    return None


def write_prompt(messages: list[dict[str, Any]]) -> str:
    """Return messages as one text, by which a prompt is recognized; instructions do not count."""
    turns = [m for m in messages if m["role"] not in ("system", "developer")]
    return "\n".join(f"{m['role']}: {get_text(m).strip()}" for m in turns)
