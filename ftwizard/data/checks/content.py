"""What messages hold: nothing, white space, weights, keys, and text that a target reserves."""

from __future__ import annotations

from collections.abc import Iterator

from ftwizard.data.checks.found import Found
from ftwizard.data.checks.turns import (
    all_turns,
    is_blank,
    listed,
    name_in,
    name_of,
    says_nothing,
    texts,
    weight_of,
)
from ftwizard.data.example import Example, Message
from ftwizard.data.quoted import quoted
from ftwizard.data.targets import Target
from ftwizard.text import plural, visible

_PLAIN_KEYS = 2
"""``role`` and ``content``."""
_KEYS = frozenset(
    {
        "role", "content", "name", "weight", "tool_calls", "tool_call_id", "function_call",
        "refusal", "audio",
    }
)  # fmt: skip
_ROW_KEYS = frozenset(
    {
        "functions", "function_call", "parallel_tool_calls", "tool_choice", "schemaVersion",
        "toolConfig", "generationConfig",
    }
)  # fmt: skip
"""Of a row, known to those who train besides what makes its format."""
_SHOWN_KEYS = 3


def check(example: Example, target: Target) -> Iterator[Found]:
    """Yield what is wrong with, or wanting in, the contents of a row."""
    if example.kind == "tokens":
        return
    if example.kind == "text":
        yield from _of_text(example)
    else:
        messages = listed(example.messages)
        answers = [m for m in messages if m.get("role") == "assistant"]
        yield from _blanks(example, messages)
        if example.kind == "chat":
            yield from _who_speaks(messages, answers)
        turns = all_turns(example)
        if any(len(message) > _PLAIN_KEYS for message in turns):
            yield from _keys(example, turns, target)
            yield from _weights(example, turns, answers, target)
    if example.extra:
        yield from _columns(example, target)
    if target.reserved:
        yield from _reserved(example, target)


def _of_text(example: Example) -> Iterator[Found]:
    if not isinstance(example.text, str) or is_blank(example.text):
        yield Found("empty_text", "the text is empty", "write it or delete the row")


def _blanks(example: Example, messages: list[Message]) -> Iterator[Found]:
    silent: list[int] = []
    for number, message in enumerate(messages):
        content = message.get("content")
        # Nearly every message: text without white space around it, whose first letter shows.
        if isinstance(content, str) and content and content == content.strip():
            if "!" <= content[0] <= "~" or not is_blank(content):
                continue
        elif isinstance(content, str) and not is_blank(content):
            if message.get("role") == "assistant":
                yield Found(
                    "blank_edges",
                    f"the answer in {name_of(number + 1, message)} begins or ends with white space",
                    "trim it, unless it is meant: it is learnt too",
                )
            continue
        if says_nothing(message):
            silent.append(number)
    if silent:
        yield from _silent(example, messages, silent)


def _silent(example: Example, messages: list[Message], silent: list[int]) -> Iterator[Found]:
    learnt = example.kind in ("chat", "labelled")
    answers = [
        n for n, m in enumerate(messages)
        if learnt and m.get("role") == "assistant" and weight_of(m)
    ]  # fmt: skip
    if mute := [number for number in silent if number in answers]:
        yield Found(
            "empty_assistant",
            "every answer is empty"
            if len(mute) == len(answers)
            else f"{len(mute)} of {len(answers)} answers are empty, the first in message "
            f"{mute[0] + 1}",
            "write the answer or delete the row",
        )
    asked = [number for number in range(len(messages)) if number not in answers]
    if not learnt and all(number in silent for number in asked):
        yield Found("empty_prompt", "the prompt is empty", "write it or delete the row")
    elif other := [number for number in silent if number not in answers]:
        yield Found(
            "empty_content",
            f"{name_of(other[0] + 1, messages[other[0]])} is empty",
            "write its text or take the message out",
        )


def _who_speaks(messages: list[Message], answers: list[Message]) -> Iterator[Found]:
    if not answers:
        yield Found("no_assistant", "no assistant message to learn from", "add the answer")
    if not any(message.get("role") == "user" for message in messages):
        yield Found(
            "no_user",
            "no user message: what the answer is to is not said",
            "add the user's message; some chat templates refuse a row without one",
        )


def _keys(example: Example, turns: list[Message], target: Target) -> Iterator[Found]:
    known = _KEYS.union(target.message_keys)
    unknown: dict[str, int] = {}
    for number, message in enumerate(turns, 1):
        if message.get("function_call") is not None or message.get("role") == "function":
            yield Found(
                "deprecated",
                f"{name_in(example, number, message)} is of the old form of tool calls "
                "(function_call and the role function)",
                "write tool_calls and the role tool",
            )
        if not known.issuperset(message):
            for key, value in message.items():
                if key not in known and value is not None:
                    unknown.setdefault(str(key), number)
    if unknown and target.hosted:
        names = ", ".join(quoted(key, 30) for key in list(unknown)[:_SHOWN_KEYS])
        first = min(unknown.values())
        where = name_in(example, first, turns[first - 1])
        yield Found(
            "extra_keys",
            f"{where} has what {target.words} does not know: {names}",
            "take it out: such keys are refused or ignored",
        )


def _weights(
    example: Example, turns: list[Message], answers: list[Message], target: Target
) -> Iterator[Found]:
    for number, message in enumerate(turns, 1):
        weight = message.get("weight")
        if weight is not None and (type(weight) is not int or weight not in (0, 1)):
            kind = type(weight).__name__
            shown = quoted(str(weight), 20) if kind in ("int", "float", "bool") else f"a {kind}"
            yield Found(
                "weight",
                f"the weight of {name_in(example, number, message)} is {shown}",
                "0 (not learnt from) or 1, as a number without a point",
            )
            return
        if weight is None and "weight" in message and target.weight and target.hosted:
            yield Found(
                "weight",
                f"the weight of {name_in(example, number, message)} is null",
                "0 (not learnt from) or 1, or leave the key out",
            )
            return
    if target.weight and example.kind == "chat":
        for number, message in enumerate(turns, 1):
            if message.get("weight") == 1 and message.get("role") != "assistant":
                yield Found(
                    "weight_unused",
                    f"{name_in(example, number, message)} has the weight 1: only what the "
                    "assistant says is learnt from",
                    "take it out",
                )
                break
    muted = [message for message in answers if weight_of(message) == 0]
    if not muted or example.kind != "chat":
        return
    if not target.weight:
        yield Found(
            "weight_unused",
            f"{plural(len(muted), 'answer')} of weight 0: {target.words} takes no weights and "
            "learns from every answer",
            "end the row where what is to be learnt ends, or leave the answer out",
        )
    elif len(muted) == len(answers):
        yield Found(
            "nothing_to_train",
            "every answer has the weight 0: nothing is learnt from the row",
            "give an answer the weight 1, or delete the row",
        )


def _columns(example: Example, target: Target) -> Iterator[Found]:
    extra = example.extra if isinstance(example.extra, dict) else {}
    if isinstance(extra.get("functions"), list) and extra["functions"]:
        yield Found("deprecated", "the row lists functions, the old form of tools", "write tools")
    # What a grader reads is free to have any name.
    if target.hosted and target.method != "rft" and not _ROW_KEYS.issuperset(extra):
        names = [quoted(str(key), 30) for key in extra if key not in _ROW_KEYS]
        yield Found(
            "extra_columns",
            f"the row has what {target.words} does not know: {', '.join(names[:_SHOWN_KEYS])}",
            "leave it out of the file that is sent (ftwizard convert does)",
        )


def _reserved(example: Example, target: Target) -> Iterator[Found]:
    found = [text for message in all_turns(example) for text in texts(message)]
    if isinstance(example.text, str):
        found.append(example.text)
    everything = "\n".join(found)
    for word in target.reserved:
        if word in everything and any(word in text for text in found):
            yield Found(
                "reserved_text",
                f"a text holds “{visible(word)}”, which {target.words} reserves for itself",
                "write it another way: rows with it are refused",
            )
            return
