"""Plain text rows."""

from __future__ import annotations

from typing import Any

import msgspec

from ftwizard.data.example import Example, RowProblem
from ftwizard.data.format_names import Format
from ftwizard.data.formats import chat, cloud, pairs, sharegpt
from ftwizard.data.formats.chat import LISTS, to_chat_example
from ftwizard.data.formats.detect import match_formats
from ftwizard.data.formats.fields import (
    add_system_prompt,
    describe_keys,
    describe_type,
    extra_fields,
    first_key,
    get_text,
    require_object,
)
from ftwizard.data.formats.messages import parse_messages

_KNOWN = frozenset(("text",))
_COLUMNS = frozenset((
    "input_ids", "labels", "attention_mask", "token_type_ids", "position_ids", "loss_mask",
    "completion_mask", "assistant_masks", "seq_lengths",
))  # fmt: skip
_OTHER_LENGTH = frozenset(("seq_lengths",))
_NAMES = (*LISTS, "prompt")
_PROMPT_FIELDS = {name: frozenset((name, "system", "tools")) for name in _NAMES}
_VERDICTS = ("kto_tag", "label")
_READERS: dict[Format, Any] = {
    "prompt-completion": pairs.read_prompt_completion,
    "openai-chat": chat.read_chat,
    "bedrock-claude": cloud.read_claude,
    "sharegpt": sharegpt.read_sharegpt,
    "alpaca": pairs.read_alpaca,
    "dolly": pairs.read_dolly,
    "question-answer": pairs.read_question_answer,
    "query-response": pairs.read_query_response,
    "bedrock-converse": cloud.read_converse,
    "vertex": cloud.read_vertex,
}


def read_text(row: Any) -> Example:
    """Read ``text``; raise RowProblem."""
    fields = require_object(row)
    if fields.get("text") is None:
        raise RowProblem("missing_text", f"no text ({describe_keys(fields)})", "add it as text")
    return Example(kind="text", text=get_text(fields, "text"), extra=extra_fields(fields, _KNOWN))


def read_tokens(row: Any) -> Example:
    """Read ``input_ids`` and optional ``labels``, ``attention_mask`` and similar columns.

    Raises RowProblem if one is not a list of integers or differs in length from ``input_ids``.
    """
    fields = require_object(row)
    if fields.get("input_ids") is None:
        raise RowProblem(
            "tokens_type", f"no input_ids ({describe_keys(fields)})", "add the token ids"
        )
    tokens = {key: fields[key] for key in fields if key in _COLUMNS and fields[key] is not None}
    for key, values in tokens.items():
        if not isinstance(values, list):
            raise RowProblem(
                "tokens_type.list", f"{key} is {describe_type(values)}, not a list", "list integers"
            )
        if not set(map(type, values)) <= {int}:
            odd = next(value for value in values if type(value) is not int)
            raise RowProblem(
                "tokens_type.item",
                f"{key} contains {describe_type(odd)}, not an integer",
                "list integers",
            )
    length = len(tokens["input_ids"])
    for key, values in tokens.items():
        if len(values) != length and key not in _OTHER_LENGTH:
            raise RowProblem(
                "tokens_length",
                f"{key} has {len(values):,} entries, but input_ids has {length:,}",
                "tokenize the row again, with one entry per token",
            )
    return Example(kind="tokens", tokens=tokens, extra=extra_fields(fields, _COLUMNS))


def read_prompt(row: Any) -> Example:
    """Read ``messages``, or ``prompt`` as text or messages; other fields become ``extra``.

    Raises RowProblem.
    """
    fields = require_object(row)
    name = first_key(fields, _NAMES)
    if name is None:
        raise RowProblem("missing_prompt", f"no prompt ({describe_keys(fields)})", "add the prompt")
    if isinstance(fields[name], list) or name != "prompt":
        messages = parse_messages(fields[name], name)
    else:
        messages = [{"role": "user", "content": get_text(fields, name)}]
    messages = add_system_prompt(messages, fields.get("system"))
    return msgspec.structs.replace(
        to_chat_example(messages, fields, _PROMPT_FIELDS[name]), kind="prompt"
    )


def read_kto(row: Any) -> Example:
    """Read a row of any format with an answer and a boolean ``label`` (LLaMA-Factory:
    ``kto_tag``). Raises RowProblem."""
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
    rest = {name: value for name, value in fields.items() if name != key}
    holds = match_formats(rest).holds
    for format, read in _READERS.items():
        if format in holds:
            answered: Example = read(rest)
            return msgspec.structs.replace(answered, kind="labelled", label=label)
    if rest.get("prompt") is not None:
        raise RowProblem(
            "missing_answer",
            f"no completion ({describe_keys(rest)})",
            "add the answer as completion",
        )
    raise RowProblem(
        "missing_prompt", f"no prompt ({describe_keys(rest)})", "add prompt and completion"
    )
