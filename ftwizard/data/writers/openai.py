"""OpenAI's rows: chat, preferences, prompts for a grader; Together's, Foundry's and TRL's are alike."""

from __future__ import annotations

from typing import Any

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example, Message
from ftwizard.data.targets import Target
from ftwizard.data.writers.calls import answered, openai_calls
from ftwizard.data.writers.fit import fitted, is_text_only, media_problem
from ftwizard.data.writers.losses import Losses
from ftwizard.data.writers.parts import Image, Other, Text
from ftwizard.data.writers.turns import Turn

Row = dict[str, Any]
_PARALLEL = frozenset({"parallel_tool_calls"})


def chat(example: Example, target: Target, losses: Losses) -> Row:
    """Return ``messages`` and where there are any ``tools``; raise RowProblem."""
    keeps = _PARALLEL if _is_openai(target) else frozenset[str]()
    found = fitted(example, target, losses, carries=_carried(target), keeps=keeps)
    row: Row = {"messages": written(found.messages, target)}
    if found.tools:
        row["tools"] = found.tools
    return row | _kept(example, keeps)


def prompt(example: Example, target: Target, losses: Losses) -> Row:
    """Return ``messages``, ``tools`` and every other field, which a grader may read."""
    found = fitted(
        example, target, losses, carries=_carried(target), keeps=frozenset(example.extra)
    )
    row: Row = {"messages": written(found.messages, target)}
    if found.tools:
        row["tools"] = found.tools
    others = {k: v for k, v in example.extra.items() if k not in ("functions", "function_call")}
    return row | {key: value for key, value in others.items() if key not in row}


def preference(example: Example, target: Target, losses: Losses) -> Row:
    """Return ``input``, ``preferred_output`` and ``non_preferred_output``, one answer each."""
    keeps = _PARALLEL if _is_openai(target) else frozenset[str]()
    found = fitted(example, target, losses, carries=_carried(target), keeps=keeps)
    for name, answers in (("chosen", found.chosen), ("rejected", found.rejected)):
        if len(answers) != 1 or answers[0].role != "assistant":
            raise RowProblem(
                "one_answer",
                f"the {name} side has {len(answers)} messages, and {target.words} takes one answer",
                "make all but the last message part of the prompt, the same on both sides",
            )
    source: Row = {"messages": written(found.messages, target)}
    if found.tools:
        source["tools"] = found.tools
    return {
        "input": source | _kept(example, keeps),
        "preferred_output": written(found.chosen, target),
        "non_preferred_output": written(found.rejected, target),
    }


def written(messages: list[Turn], target: Target) -> list[Message]:
    """Return messages as OpenAI writes them, in the variant of the target; raise RowProblem."""
    has_parts = not is_text_only(messages)
    return [_message(turn, target, has_parts=has_parts) for turn in messages]


def _message(turn: Turn, target: Target, *, has_parts: bool) -> Message:
    message: Message = {"role": turn.role, "content": _content(turn, target, has_parts)}
    if turn.reasoning is not None and "reasoning" in _carried(target):
        key, text = turn.reasoning
        # Templates differ in the key they read; Together documents two.
        known = not target.hosted or key in ("reasoning", "reasoning_content")
        message[key if known else "reasoning_content"] = text
    if turn.refusal is not None and "refusal" in _carried(target):
        message["refusal"] = turn.refusal
        if not turn.parts:
            message["content"] = None
    if turn.calls:
        # A template writes arguments that are text once more as a JSON string.
        message["tool_calls"] = openai_calls(turn, as_text=target.hosted)
    if turn.role == "tool":
        message["tool_call_id"] = answered(turn).id
        if not target.hosted:
            message["name"] = answered(turn).name
    elif turn.name is not None and "name" in _carried(target):
        message["name"] = turn.name
    if turn.weight is not None:
        message["weight"] = turn.weight
    return message


def _content(turn: Turn, target: Target, has_parts: bool) -> str | list[Row] | None:
    """Return a message's content as text or parts.

    OpenAI takes both side by side. Together wants parts in all messages of a conversation or in
    none; a table of TRL's has one type a column.
    """
    if all(isinstance(part, Text) and not part.text for part in turn.parts):
        return None if turn.calls and target.hosted else ""
    as_list = turn.as_list if _is_openai(target) else has_parts
    if not as_list:
        return turn.text
    return [_part(part, turn, target) for part in turn.parts]


def _part(part: Text | Image | Other, turn: Turn, target: Target) -> Row:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Image):
        return {"type": "image_url", "image_url": {"url": part.url, **part.detail}}
    if part.type == "refusal" and turn.role == "assistant" and _is_openai(target):
        return part.value
    raise media_problem(part, turn, target)


def _is_openai(target: Target) -> bool:
    return target.name.startswith(("openai-", "foundry-"))


def _carried(target: Target) -> frozenset[str]:
    """Return what the target's messages have besides the common fields.

    Reasoning is trained on by Together and, here, by the templates of reasoning models.
    """
    if _is_openai(target):
        return frozenset({"name", "image", "refusal"})
    if not target.hosted or "reasoning_content" in target.message_keys:
        return frozenset({"reasoning", "image"})
    return frozenset({"image"})


def _kept(example: Example, keeps: frozenset[str]) -> Row:
    return {key: example.extra[key] for key in example.extra if key in keeps}
