"""Pretokenized rows: types, lengths and labels."""

from __future__ import annotations

from collections.abc import Iterator

from ftwizard.data.example import IGNORE_INDEX, Example
from ftwizard.data.findings import RowFinding
from ftwizard.data.platforms import Target
from ftwizard.data.privacy.quote import quote

_MASKS = frozenset({"attention_mask", "completion_mask", "assistant_masks"})
_MAX_TOKEN_ID = 2**31 - 1


def check(example: Example, target: Target) -> Iterator[RowFinding]:
    """Yield what is wrong with a pretokenized row, whose columns are lists of integers."""
    if example.kind != "tokens" or example.tokens is None:
        return
    ids = example.tokens["input_ids"]
    if wrong := _find_id_error(ids):
        yield RowFinding(
            "tokens_type.input_ids", f"input_ids {wrong}", "list token ids, 0 and above"
        )
        return
    for name, values in example.tokens.items():
        if wrong := _find_value_error(name, values):
            yield RowFinding(f"tokens_type.{name}", f"{name} {wrong}", "tokenize the row again")
        elif name in _MASKS and not any(values):
            yield _no_trainable_tokens(f"{name} is 0 throughout")
        elif name == "labels":
            yield from _check_labels(ids, values)


def _find_id_error(ids: list[int]) -> str | None:
    if not ids:
        return "is empty"
    if min(ids) < 0:
        return f"contains {quote(str(min(ids)), 20)}, which is not a token id"
    if max(ids) > _MAX_TOKEN_ID:
        return f"contains {quote(str(max(ids)), 20)}, which is too large for a token id"
    return None


def _find_value_error(name: str, values: list[int]) -> str | None:
    if name in _MASKS and set(values) - {0, 1}:
        return "contains values other than 0 and 1"
    if name == "labels" and any(value < 0 and value != IGNORE_INDEX for value in values):
        return f"contains a negative number other than {IGNORE_INDEX}"
    return None


def _check_labels(ids: list[int], labels: list[int]) -> Iterator[RowFinding]:
    trained = [index for index, label in enumerate(labels) if label != IGNORE_INDEX]
    # Nothing predicts the first token, so its label does not count toward the loss.
    if not trained or trained == [0]:
        yield _no_trainable_tokens(f"all labels are {IGNORE_INDEX}")
        return
    if all(labels[index] == ids[index] for index in trained):
        return
    inner = [index for index in trained if index < len(ids) - 1]
    if inner and all(labels[index] == ids[index + 1] for index in inner):
        yield RowFinding(
            "tokens_shifted",
            "labels are input_ids shifted by one; models shift them again, so each token is "
            "predicted two positions ahead",
            "put the label of each token at the token's own position",
        )


def _no_trainable_tokens(why: str) -> RowFinding:
    return RowFinding(
        "tokens_nothing_to_train",
        f"{why}: the row has no trainable tokens",
        "label the tokens of the answer, or delete the row",
    )
