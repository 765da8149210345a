"""Message contents: empty texts, white space, weights, unknown keys and reserved text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ftwizard.data.checks import names
from ftwizard.data.checks.turns import (
    format_message_name,
    get_texts,
    get_weight,
    is_blank,
    is_empty,
    name_turns,
)
from ftwizard.data.example import Example, Message
from ftwizard.data.findings import RowFinding
from ftwizard.data.formats.fields import describe_type
from ftwizard.data.platforms import Target
from ftwizard.data.privacy.quote import quote
from ftwizard.text import format_count, make_visible

_PLAIN_KEYS = 2
"""``role`` and ``content``."""
KNOWN_MESSAGE_KEYS = frozenset((
    "role", "content", "name", "weight", "tool_calls", "tool_call_id", "function_call", "refusal",
    "audio",
))  # fmt: skip
KNOWN_ROW_KEYS = frozenset((
    "functions", "function_call", "parallel_tool_calls", "tool_choice", "schemaVersion",
    "toolConfig", "generationConfig",
))  # fmt: skip
"""Row keys that training services know, besides the keys of the row's format."""
_SHOWN_KEYS = 3
NamedTurn = tuple[str, Message]
"""A message after its name for findings."""


def check(example: Example, target: Target) -> Iterator[RowFinding]:
    """Yield what is wrong with or missing from the contents of a row."""
    if example.kind == "tokens":
        return
    if example.kind == "text":
        if is_blank(example.text or ""):
            yield RowFinding("empty_text", "the text is empty", "add text or delete the row")
    else:
        messages = example.messages
        answers = [m for m in messages if m["role"] == "assistant"]
        yield from _check_blanks(example, messages)
        if example.kind == "chat":
            yield from _check_speakers(messages, answers)
        if any(len(message) > _PLAIN_KEYS for message in example.turns):
            turns = [*name_turns(example)]
            yield from _check_keys(turns, target)
            yield from _check_weights(example, turns, answers, target)
    if example.extra:
        yield from _check_columns(example.extra, target)
    if target.needed_fields and example.kind == "prompt":
        yield from _check_needed(example, target)
    if target.reserved:
        yield from _check_reserved(example, target)


def _check_blanks(example: Example, messages: list[Message]) -> Iterator[RowFinding]:
    empty: list[int] = []
    for number, message in enumerate(messages):
        content = message.get("content")
        # Nearly every message: text without white space around it, with a visible first letter.
        if isinstance(content, str) and content and content == content.strip():
            if "!" <= content[0] <= "~" or not is_blank(content):
                continue
        elif isinstance(content, str) and not is_blank(content):
            if message["role"] == "assistant":
                name = format_message_name(number + 1, message)
                yield RowFinding(
                    "blank_edges",
                    f"the answer in {name} starts or ends with white space",
                    "trim it unless intended: the model learns it too",
                )
            continue
        if is_empty(message):
            empty.append(number)
    if empty:
        yield from _check_empty(example, messages, empty)


def _check_empty(
    example: Example, messages: list[Message], empty: list[int]
) -> Iterator[RowFinding]:
    has_answers = example.kind in ("chat", "labelled")
    answers = [
        n for n, m in enumerate(messages)
        if has_answers and m["role"] == "assistant" and get_weight(m)
    ]  # fmt: skip
    if empty_answers := [number for number in empty if number in answers]:
        yield RowFinding(
            "empty_assistant",
            "every answer is empty"
            if len(empty_answers) == len(answers)
            else f"{len(empty_answers)} of {len(answers)} answers are empty, the first in message "
            f"{empty_answers[0] + 1}",
            "add the answer or delete the row",
        )
    prompts = [number for number in range(len(messages)) if number not in answers]
    if not has_answers and all(number in empty for number in prompts):
        yield RowFinding("empty_prompt", "the prompt is empty", "add a prompt or delete the row")
    elif empty_prompts := [number for number in empty if number not in answers]:
        yield RowFinding(
            "empty_content",
            f"{format_message_name(empty_prompts[0] + 1, messages[empty_prompts[0]])} is empty",
            "add text or remove the message",
        )


def _check_speakers(messages: list[Message], answers: list[Message]) -> Iterator[RowFinding]:
    if not answers:
        yield RowFinding("no_assistant", "no assistant message to train on", "add the answer")
    if not any(message["role"] == "user" for message in messages):
        yield RowFinding(
            "no_user",
            "no user message for the assistant to answer",
            "add a user message; some chat templates reject rows without one",
        )


def _check_keys(turns: list[NamedTurn], target: Target) -> Iterator[RowFinding]:
    supported = KNOWN_MESSAGE_KEYS.union(target.message_keys)
    unknown: dict[str, str] = {}
    for where, message in turns:
        if message.get("function_call") is not None or message["role"] == "function":
            yield RowFinding(
                "deprecated.function_call",
                f"{where} uses the deprecated function_call or the role function",
                "use tool_calls and the role tool",
            )
        if not supported.issuperset(message):
            for key, value in message.items():
                if key not in supported and value is not None:
                    unknown.setdefault(key, where)
        refusal = message.get("refusal")
        if target.hosted and not (refusal is None or isinstance(refusal, str)):
            yield RowFinding(
                "content_type.refusal",
                f"the refusal of {where} is {describe_type(refusal)}",
                "write it as text, or remove it (ftwizard convert does)",
            )
        name = message.get("name")
        is_named = target.call_ids and isinstance(name, str)
        if is_named and (rule := names.find_broken_rule(str(name), target)):
            yield RowFinding(
                "message_name",
                f"the name of {where}, {quote(str(name), 40)}, is not {rule}",
                "rename the speaker, or remove the name",
            )
    if unknown and target.hosted:
        keys = ", ".join(quote(key, 30) for key in list(unknown)[:_SHOWN_KEYS])
        where = next(iter(unknown.values()))
        yield RowFinding(
            f"extra_keys.{keys}",
            f"{where} has keys that {target.words} does not support: {keys}",
            "remove them: such keys are rejected or ignored",
        )


def _check_weights(
    example: Example, turns: list[NamedTurn], answers: list[Message], target: Target
) -> Iterator[RowFinding]:
    for where, message in turns:
        weight = message.get("weight")
        if weight is not None and (type(weight) is not int or weight not in (0, 1)):
            is_number = isinstance(weight, int | float)
            shown = quote(str(weight), 20) if is_number else describe_type(weight)
            fix = "use 0 (not trained on) or 1, as an integer"
            yield RowFinding("weight.value", f"the weight of {where} is {shown}", fix)
            return
        if weight is None and "weight" in message and target.weight and target.hosted:
            fix = "use 0 (not trained on) or 1, or omit the key"
            yield RowFinding("weight.null", f"the weight of {where} is null", fix)
            return
    if example.kind != "chat":
        return
    for where, message in turns if target.weight else ():
        if message.get("weight") == 1 and message["role"] != "assistant":
            yield RowFinding(
                "weight_unused.role",
                f"{where} has weight 1, but only assistant messages are trained on",
                "remove the weight",
            )
            break
    muted = sum(get_weight(message) == 0 for message in answers)
    if muted and not target.weight:
        yield RowFinding(
            "weight_unused.ignored",
            f"{format_count(muted, 'answer')} with weight 0, but {target.words} ignores weights and "
            "trains on every answer",
            "end the row after the last answer to train on, or remove the answer",
        )
    elif muted and muted == len(answers):
        yield RowFinding(
            "nothing_to_train",
            "every answer has weight 0: the row has no trainable tokens",
            "give an answer weight 1, or delete the row",
        )


def _check_columns(extra: dict[str, Any], target: Target) -> Iterator[RowFinding]:
    if isinstance(extra.get("functions"), list) and extra["functions"]:
        yield RowFinding(
            "deprecated.functions", "the row uses functions, which is deprecated", "use tools"
        )
    # Fields for a grader may have any name.
    if target.hosted and target.method != "rft" and not KNOWN_ROW_KEYS.issuperset(extra):
        unknown = [quote(key, 30) for key in extra if key not in KNOWN_ROW_KEYS]
        keys = ", ".join(unknown[:_SHOWN_KEYS])
        yield RowFinding(
            f"extra_columns.{keys}",
            f"the row has fields that {target.words} does not support: {keys}",
            "remove them before the upload (ftwizard convert does)",
        )


def _check_needed(example: Example, target: Target) -> Iterator[RowFinding]:
    for name in target.needed_fields:
        value = example.extra.get(name)
        if value is None or (isinstance(value, str) and not value.strip()):
            yield RowFinding(
                "missing_reference",
                f"the row has no {name}, which {target.words} needs",
                f"add the right answer next to the messages, as {name}",
            )


def _check_reserved(example: Example, target: Target) -> Iterator[RowFinding]:
    row_texts = [text for message in example.turns for text in get_texts(message)]
    if example.text:
        row_texts.append(example.text)
    for word in target.reserved:
        if any(word in text for text in row_texts):
            yield RowFinding(
                "reserved_text",
                f"a text contains “{make_visible(word)}”, which {target.words} reserves",
                "rephrase it: rows that contain it are rejected",
            )
            return
