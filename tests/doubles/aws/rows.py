"""Rows of training files as Bedrock reads them, and the answers that they expect."""

from __future__ import annotations

import json
import re
from typing import Any

from tests.doubles.aws.state import BedrockJob

SCHEMA = "bedrock-conversation-2024"
RESERVED = re.compile(r"User:|Bot:|Assistant:|System:|<image>|<video>|\[EOS\]")
"""Words that end a job of Nova."""
MIN_PROMPTS, MAX_PROMPTS = 100, 20_000
"""Rows by reinforcement."""
CHARACTERS_PER_TOKEN = 6


class FileRejected(Exception):
    """Raised for a file that fails its validation; the text is the job's failure."""


def read_lines(data: bytes, name: str) -> list[dict[str, Any]]:
    """Return the rows of a file; raise FileRejected where it is no JSONL."""
    unparsed = FileRejected(
        f"Unable to parse Amazon S3 file: {name}. Data files must conform to JSONL format."
    )
    lines = data.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()
    rows = []
    for line in lines:
        try:
            row = json.loads(line.decode())
        except ValueError:  # an empty line, and a byte order mark too
            raise unparsed from None
        if not isinstance(row, dict):
            raise unparsed
        rows.append(row)
    return rows


def check_rows(job: BedrockJob, rows: list[dict[str, Any]], name: str) -> None:
    """Raise FileRejected for the first row that the job's model cannot be trained on."""
    for number, row in enumerate(rows, 1):
        problem = _find_problem(job, row)
        if problem:
            raise FileRejected(f"Invalid record in file {name}, line {number}: {problem}")
        if len(json.dumps(row, ensure_ascii=False)) > job.base.max_tokens * CHARACTERS_PER_TOKEN:
            start = json.dumps(row)[:40]
            raise FileRejected(
                f"Input size exceeded in file {name} for record starting with {start}"
            )


def check_counts(job: BedrockJob, rows: int, validation_rows: int) -> None:
    """Raise FileRejected for too few or too many rows."""
    base = job.base
    low, high = (MIN_PROMPTS, MAX_PROMPTS) if job.is_reinforced else (base.min_rows, base.max_rows)
    count = rows + validation_rows if base.sums_rows and not job.is_reinforced else rows
    if not low <= count <= high:
        records = "training and validation records" if base.sums_rows else "training records"
        raise FileRejected(
            f"The number of {records} is {count}, which is not between {low} and {high}."
        )


def _find_problem(job: BedrockJob, row: dict[str, Any]) -> str:
    if job.is_reinforced:
        return _find_prompt_problem(row)
    if job.base.takes_pairs and "prompt" in row:
        pair = row.get("prompt"), row.get("completion")
        fits = all(isinstance(each, str) and each for each in pair)
        return "" if fits else "prompt and completion must be texts"
    if row.get("schemaVersion") != SCHEMA:
        return f"schemaVersion must be {SCHEMA}"
    return _find_conversation_problem(job, row)


def _find_prompt_problem(row: dict[str, Any]) -> str:
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        return "messages are missing"
    if any(not isinstance(each, dict) or "content" not in each for each in messages):
        return "a message must have a role and content"
    return "" if messages[-1].get("role") == "user" else "the last message must be the user's"


def _find_conversation_problem(job: BedrockJob, row: dict[str, Any]) -> str:
    messages = row.get("messages")
    if not isinstance(messages, list) or len(messages) < 2:
        return "messages must have a question and an answer"
    if any(set(row) - {"schemaVersion", "system", "messages", "toolConfig"}):
        return "the record has fields that are not known"
    for number, message in enumerate(messages):
        role = "assistant" if number % 2 else "user"
        if message.get("role") != role:
            return f"message {number + 1} must be the {role}'s"
        blocks = message.get("content")
        if not isinstance(blocks, list) or not blocks:
            return f"message {number + 1} is empty"
        if any("text" in block and not block["text"] for block in blocks):
            return f"message {number + 1} has an empty text"
    if len(messages) % 2:
        return "the last message must be the assistant's"
    texts = [block.get("text", "") for block in row.get("system", [])]
    texts += [block.get("text", "") for each in messages[::2] for block in each["content"]]
    if job.base.is_nova and any(RESERVED.search(text) for text in texts):
        return "it has a reserved word"
    return ""


def get_expected(row: dict[str, Any]) -> tuple[str, list[dict[str, Any]]] | None:
    """Return the prompt of a row, as one text, and the content of the answer that it expects.

    The row may be of Bedrock's forms, or a chat of OpenAI's, as in the files of a test set.
    """
    if "prompt" in row and "completion" in row:
        return write_prompt([], [_make_turn("user", row["prompt"])]), [{"text": row["completion"]}]
    messages = row.get("messages")
    if not isinstance(messages, list) or not messages:
        return None
    system = [block.get("text", "") for block in row.get("system", [])]
    system += [str(each["content"]) for each in messages if each.get("role") == "system"]
    turns = [each for each in messages if each.get("role") != "system"]
    if "reference_answer" in row:
        reference = row["reference_answer"]
        text = reference if isinstance(reference, str) else json.dumps(reference)
        return write_prompt(system, turns), [{"text": text}]
    if turns and turns[-1].get("role") == "assistant" and turns[-1].get("content"):
        content = turns[-1]["content"]
        blocks = [{"text": content}] if isinstance(content, str) else content
        return write_prompt(system, turns[:-1]), blocks
    return None


def write_prompt(system: list[str], messages: list[dict[str, Any]]) -> str:
    """Return a conversation as one text, which does not depend on how it is cut into blocks."""
    parts: list[str] = ["system", *system] if system else []
    role = ""
    for message in messages:
        if message.get("role") != role:
            role = str(message.get("role"))
            parts.append(role)
        parts.append(get_text(message.get("content")))
    return " ".join(" ".join(parts).split())


def get_text(content: Any) -> str:
    """Return the texts of a message's content, and of its calls of tools and their results."""
    if isinstance(content, str):
        return content
    texts = []
    for block in content or []:
        if "toolUse" in block:
            texts.append(json.dumps(block["toolUse"].get("input"), sort_keys=True))
        elif "toolResult" in block:
            texts.append(get_text(block["toolResult"].get("content")))
        else:
            texts.append(str(block.get("text", "")))
    return " ".join(texts)


def _make_turn(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "content": [{"text": text}]}
