"""Format detection for single rows, by their keys and the types of the values."""

from __future__ import annotations

import functools
from typing import Any, NamedTuple

from ftwizard.data.format_names import Format

_NONE: frozenset[Format] = frozenset()


class FormatMatch(NamedTuple):
    """Formats that a row matches."""

    best: frozenset[Format]
    """The format of the row; several if it has the fields of each, none if it has those of no
    format."""
    fits: frozenset[Format]
    """``best`` and all other formats in which the row makes sense. For example, a chat row without
    an answer is a prompt for a grader, or a chat row that lacks its answer."""
    holds: frozenset[Format]
    """``fits`` and the formats whose fields the row has as well: everything it can be read as if
    the format is set explicitly."""


UNKNOWN = FormatMatch(_NONE, _NONE, _NONE)

# Fields that distinguish formats. Of other fields, only their existence matters.
_DISTINCTIVE = frozenset((
    "messages", "conversations", "conversation", "contents", "schemaVersion", "system", "tools",
    "functions", "prompt", "completion", "completions", "response", "instruction", "output",
    "question", "answer", "query", "choices", "gold", "text", "input_ids", "chosen", "rejected",
    "chosen_messages", "rejected_messages", "rejected_response", "preferred_output",
    "non_preferred_output", "label", "kto_tag", "images", "videos", "audios",
))  # fmt: skip
_OF_CHAT = frozenset((
    "messages", "conversations", "conversation", "system", "tools", "functions",
    "parallel_tool_calls", "images", "videos", "audios", "image",
))  # fmt: skip
_PREFERRED = frozenset((
    "chosen", "rejected", "chosen_messages", "rejected_messages", "rejected_response",
))  # fmt: skip
_PREFERRED_BY_OPENAI = frozenset(("preferred_output", "non_preferred_output"))
_NOT_CLAUDE = frozenset(("tools", "functions", "images", "videos", "audios"))
_CLAUDE_ONLY = frozenset(("tool_use", "tool_result", "thinking", "redacted_thinking", "document"))


def match_formats(row: Any) -> FormatMatch:
    """Return the formats that a row matches.

    Rows with a verdict (chosen and rejected, or a label) are not chat rows: a model would be
    trained on the rejected answers.
    """
    if isinstance(row, list):
        is_chat = bool(row) and isinstance(row[0], dict) and "role" in row[0]
        return _only("openai-chat") if is_chat else UNKNOWN
    if not isinstance(row, dict):
        return UNKNOWN
    keys = tuple([key for key, value in row.items() if key in _DISTINCTIVE and value is not None])
    if keys == ("messages",):  # most rows of most files
        more = len(row) > 1 and not row.keys() <= _OF_CHAT
        return _looks(keys, _shape(row["messages"]), None, more, False)
    listed = None
    for name in ("messages", "conversations", "conversation"):
        if name in keys:
            listed = _shape(row[name])
            break
    more = not row.keys() <= _OF_CHAT
    return _looks(keys, listed, _kinds(row, keys), more, "label" in row or "kto_tag" in row)


def find_null_fields(row: Any) -> list[str]:
    """Return the distinctive fields of a row that are null."""
    if not isinstance(row, dict):
        return []
    return [key for key, value in row.items() if value is None and key in _DISTINCTIVE]


class _Shape(NamedTuple):
    """Features that distinguish lists of turns."""

    dialect: str
    """``plain`` (text or typed parts), ``untyped`` parts, ``claude`` parts, ``from`` (with value),
    ``pairs`` or ``odd``."""
    asks_and_answers: bool
    """All roles are user or assistant, and no message has OpenAI tool calls."""
    last: str
    """``user``, ``assistant`` or another."""


_ODD = _Shape("odd", False, "")


def _shape(listed: Any) -> _Shape:
    if type(listed) is not list:
        return _ODD
    dialect, simple, role = "odd", True, None
    for turn in listed:
        if type(turn) is not dict:
            return _ODD
        role = turn.get("role")
        content = turn.get("content")
        if type(content) is list and dialect in ("odd", "plain"):
            dialect = _parts(content)
        elif dialect == "odd":
            if role is None and content is None:
                return _other_dialect(turn)
            dialect = "plain"
        if (role != "user" and role != "assistant") or (len(turn) > 2 and "tool_calls" in turn):
            simple = False
    return _shaped(dialect, simple, role if role in ("user", "assistant", "developer") else "")


@functools.lru_cache(maxsize=64)
def _shaped(dialect: str, simple: bool, last: str) -> _Shape:
    return _Shape(dialect, simple, last)


def _parts(content: list[Any]) -> str:
    for part in content:
        if type(part) is not dict:
            return "plain"
        kind = part.get("type")
        if kind is None:
            return "untyped"
        if kind == "image" and "source" in part:
            return "claude"
        if isinstance(kind, str) and kind in _CLAUDE_ONLY:
            return "claude"
    return "plain"


def _other_dialect(turn: dict[str, Any]) -> _Shape:
    if "from" in turn or "value" in turn:
        return _shaped("from", False, "")
    if "assistant" in turn or "human" in turn or "user" in turn:
        return _shaped("pairs", False, "")
    return _ODD


def _kinds(row: dict[str, Any], keys: tuple[str, ...]) -> str | None:
    """Return the relevant types of ``label``, ``output`` and ``system``, as one word each."""
    kinds = []
    for key in keys:
        if key == "label" and isinstance(row[key], bool):
            kinds.append("judged")
        elif key == "output" and isinstance(row[key], list):
            kinds.append("outputs")
        elif key == "system" and isinstance(row[key], list):
            kinds.append("untyped" if _parts(row[key]) == "untyped" else "parts")
    return " ".join(kinds) or None


@functools.lru_cache(maxsize=4096)
def _looks(
    keys: tuple[str, ...], shape: _Shape | None, kinds: str | None, more: bool, labelled: bool
) -> FormatMatch:
    has = frozenset(keys)
    types = frozenset((kinds or "").split())
    answers, fits = _answer_formats(has, shape, types, more)
    verdicts = _verdict_formats(has, types, answers)
    fallbacks: set[Format] = set()
    if "prompt" in has and "completions" not in has:
        fallbacks.add("prompt")
    if "text" in has:
        fallbacks.add("text")
    best = verdicts or answers
    if "input_ids" in has:
        best = {"pretokenized"}
    elif not best and fallbacks:
        best = {"prompt"} if "prompt" in fallbacks else {"text"}
    holds = best | verdicts | answers | fits | fallbacks
    if best == answers:
        fits |= best
    else:
        fits = set(best)
    if labelled and best <= answers | {"prompt"}:
        fits.add("kto")
    return (
        FormatMatch(frozenset(best), frozenset(fits), frozenset(holds | fits)) if best else UNKNOWN
    )


def _verdict_formats(
    has: frozenset[str], types: frozenset[str], answers: set[Format]
) -> set[Format]:
    verdicts: set[Format] = set()
    if has & _PREFERRED or ("instruction" in has and "outputs" in types):
        verdicts.add("preference")
    if has & _PREFERRED_BY_OPENAI:
        verdicts.add("openai-preference")
    judged = answers & {"openai-chat", "bedrock-claude", "sharegpt", "prompt-completion"}
    if ("kto_tag" in has and answers) or ("judged" in types and judged):
        verdicts.add("kto")
    return verdicts


def _answer_formats(
    has: frozenset[str], shape: _Shape | None, types: frozenset[str], more: bool
) -> tuple[set[Format], set[Format]]:
    """Return the answer formats that a row has, and others that it could have."""
    best: set[Format] = set()
    fits: set[Format] = set()
    if shape is not None:
        best, fits = _turn_formats(has, shape, types, more)
    if "contents" in has:
        best.add("vertex")
    if {"prompt", "completion"} <= has:
        best.add("prompt-completion")
    if {"query", "response"} <= has:
        best.add("query-response")
    if {"query", "choices", "gold"} <= has:
        best.add("multiple-choice")
    if "question" in has and ("answer" in has or "response" in has):
        best.add("question-answer")
    if "instruction" in has:
        if "response" in has:
            best.add("dolly")
        if "output" in has or not best:
            best.add("alpaca")
    if not best and {"prompt", "response"} <= has:
        best.add("query-response")
    return best, fits


def _turn_formats(
    has: frozenset[str], shape: _Shape, types: frozenset[str], more: bool
) -> tuple[set[Format], set[Format]]:
    if "schemaVersion" in has or "untyped" in types or shape.dialect == "untyped":
        return {"bedrock-converse"}, set()
    if shape.dialect in ("from", "pairs") or (shape.dialect == "odd" and "messages" not in has):
        return {"sharegpt"}, set()
    if shape.dialect == "claude" or "parts" in types:
        return {"bedrock-claude"}, set()
    fits: set[Format] = {"openai-chat"}
    best: Format = "openai-chat"
    if shape.asks_and_answers and "messages" in has and has.isdisjoint(_NOT_CLAUDE):
        fits.add("bedrock-claude")
        if "system" in has:
            best = "bedrock-claude"
    if shape.last in ("user", "developer"):
        fits.add("prompt")
        if more:
            best = "prompt"
    elif more:
        fits.add("prompt")
    return {best}, fits


def _only(format: Format) -> FormatMatch:
    formats = frozenset((format,))
    return FormatMatch(formats, formats, formats)
