"""Prompts of reinforcement, from rows of any format: the answer of a row is its reference."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.data import reader
from ftwizard.data.conversation import Conversation, to_compared, to_conversation
from ftwizard.data.example import KIND_NAMES, Example, Message, RowProblem
from ftwizard.data.format_names import FormatChoice
from ftwizard.data.io.read_options import AS_IS, ReadOptions
from ftwizard.data.mapping.guess import guess_answer
from ftwizard.errors import CANNOT_TELL, FtwizardError
from ftwizard.rewards.reward import Batch
from ftwizard.rewards.trl_functions import REFERENCE
from ftwizard.text import make_visible

_TAKEN = frozenset(("prompts", "completions", "prompt", "completion", "completion_ids"))
"""Names of arguments that are no columns."""


class PromptRow(msgspec.Struct, frozen=True, kw_only=True):
    """A row as reward functions get it."""

    line: int
    prompt: list[Message]
    reference: str
    """Its right answer; empty if it has none."""
    columns: dict[str, Any] = {}
    """The other fields of the row."""


def to_prompted(example: Example, column: str | None = None) -> Conversation:
    """Return a row's prompt, with its right answer as the last message if it has one.

    ``column``: the field with the answer, of rows without one; by default, the one that is named like
    an answer. Raises RowProblem for a row without a prompt.
    """
    if example.kind in ("text", "tokens"):
        raise RowProblem(
            "wrong_kind", f"it is {KIND_NAMES[example.kind]}, without a prompt to answer",
            "use rows with prompts",
        )  # fmt: skip
    conversation = to_conversation(example) if example.kind == "chat" else to_compared(example)
    if example.kind == "labelled" and not example.label:
        conversation = msgspec.structs.replace(
            conversation, messages=conversation.prompt, awaits_answer=True
        )
    if example.kind == "prompt":
        conversation = _add_reference(example, conversation, column)
    prompt = conversation.prompt
    if not any(m["role"] != "system" and str(m["content"]).strip() for m in prompt):
        raise RowProblem("empty_prompt", "it has no prompt of text", "write the prompt")
    return conversation


def _add_reference(
    example: Example, conversation: Conversation, column: str | None
) -> Conversation:
    name = column or (REFERENCE if REFERENCE in example.extra else _guess_column(example.extra))
    value = example.extra.get(name) if name else None
    if value is None or not conversation.messages:
        return conversation
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    answer: Message = {"role": "assistant", "content": text}
    return msgspec.structs.replace(
        conversation, messages=[*conversation.messages, answer], awaits_answer=False
    )


def _guess_column(extra: dict[str, Any]) -> str | None:
    """Return the field that is named like an answer; numbers count as texts."""
    return guess_answer({k: str(v) for k, v in extra.items() if isinstance(v, str | int | float)})


def to_row(row: reader.ParsedRow) -> PromptRow:
    """Return a row that ``to_prompted`` read as reward functions get it."""
    columns = {key: value for key, value in row.example.extra.items() if key not in _TAKEN}
    return PromptRow(
        line=row.line,
        prompt=row.conversation.prompt,
        reference=row.conversation.answer,
        columns=columns,
    )


def make_batch(rows: Sequence[PromptRow], completions: Sequence[str]) -> Batch:
    """Return completions, one for each row, with the columns that any of the rows has."""
    names = dict.fromkeys(name for row in rows for name in row.columns)
    columns = {name: [row.columns.get(name) for row in rows] for name in names}
    return Batch(
        prompts=[row.prompt for row in rows],
        completions=completions,
        columns=columns | {REFERENCE: [row.reference or None for row in rows]},
        lines=[row.line for row in rows],
    )


def read_rows(
    path: Path,
    count: int,
    *,
    column: str | None = None,
    format: FormatChoice = "auto",
    options: ReadOptions = AS_IS,
) -> list[PromptRow]:
    """Return the first usable rows of a file; raise FtwizardError if it has none."""
    rows: list[PromptRow] = []
    problem: RowProblem | None = None
    for line, example in reader.open_reader(path, format, options=options).examples():
        try:
            if isinstance(example, RowProblem):
                raise example
            conversation = to_prompted(example, column)
        except RowProblem as error:
            problem = problem or error
            continue
        row = reader.ParsedRow(line=line, example=example, conversation=conversation)
        rows.append(to_row(row))
        if len(rows) == count:
            break
    if not rows:
        reason = f": {problem.message} ({problem.fix})" if problem else ""
        raise FtwizardError(
            f"No row of {make_visible(str(path), 200)} is a prompt to answer{reason}.",
            "Rows of other columns: --columns prompt=COLUMN,completion=COLUMN",
            CANNOT_TELL,
        )
    return rows
