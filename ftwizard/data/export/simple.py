"""Formats without messages: text, token ids, and prompt with completion."""

from __future__ import annotations

from ftwizard.data.example import Example, RowProblem
from ftwizard.data.export.constraints import FittedRow, require_text
from ftwizard.data.export.openai import Row, with_tools, write_messages
from ftwizard.data.platforms import Target


def write_text(example: Example) -> Row:
    """Write ``text``; raise RowProblem."""
    if not isinstance(example.text, str):
        raise RowProblem("missing_text", "it has no text", "write it as text")
    return {"text": example.text}


def write_tokens(example: Example) -> Row:
    """Copy ``input_ids`` and the lists next to them; raise RowProblem."""
    if not isinstance(example.tokens, dict) or "input_ids" not in example.tokens:
        raise RowProblem("tokens_type", "it has no input_ids", "add the token ids of the row")
    return dict(example.tokens)


def write_prompt_completion(row: FittedRow, target: Target) -> Row:
    """Write ``prompt`` and ``completion`` as text; raise RowProblem for longer conversations."""
    roles = [turn.role for turn in row.messages]
    if roles != ["user", "assistant"] or row.tools or row.messages[1].calls:
        raise RowProblem(
            "many_turns",
            f"it has {len(roles)} messages, but this format holds one user message and one answer, "
            "without tools",
            "choose the target's conversation format with --as",
        )
    require_text(row.messages, target)
    question, answer = row.messages
    if answer.weight == 0:
        raise RowProblem(
            "nothing_to_train", "its only answer has weight 0", "set it to 1 or delete the row"
        )
    return {"prompt": question.text, "completion": answer.text}


def write_preference(row: FittedRow, target: Target) -> Row:
    """Write ``prompt``, ``chosen`` and ``rejected`` as lists of messages; raise RowProblem."""
    parts = {"prompt": row.messages, "chosen": row.chosen, "rejected": row.rejected}
    return with_tools({key: write_messages(parts[key], target) for key in parts}, row)


def write_labeled(row: FittedRow, target: Target) -> Row:
    """Write ``prompt``, ``completion`` (the last answer) and ``label``; raise RowProblem."""
    if not row.messages or row.messages[-1].role != "assistant":
        raise RowProblem(
            "last_not_assistant",
            "its last message is not an answer, so the label applies to nothing",
            "add the answer, or delete the row",
        )
    if not isinstance(row.label, bool):
        raise RowProblem("label", "its label is neither true nor false", "write true or false")
    messages = write_messages(row.messages, target)
    return with_tools(
        {"prompt": messages[:-1], "completion": messages[-1:], "label": row.label}, row
    )
