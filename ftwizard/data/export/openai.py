"""OpenAI formats: chat, preferences and prompts; also for Together, Foundry and TRL."""

from __future__ import annotations

from typing import Any

from ftwizard.data.example import Example, Message, RowProblem
from ftwizard.data.export.constraints import fit_to_target, is_text_only, unsupported_media
from ftwizard.data.export.conversion_notes import ConversionNotes
from ftwizard.data.export.messages import Turn
from ftwizard.data.export.parts import Image, OtherPart, Text
from ftwizard.data.export.tool_calls import require_call, to_openai_calls
from ftwizard.data.platforms import Target

Row = dict[str, Any]
_PARALLEL = frozenset({"parallel_tool_calls"})


def write_chat(example: Example, target: Target, notes: ConversionNotes) -> Row:
    """Write ``messages`` and, if any, ``tools``; raise RowProblem."""
    keeps = _PARALLEL if _is_openai(target) else frozenset[str]()
    fitted_row = fit_to_target(
        example, target, notes, carries=_supported_fields(target), keeps=keeps
    )
    row: Row = {"messages": write_messages(fitted_row.messages, target)}
    if fitted_row.tools:
        row["tools"] = fitted_row.tools
    return row | _select_kept(example, keeps)


def write_prompt(example: Example, target: Target, notes: ConversionNotes) -> Row:
    """Write ``messages``, ``tools`` and all other fields, which a grader may read."""
    fitted_row = fit_to_target(
        example, target, notes, carries=_supported_fields(target), keeps=frozenset(example.extra)
    )
    row: Row = {"messages": write_messages(fitted_row.messages, target)}
    if fitted_row.tools:
        row["tools"] = fitted_row.tools
    others = {k: v for k, v in example.extra.items() if k not in ("functions", "function_call")}
    return row | {key: value for key, value in others.items() if key not in row}


def write_preference(example: Example, target: Target, notes: ConversionNotes) -> Row:
    """Write ``input``, ``preferred_output`` and ``non_preferred_output``, one answer each."""
    keeps = _PARALLEL if _is_openai(target) else frozenset[str]()
    fitted_row = fit_to_target(
        example, target, notes, carries=_supported_fields(target), keeps=keeps
    )
    for name, answers in (("chosen", fitted_row.chosen), ("rejected", fitted_row.rejected)):
        if len(answers) != 1 or answers[0].role != "assistant":
            raise RowProblem(
                "one_answer",
                f"{name} has {len(answers)} messages, but {target.words} takes one answer",
                "move all but the last message into the prompt, the same for both",
            )
    source: Row = {"messages": write_messages(fitted_row.messages, target)}
    if fitted_row.tools:
        source["tools"] = fitted_row.tools
    return {
        "input": source | _select_kept(example, keeps),
        "preferred_output": write_messages(fitted_row.chosen, target),
        "non_preferred_output": write_messages(fitted_row.rejected, target),
    }


def write_messages(messages: list[Turn], target: Target) -> list[Message]:
    """Write messages in the target's variant of the OpenAI format; raise RowProblem."""
    has_parts = not is_text_only(messages)
    return [_write_message(turn, target, has_parts=has_parts) for turn in messages]


def _write_message(turn: Turn, target: Target, *, has_parts: bool) -> Message:
    message: Message = {"role": turn.role, "content": _write_content(turn, target, has_parts)}
    if turn.reasoning is not None and "reasoning" in _supported_fields(target):
        key, text = turn.reasoning
        # Chat templates differ in the key that they read; Together documents two.
        supported = not target.hosted or key in ("reasoning", "reasoning_content")
        message[key if supported else "reasoning_content"] = text
    if turn.refusal is not None and "refusal" in _supported_fields(target):
        message["refusal"] = turn.refusal
        if not turn.parts:
            message["content"] = None
    if turn.calls:
        # A chat template would encode JSON text again as a JSON string.
        message["tool_calls"] = to_openai_calls(turn, as_text=target.hosted)
    if turn.role == "tool":
        message["tool_call_id"] = require_call(turn).id
        if not target.hosted:
            message["name"] = require_call(turn).name
    elif turn.name is not None and "name" in _supported_fields(target):
        message["name"] = turn.name
    if turn.weight is not None:
        message["weight"] = turn.weight
    return message


def _write_content(turn: Turn, target: Target, has_parts: bool) -> str | list[Row] | None:
    """Write a message's content as text or parts.

    OpenAI allows both in one conversation. Together needs parts in all messages or in none; a TRL
    dataset has one type per column.
    """
    if all(isinstance(part, Text) and not part.text for part in turn.parts):
        return None if turn.calls and target.hosted else ""
    as_list = turn.as_list if _is_openai(target) else has_parts
    if not as_list:
        return turn.text
    return [_write_part(part, turn, target) for part in turn.parts]


def _write_part(part: Text | Image | OtherPart, turn: Turn, target: Target) -> Row:
    if isinstance(part, Text):
        return {"type": "text", "text": part.text}
    if isinstance(part, Image):
        return {"type": "image_url", "image_url": {"url": part.url, **part.detail}}
    if part.type == "refusal" and turn.role == "assistant" and _is_openai(target):
        return part.value
    raise unsupported_media(part, turn, target)


def _is_openai(target: Target) -> bool:
    return target.name.startswith(("openai-", "foundry-"))


def _supported_fields(target: Target) -> frozenset[str]:
    """Return the optional message fields that the target supports.

    Together trains on reasoning, and so do the templates of reasoning models in local training.
    """
    if _is_openai(target):
        return frozenset({"name", "image", "refusal"})
    if not target.hosted or "reasoning_content" in target.message_keys:
        return frozenset({"reasoning", "image"})
    return frozenset({"image"})


def _select_kept(example: Example, keeps: frozenset[str]) -> Row:
    return {key: example.extra[key] for key in example.extra if key in keeps}
