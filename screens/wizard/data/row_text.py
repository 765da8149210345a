"""Texts of rows: their content as parsed, and their findings."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from rich.text import Text

from ftwizard.data.documents import ShownRow
from ftwizard.data.example import IGNORE_INDEX
from ftwizard.data.findings import Finding
from ftwizard.screens import layout, palette
from ftwizard.screens.terminal import visible_text
from ftwizard.screens.wizard.data import report_text
from ftwizard.text import format_bytes, format_count, make_visible

MAX_CHARACTERS = 4000
"""Characters shown of one text in a row."""
MAX_MESSAGES = 200
MAX_FINDINGS = 8
"""Findings shown above a row."""
MAX_TOKENS = 40
_MAX_NAME_CHARACTERS = 60
_GOOD, _BAD = ("✓ ", f"bold {palette.GOOD}"), ("✗ ", f"bold {palette.BAD}")
_TITLE = "bold"
_SIDE = "dim"


def format_example(example: dict[str, Any]) -> Text:
    """Format a row: its messages, labels and extra fields."""
    text = Text()
    for part in _list_parts(example):
        if text:
            text.append("\n\n")
        text.append_text(part)
    return text


def summarize(example: dict[str, Any]) -> str:
    """Return the first user message, or the beginning of a row, on a line."""
    messages = example.get("messages") or []
    asked = next((message for message in messages if message.get("role") == "user"), None)
    if asked := asked or next(iter(messages), None):
        return make_visible(" ".join(_list_texts(asked)), 200)
    if example.get("tokens"):
        return _describe_tokens(example["tokens"])
    return make_visible(str(example.get("text") or ""), 200)


def _list_parts(example: dict[str, Any]) -> Iterator[Text]:
    kind = example.get("kind", "chat")
    if tools := example.get("tools"):
        yield Text.assemble(("tools  ", _SIDE), _join_names(map(_get_tool_name, tools)))
    yield from _format_messages(example.get("messages"))
    if kind == "preference":
        yield Text.assemble(_GOOD, ("chosen", _TITLE))
        yield from _format_messages(example.get("chosen"))
        yield Text.assemble(_BAD, ("rejected", _TITLE))
        yield from _format_messages(example.get("rejected"))
    if kind == "labelled":
        label = example.get("label")
        yield Text.assemble(_GOOD if label else _BAD, "" if label else "un", "desirable response")
    if example.get("text") is not None:
        yield visible_text.mark_lines(str(example["text"]), MAX_CHARACTERS)
    if tokens := example.get("tokens"):
        yield _format_tokens(tokens)
    if extra := example.get("extra"):
        yield Text.assemble(("extra  ", _SIDE), _join_names(list(extra)[:20]))


def _join_names(names: Iterable[Any]) -> str:
    return ", ".join(make_visible(str(name), _MAX_NAME_CHARACTERS) for name in names)


def _format_messages(messages: Any) -> Iterator[Text]:
    shown = list(messages or [])[:MAX_MESSAGES]
    yield from map(_format_message, shown)
    if more := len(messages or []) - len(shown):
        yield Text(f"… and {format_count(more, 'more message')}", _SIDE)


def _format_message(message: dict[str, Any]) -> Text:
    """Format a message below its role."""
    text = Text.assemble((make_visible(str(message.get("role")), 20), f"bold {palette.ACCENT}"))
    for note in _list_notes(message):
        text.append(f"  {note}", _SIDE)
    for part in _list_contents(message):
        text.append("\n").append_text(part)
    return text


def _list_notes(message: dict[str, Any]) -> Iterator[str]:
    if name := message.get("name"):
        yield make_visible(str(name), _MAX_NAME_CHARACTERS)
    if call := message.get("tool_call_id"):
        yield f"result of {make_visible(str(call), _MAX_NAME_CHARACTERS)}"
    if (weight := message.get("weight")) is not None:
        shown = f"weight {make_visible(str(weight), 20)}"
        yield "not trained on (weight 0)" if weight == 0 else shown


def _list_contents(message: dict[str, Any]) -> Iterator[Text]:
    content = message.get("content")
    if isinstance(content, list):
        yield from map(_format_part, content)
    elif content is not None:
        yield visible_text.mark_lines(str(content), MAX_CHARACTERS)
    calls = message.get("tool_calls") or []
    if message.get("function_call"):
        calls = [*calls, {"function": message["function_call"]}]
    yield from map(_format_call, calls)


def _format_part(part: Any) -> Text:
    """Format a part of a message: its text, or its type."""
    if not isinstance(part, dict):
        return visible_text.mark_lines(str(part), MAX_CHARACTERS)
    if isinstance(part.get("text"), str):
        return visible_text.mark_lines(part["text"], MAX_CHARACTERS)
    kind = make_visible(str(part.get("type", "part")), _MAX_NAME_CHARACTERS)
    address = part.get("image_url")
    if isinstance(address, dict):
        address = address.get("url")
    if kind == "image_url":
        return Text(f"[image{_format_address(address)}]", _SIDE)
    return Text(f"[{kind}]", _SIDE)


def _format_address(address: Any) -> str:
    if not isinstance(address, str):
        return ""
    if address.startswith("data:"):
        head, _, data = address.partition(",")
        kind = make_visible(head.removeprefix("data:").partition(";")[0], _MAX_NAME_CHARACTERS)
        return f": {kind}, {format_bytes(len(data) * 3 // 4)} in the row"
    return f": {make_visible(address, 200)}"


def _format_call(call: Any) -> Text:
    function = call.get("function") if isinstance(call, dict) else None
    function = function if isinstance(function, dict) else {}
    arguments = function.get("arguments", "")
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments).decode()
    name = make_visible(str(function.get("name")), _MAX_NAME_CHARACTERS)
    shown = visible_text.mark_lines(arguments, MAX_CHARACTERS)
    return Text.assemble(("→ ", palette.ACCENT), name, "(", shown, ")")


def _get_tool_name(tool: Any) -> str:
    function = tool.get("function") if isinstance(tool, dict) else None
    named = function if isinstance(function, dict) else tool
    return str(named.get("name")) if isinstance(named, dict) else str(tool)


def _format_tokens(tokens: dict[str, Any]) -> Text:
    text = Text.assemble((_describe_tokens(tokens), _TITLE))
    for name in ("input_ids", "labels"):
        values = tokens.get(name)
        if isinstance(values, list) and values:
            more = " …" if len(values) > MAX_TOKENS else ""
            shown = " ".join(make_visible(str(value), 20) for value in values[:MAX_TOKENS])
            text.append(f"\n{name}  ", _SIDE).append(f"{shown}{more}")
    return text


def _describe_tokens(tokens: dict[str, Any]) -> str:
    ids, labels = tokens.get("input_ids"), tokens.get("labels")
    words = format_count(len(ids) if isinstance(ids, list) else 0, "token")
    if isinstance(labels, list):
        words += f", {sum(label != IGNORE_INDEX for label in labels):,} trainable"
    return words


def _list_texts(message: dict[str, Any]) -> Iterable[str]:
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    for part in parts:
        if isinstance(part, str):
            yield part[:MAX_CHARACTERS]
        elif isinstance(part, dict):
            text = part.get("text")
            yield text[:MAX_CHARACTERS] if isinstance(text, str) else _format_part(part).plain


def count_characters(example: dict[str, Any]) -> int:
    """Count the characters of a row's texts."""
    parts = (example.get(part) or [] for part in ("messages", "chosen", "rejected"))
    texts = (text for part in parts for message in part for text in _list_texts(message))
    return sum(map(len, texts)) + len(str(example.get("text") or ""))


def format_first_words(row: ShownRow) -> Text:
    if row.example:
        return visible_text.mark_line(summarize(row.example))
    return visible_text.mark_line(row.raw, 200)


def add_title(line: int, text: Text) -> Text:
    return Text.assemble((f"row {line:,}", "bold"), "\n\n", text)


def format_row(row: ShownRow, width: int) -> Text:
    """Format a row with its line, findings, and meaning or raw text."""
    text = Text()
    for finding in row.findings[:MAX_FINDINGS]:
        message = visible_text.mark_line(finding.message, 1000)
        problem = Text.assemble(report_text.MARKS[finding.severity], message, "; ")
        fix = visible_text.mark_line(finding.fix, 1000)
        fix.style = "dim"
        problem.append_text(fix)
        text.append_text(layout.wrap_hanging(problem, 2, width)).append("\n")
    text.append("\n" if text else "")
    if row.example:
        text.append_text(format_example(row.example))
    else:
        text.append_text(visible_text.mark_lines(row.raw))
    return add_title(row.line, text)


def format_heading(finding: Finding) -> Text:
    """Format the heading above the rows of a finding."""
    shown = len(finding.lines)
    text = Text.assemble(
        report_text.MARKS[finding.severity], (report_text.format_title(finding), "bold")
    )
    text.append(f"  {format_count(finding.count, 'row')}", "")
    if shown < finding.count:
        text.append(f", the first {shown:,} of them")
    text.append("\n  ").append_text(visible_text.mark_line(finding.message, 300))
    return text
