"""Row formats: detection, and conversion of a row to an ``Example``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ftwizard.data.example import Example, RowProblem
from ftwizard.data.format_names import Format
from ftwizard.data.formats import chat, cloud, pairs, preference, sharegpt, simple
from ftwizard.data.formats.detect import FormatMatch, match_formats
from ftwizard.data.formats.majority import (
    FormatCounter,
    FormatDecision,
    check_format,
    count_formats,
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

READERS: dict[Format, Callable[[Any], Example]] = {
    "openai-chat": chat.read_chat,
    "sharegpt": sharegpt.read_sharegpt,
    "alpaca": pairs.read_alpaca,
    "dolly": pairs.read_dolly,
    "question-answer": pairs.read_question_answer,
    "query-response": pairs.read_query_response,
    "multiple-choice": pairs.read_multiple_choice,
    "prompt-completion": pairs.read_prompt_completion,
    "preference": preference.read_preference,
    "openai-preference": preference.read_openai_preference,
    "kto": simple.read_kto,
    "prompt": simple.read_prompt,
    "vertex": cloud.read_vertex,
    "bedrock-converse": cloud.read_converse,
    "bedrock-claude": cloud.read_claude,
    "text": simple.read_text,
    "pretokenized": simple.read_tokens,
}


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
        raise RowProblem(
            "nesting", "a value is nested too deeply", "flatten it or write it as text"
        ) from None
