"""Rows that are tokens already: what goes with what, and whether anything is learnt."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ftwizard.data.checks.found import Found
from ftwizard.data.example import Example
from ftwizard.data.quoted import quoted
from ftwizard.data.targets import Target

IGNORED = -100
"""The label of a token that carries no loss."""
_OTHERS = ("attention_mask", "labels", "completion_mask", "assistant_masks", "token_type_ids")
_MOST = 2**31 - 1
_MASKS = frozenset({"attention_mask", "completion_mask", "assistant_masks"})


def check(example: Example, target: Target) -> Iterator[Found]:
    """Yield what is wrong with a row of tokens."""
    if example.kind != "tokens":
        return
    tokens = example.tokens if isinstance(example.tokens, dict) else {}
    ids = tokens.get("input_ids")
    wrong = _no_ids(ids) if isinstance(ids, list) else "is no list"
    if wrong or not isinstance(ids, list):
        yield Found("tokens_type", f"input_ids {wrong}", "list the token ids, 0 and above")
        return
    for name in _OTHERS:
        values = tokens.get(name)
        if values is None:
            continue
        if wrong := _no_numbers(name, values):
            yield Found("tokens_type", f"{name} {wrong}", "make the row anew from its text")
        elif len(values) != len(ids):
            yield Found(
                "tokens_length",
                f"{len(ids):,} input_ids, and {len(values):,} {name}",
                "make the row anew: each token needs one",
            )
        elif not any(values if name in _MASKS else (1,)):
            yield _nothing(f"{name} is 0 throughout")
        elif name == "labels":
            yield from _labels(ids, values)


def _no_ids(ids: list[Any]) -> str | None:
    if not ids:
        return "is empty"
    if set(map(type, ids)) != {int}:
        return "holds what is no whole number"
    if min(ids) < 0:
        return f"holds {quoted(str(min(ids)), 20)}, which is no token"
    if max(ids) > _MOST:
        return f"holds {quoted(str(max(ids)), 20)}, which is more than a token can be"
    return None


def _no_numbers(name: str, values: Any) -> str | None:
    if not isinstance(values, list):
        return "is no list"
    kinds = set(map(type, values))
    if kinds == {bool} and name in _MASKS:
        return None
    if kinds - {int}:
        return "holds what is no whole number"
    if name in _MASKS and set(values) - {0, 1}:
        return "holds other than 0 and 1"
    if name == "labels" and any(value < 0 and value != IGNORED for value in set(values)):
        return f"holds a negative number other than {IGNORED}"
    return None


def _labels(ids: list[int], labels: list[int]) -> Iterator[Found]:
    learnt = [index for index, label in enumerate(labels) if label != IGNORED]
    # The first token is predicted from nothing, so that its label carries no loss.
    if not learnt or learnt == [0]:
        yield _nothing(f"all labels are {IGNORED}")
        return
    if all(labels[index] == ids[index] for index in learnt):
        return
    inner = [index for index in learnt if index < len(ids) - 1]
    if inner and all(labels[index] == ids[index + 1] for index in inner):
        yield Found(
            "tokens_shifted",
            "labels are input_ids moved by one: models move them once more, so that each token is "
            "taught two places on",
            "give the label of each token at its own place",
        )


def _nothing(why: str) -> Found:
    return Found(
        "tokens_nothing_to_train",
        f"{why}: no token of the row carries loss",
        "label the tokens of the answer, or delete the row",
    )
