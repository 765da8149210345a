"""``show``: rows of a file as they are read, with what is wrong with each."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import msgspec

from ftwizard.commands import output, progress
from ftwizard.commands.check import MARKS
from ftwizard.data import hub, rows_at
from ftwizard.data.rows_at import ShownRow
from ftwizard.errors import FtwizardError
from ftwizard.text import plural, visible


def show(arguments: argparse.Namespace) -> int:
    """Show rows by their lines; secrets are replaced by words, long texts are clipped."""
    with progress.reporter(shown=True) as say:
        file, _ = hub.locate(arguments.data, say)
        say("reading", what=file.name)
        found = rows_at.rows(file, arguments.line, arguments.format, arguments.target)
    if not found:
        named = ", ".join(map(str, arguments.line[:8]))
        raise FtwizardError(
            f"{visible(str(file))} has no row at line {named}.",
            "Lines are counted from 1; blank ones hold no row.",
        )
    if arguments.json:
        output.print_json({"path": str(file), "rows": found})
        return 0
    out = output.console()
    for number, row in enumerate(found):
        output.say(out, *([""] if number else []), *_lines(row))
    return 0


def _lines(row: ShownRow) -> Iterator[str]:
    yield f"line {row.line}"
    for one in row.findings:
        yield f"{MARKS[one.severity]} {one.code}: {one.message}; {one.fix}"
    if row.example is None:
        yield row.raw
    else:
        yield from _read(row.example)


def _read(example: dict[str, Any]) -> Iterator[str]:
    """Return a row as it is read, each part below what it is."""
    for part in ("messages", "chosen", "rejected"):
        if example[part] and part != "messages":
            yield f"[{part}]"
        for message in example[part]:
            yield from _message(message)
    if example["kind"] == "labelled":
        yield f"[{'wanted' if example['label'] else 'not wanted'}]"
    if example["text"] is not None:
        yield example["text"]
    if example["tokens"]:
        yield f"[{plural(len(example['tokens']['input_ids']), 'token')}]"
    for name in ("tools", "extra"):
        if example[name]:
            yield f"[{name}] {_json(example[name])}"


def _message(message: dict[str, Any]) -> Iterator[str]:
    rest = {key: value for key, value in message.items() if key not in ("role", "content")}
    yield visible(str(message["role"])) + (f" {_json(rest)}" if rest else "")
    content = message.get("content")
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, str):
            yield f"  {part}"
        elif isinstance(part, dict) and isinstance(part.get("text"), str):
            yield f"  {part['text']}"
        elif part is not None:
            yield f"  {_json(part)}"


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
