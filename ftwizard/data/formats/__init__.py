"""Row formats: detection, and conversion of a row to an ``Example``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.format_names import Format
from ftwizard.data.formats import (
    bedrock,
    chat,
    kto,
    pairs,
    preference,
    prompt,
    sharegpt,
    text,
    tokens,
    vertex,
)
from ftwizard.data.formats.detect import Looks, recognised
from ftwizard.data.formats.tally import Decision, Tally, check, tally

__all__ = ["READERS", "Decision", "Looks", "Tally", "check", "example", "recognised", "tally"]

READERS: dict[Format, Callable[[Any], Example]] = {
    "openai-chat": chat.example,
    "sharegpt": sharegpt.example,
    "alpaca": pairs.alpaca,
    "dolly": pairs.dolly,
    "question-answer": pairs.question_answer,
    "query-response": pairs.query_response,
    "multiple-choice": pairs.multiple_choice,
    "prompt-completion": pairs.prompt_completion,
    "preference": preference.example,
    "openai-preference": preference.openai,
    "kto": kto.example,
    "prompt": prompt.example,
    "vertex": vertex.example,
    "bedrock-converse": bedrock.converse,
    "bedrock-claude": bedrock.claude,
    "text": text.example,
    "pretokenized": tokens.example,
}


def example(row: Any, format: Format) -> Example:
    """Return a row of ``format`` as an ``Example``; raise only RowProblem, for any value."""
    try:
        return READERS[format](row)
    except RecursionError:
        raise RowProblem(
            "nesting", "a value is nested too deeply", "flatten it or write it as text"
        ) from None
