"""Pairs of answers, and answers that repeat their prompt."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ftwizard.data.checks.turns import get_texts, get_weight, is_empty
from ftwizard.data.example import Example, Message
from ftwizard.data.findings import RowFinding
from ftwizard.data.platforms import Target
from ftwizard.text import format_count

_SIDES = ("chosen", "rejected")
_MIN_ECHO_CHARACTERS = 40
"""A good answer may start with a shorter prompt."""
_MAX_LENGTH_RATIO = 1.1
_MAX_EXTRA_CHARACTERS = 8
_SPACE = re.compile(r"[\s.,;:!?…'\"“”‘’]+")


def check(example: Example, target: Target) -> Iterator[RowFinding]:
    """Yield what makes a pair useless or misleading."""
    if example.kind == "preference":
        chosen, rejected = example.chosen, example.rejected
        yield from _check_sides(chosen, rejected, target)
        yield from _check_similar(chosen, rejected)
        for name, answer in zip(_SIDES, (chosen, rejected), strict=True):
            if answer and _echoes(example.messages, answer[0]):
                yield _echo_finding(f"the {name} answer")
    elif example.kind in ("chat", "labelled"):
        messages = example.messages
        # Only the last answer: checking earlier ones costs more than it finds.
        if len(messages) > 1 and _echoes(messages[:-1], messages[-1]):
            yield _echo_finding("the answer")


def _check_sides(
    chosen: list[Message], rejected: list[Message], target: Target
) -> Iterator[RowFinding]:
    for name, answer in zip(_SIDES, (chosen, rejected), strict=True):
        if all(is_empty(message) for message in answer):
            yield RowFinding(
                f"empty_{name}", f"the {name} answer is empty", "add the answer or delete the row"
            )
            continue
        if answer[-1]["role"] != "assistant":
            yield RowFinding(
                "one_answer.role",
                f"the {name} answer does not end with an assistant message",
                "end each answer with an assistant message",
            )
        elif target.one_answer and len(answer) != 1:
            yield RowFinding(
                "one_answer.several",
                f"the {name} answer has {format_count(len(answer), 'message')}; {target.words} needs one",
                "keep the assistant message; move earlier messages to the prompt",
            )


def _check_similar(chosen: list[Message], rejected: list[Message]) -> Iterator[RowFinding]:
    if not chosen or not rejected:
        return
    if chosen == rejected:
        yield RowFinding(
            "identical_pair.equal",
            "the chosen and the rejected answer are identical",
            "delete the row: neither answer is better",
        )
        return
    better, worse = "\n".join(get_texts(chosen[-1])), "\n".join(get_texts(rejected[-1]))
    limit = _MAX_LENGTH_RATIO * min(len(better), len(worse)) + _MAX_EXTRA_CHARACTERS
    if not better or not worse or max(len(better), len(worse)) > limit:
        return
    if _normalize(better) == _normalize(worse) and not _differ_otherwise(chosen, rejected):
        same = better.strip() == worse.strip()
        yield RowFinding(
            "identical_pair" if same else "similar_pair",
            "the chosen and the rejected answer differ only in "
            + ("white space" if same else "case and punctuation"),
            "delete the row, unless the model should learn that difference",
        )


def _normalize(text: str) -> str:
    return _SPACE.sub(" ", text).strip().casefold()


def _differ_otherwise(chosen: list[Message], rejected: list[Message]) -> bool:
    """Tell whether two answers differ in more than the text of their last message."""
    if len(chosen) != len(rejected) or chosen[:-1] != rejected[:-1]:
        return True
    keys = {*chosen[-1], *rejected[-1]} - {"content"}
    if any(chosen[-1].get(key) != rejected[-1].get(key) for key in keys):
        return True
    contents = (chosen[-1].get("content"), rejected[-1].get("content"))
    return not all(isinstance(content, str) for content in contents)


def _echoes(prompt: list[Message], answer: Message) -> bool:
    """Tell whether an answer starts with the whole last user message."""
    text = answer.get("content")
    if not isinstance(text, str) or answer["role"] != "assistant" or not get_weight(answer):
        return False
    questions = [message.get("content") for message in prompt if message["role"] == "user"]
    if not questions or not isinstance(questions[-1], str):
        return False
    question = questions[-1].strip()
    return len(question) >= _MIN_ECHO_CHARACTERS and text.lstrip().startswith(question)


def _echo_finding(where: str) -> RowFinding:
    return RowFinding(
        "prompt_echoed",
        f"{where} starts with the whole prompt, word for word",
        "remove it: the model would learn to repeat the prompt",
    )
