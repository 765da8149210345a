"""Pairs of answers, and answers that repeat what was asked."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ftwizard.data.checks.found import Found
from ftwizard.data.checks.turns import listed, says_nothing, texts, weight_of
from ftwizard.data.example import Example, Message
from ftwizard.data.targets import Target
from ftwizard.text import plural

_SIDES = ("chosen", "rejected")
_ECHO_CHARACTERS = 40
"""A shorter prompt may well be how a good answer begins."""
_LIKE_LENGTHS = 1.1
_MORE_CHARACTERS = 8
_SPACE = re.compile(r"[\s.,;:!?…'\"“”‘’]+")


def check(example: Example, target: Target) -> Iterator[Found]:
    """Yield what makes a pair teach nothing, or the wrong thing."""
    if example.kind == "preference":
        chosen, rejected = listed(example.chosen), listed(example.rejected)
        prompt = listed(example.messages)
        yield from _sides(chosen, rejected, target)
        yield from _alike(chosen, rejected)
        for name, answer in zip(_SIDES, (chosen, rejected), strict=True):
            if answer and _echoes(prompt, answer[0]):
                yield _echo(f"the {name} answer")
    elif example.kind in ("chat", "labelled"):
        messages = listed(example.messages)
        # Only the last answer: earlier ones of a conversation cost more than they tell.
        if len(messages) > 1 and _echoes(messages[:-1], messages[-1]):
            yield _echo("the answer")


def _sides(chosen: list[Message], rejected: list[Message], target: Target) -> Iterator[Found]:
    for name, answer in zip(_SIDES, (chosen, rejected), strict=True):
        if all(says_nothing(message) for message in answer):
            yield Found(
                f"empty_{name}", f"the {name} answer is empty", "write it or delete the row"
            )
            continue
        roles = [message.get("role") for message in answer]
        if roles[-1] != "assistant":
            yield Found(
                "one_answer",
                f"the {name} answer ends with a message that is not the assistant's",
                "let each answer be what the assistant says",
            )
        elif target.one_answer and len(answer) != 1:
            yield Found(
                "one_answer",
                f"the {name} answer is {plural(len(answer), 'message')}; {target.words} takes one",
                "keep the assistant's message; what comes before it belongs to the prompt",
            )


def _alike(chosen: list[Message], rejected: list[Message]) -> Iterator[Found]:
    if not chosen or not rejected:
        return
    if chosen == rejected:
        yield Found(
            "identical_pair",
            "the chosen and the rejected answer are the same",
            "delete the row: there is nothing to prefer",
        )
        return
    one, other = "\n".join(texts(chosen[-1])), "\n".join(texts(rejected[-1]))
    most = _LIKE_LENGTHS * min(len(one), len(other)) + _MORE_CHARACTERS
    if not one or not other or max(len(one), len(other)) > most:
        return
    if _plain(one) == _plain(other) and not _differ_otherwise(chosen, rejected):
        same = one.strip() == other.strip()
        yield Found(
            "identical_pair" if same else "similar_pair",
            "the chosen and the rejected answer differ in "
            + ("white space only" if same else "capitals and punctuation only"),
            "delete the row, unless that is what is to be learnt",
        )


def _plain(text: str) -> str:
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
    """Tell whether an answer begins with all of what the user said last."""
    text = answer.get("content")
    if not isinstance(text, str) or answer.get("role") != "assistant" or not weight_of(answer):
        return False
    for message in reversed(prompt):
        if message.get("role") == "user":
            asked = message.get("content")
            if not isinstance(asked, str) or len(asked) > len(text):
                return False
            asked = asked.strip()
            return len(asked) >= _ECHO_CHARACTERS and text.lstrip().startswith(asked)
    return False


def _echo(where: str) -> Found:
    return Found(
        "prompt_echoed",
        f"{where} begins with the whole prompt, word for word",
        "take it out: the model would learn to repeat what it was asked",
    )
