"""Pretokenized rows."""

from __future__ import annotations

from typing import Any

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.formats.fields import describe_keys, describe_type, extra_fields, require_object

_COLUMNS = frozenset((
    "input_ids", "labels", "attention_mask", "token_type_ids", "position_ids", "loss_mask",
    "completion_mask", "assistant_masks", "seq_lengths",
))  # fmt: skip
_OTHER_LENGTH = frozenset(("seq_lengths",))


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
                "tokens_type", f"{key} is {describe_type(values)}, not a list", "list integers"
            )
        if not set(map(type, values)) <= {int}:
            odd = next(value for value in values if type(value) is not int)
            raise RowProblem(
                "tokens_type",
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
