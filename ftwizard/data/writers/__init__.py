"""A row's meaning, written as each target wants it: one family of formats a file."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ftwizard.data.checks.found import Found
from ftwizard.data.example import Example, Kind
from ftwizard.data.format_names import Format
from ftwizard.data.targets import Target
from ftwizard.data.writers import bedrock, openai, plain, trl, vertex
from ftwizard.data.writers.fit import require_kind
from ftwizard.data.writers.losses import Losses

Writer = Callable[[Example, Target, Losses], dict[str, Any]]

_WRITERS: dict[Format, Writer] = {
    "openai-chat": openai.chat,
    "openai-preference": openai.preference,
    "prompt": openai.prompt,
    "preference": trl.preference,
    "kto": trl.labelled,
    "bedrock-converse": bedrock.converse,
    "bedrock-claude": bedrock.claude,
    "vertex": vertex.contents,
    "prompt-completion": plain.prompt_completion,
    "text": plain.text,
    "pretokenized": plain.tokens,
}
# Of what a row may mean, the formats that say it, the one that carries most first.
_BY_KIND: dict[Kind, tuple[Format, ...]] = {
    "chat": ("openai-chat", "bedrock-converse", "bedrock-claude", "vertex", "prompt-completion"),
    "prompt": ("prompt",),
    "preference": ("preference", "openai-preference"),
    "labelled": ("kto",),
    "text": ("text",),
    "tokens": ("pretokenized",),
}
_OWN: tuple[Format, ...] = ("openai-chat", "prompt-completion")


def write(
    example: Example, target: Target, format: Format | None = None
) -> tuple[dict[str, Any], list[Found]]:
    """Return a row as ``target`` wants it, and what was lost or changed on the way.

    ``format`` is one of ``choices(target)``, for conversations. Raises RowProblem, with what to do,
    where the target cannot carry what the row means. Calls of tools that have no id get one, and
    arguments become text or objects as the target reads them: no loss.
    """
    require_kind(example, target)
    losses = Losses()
    writer = _WRITERS[written_as(example, target, format)]
    return writer(example, target, losses), losses.found


def written_as(example: Example, target: Target, format: Format | None = None) -> Format:
    """Return the format that ``write`` writes a row in."""
    if format is not None and example.kind == "chat":
        return format
    formats = _BY_KIND[example.kind]
    return next((format for format in formats if format in target.formats), formats[0])


def choices(target: Target) -> list[Format]:
    """Return the formats that conversations may be written in for a target; the first is usual."""
    found = [format for format in _BY_KIND["chat"] if format in target.formats]
    # Training here reads every platform's rows; it is given its own.
    return found if target.hosted else [format for format in found if format in _OWN]
