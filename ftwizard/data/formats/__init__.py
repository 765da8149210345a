"""Row formats: detection, and conversion of a row to an ``Example``."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from ftwizard.data.example import Example, RowProblem
from ftwizard.data.format_names import Format
from ftwizard.data.formats import chat, cloud, pairs, preference, sharegpt, simple
from ftwizard.data.formats.detect import (
    FormatCounter,
    FormatDecision,
    FormatMatch,
    check_format,
    count_formats,
    match_formats,
)
from ftwizard.data.formats.fields import (
    describe_keys,
    describe_type,
    require_key,
    require_object,
    without,
)

__all__ = [
    "READERS",
    "FormatCounter",
    "FormatDecision",
    "FormatMatch",
    "check_format",
    "count_formats",
    "match_formats",
    "parse",
    "to_example",
]

_VERDICTS = ("kto_tag", "label")
_JUDGED: tuple[Format, ...] = (
    "prompt-completion", "openai-chat", "bedrock-claude", "sharegpt", "alpaca", "dolly",
    "question-answer", "query-response", "bedrock-converse", "vertex",
)  # fmt: skip
"""Formats of rows that can have a verdict; the first that fits is used."""


def read_kto(row: Any) -> Example:
    """Read a row of any format with an answer and a boolean ``label`` (LLaMA-Factory:
    ``kto_tag``)."""
    fields = require_object(row)
    key = next((key for key in _VERDICTS if key in fields), "label")
    label = fields.get(key)
    if not isinstance(label, bool):
        problem = (
            f"{key} is {describe_type(label)}"
            if key in fields
            else f"no label ({describe_keys(fields)})"
        )
        raise RowProblem("label", problem, f"write {key} as true (good answer) or false")
    rest = without(fields, key)
    holds = match_formats(rest).holds
    if format := next((format for format in _JUDGED if format in holds), None):
        return msgspec.structs.replace(READERS[format](rest), kind="labelled", label=label)
    require_key(rest, ("prompt",), "missing_prompt", "add prompt and completion")
    message = f"no completion ({describe_keys(rest)})"
    raise RowProblem("missing_answer", message, "add the answer as completion")


READERS: dict[Format, Callable[[Any], Example]] = {
    "openai-chat": chat.read_chat,
    "sharegpt": sharegpt.read_sharegpt,
    "alpaca": partial(
        pairs.read_pair, code="missing_instruction", asks=["instruction"], context="input",
        answers=["output"],
    ),
    "dolly": partial(
        pairs.read_pair, code="missing_instruction", asks=["instruction"], context="context",
        answers=["response"],
    ),
    "question-answer": partial(
        pairs.read_pair, code="missing_prompt", asks=["question"], context="context",
        answers=["answer", "response"],
    ),
    "query-response": partial(  # ms-swift
        pairs.read_pair, code="missing_prompt", asks=["query", "prompt"], context=None,
        answers=["response"],
    ),
    "multiple-choice": pairs.read_multiple_choice,
    "prompt-completion": pairs.read_prompt_completion,
    "preference": preference.read_preference,
    "openai-preference": preference.read_openai_preference,
    "kto": read_kto,
    "prompt": simple.read_prompt,
    "vertex": cloud.read_vertex,
    "bedrock-converse": cloud.read_converse,
    "bedrock-claude": cloud.read_claude,
    "text": simple.read_text,
    "pretokenized": simple.read_tokens,
}  # fmt: skip
"""Readers of rows; they raise only RowProblem and RecursionError."""


def parse(row: Any, format: Format, *, exactly: bool, looks: FormatMatch | None = None) -> Example:
    """Return a row as an ``Example``; raise RowProblem, also if it looks like another format.

    ``exactly`` is that of ``check_format``, ``looks`` the match of ``row`` if known.
    """
    looks = match_formats(row) if looks is None else looks
    check_format(looks, format, exactly=exactly, row=row)
    return to_example(row, format)


def to_example(row: Any, format: Format) -> Example:
    """Return a row of ``format`` as an ``Example``; raise only RowProblem, for any value."""
    try:
        return READERS[format](row)
    except RecursionError:
        message = "a value is nested too deeply"
        raise RowProblem("nesting", message, "flatten it or write it as text") from None
