"""What a target takes of a row: common to every format that is written."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

import msgspec

from ftwizard.data.conversation import RowProblem
from ftwizard.data.example import Example
from ftwizard.data.quoted import quoted
from ftwizard.data.targets import Target
from ftwizard.data.writers.losses import Losses
from ftwizard.data.writers.parts import Image, Other, Text
from ftwizard.data.writers.schemas import tools_of
from ftwizard.data.writers.turns import Turn, has_tools, turns

KINDS = {
    "chat": "a conversation with answers",
    "prompt": "a prompt without an answer",
    "preference": "a pair of a chosen and a rejected answer",
    "labelled": "an answer with a label",
    "text": "plain text",
    "tokens": "token ids",
}
_FIXES = {
    "chat": "add what the target learns from, or choose a target of supervised training",
    "prompt": "add the answers, or choose a target of reinforcement training",
    "preference": "choose a target of preferences; to learn from the chosen answers alone, write "
    "rows of prompt and completion",
    "labelled": "choose a target of labelled answers; to learn from the wanted ones alone, write "
    "them as rows of prompt and completion",
    "text": "choose a target that trains on plain text",
    "tokens": "convert the file that the tokens were made from",
}


class Fitted(msgspec.Struct, frozen=True, kw_only=True):
    """The messages and tools of a row, as its target takes them."""

    messages: list[Turn]
    chosen: list[Turn]
    rejected: list[Turn]
    tools: list[dict[str, Any]]

    @property
    def turns(self) -> list[Turn]:
        """Return every message."""
        return [*self.messages, *self.chosen, *self.rejected]


def require_kind(example: Example, target: Target) -> None:
    """Raise RowProblem for a row that means something the target does not learn from."""
    if example.kind not in target.kinds:
        wanted = " or ".join(KINDS[kind] for kind in target.kinds)
        raise RowProblem(
            "wrong_kind",
            f"it is {KINDS[example.kind]}, and {target.words} takes {wanted}",
            _FIXES[example.kind],
        )


def fitted(
    example: Example,
    target: Target,
    losses: Losses,
    *,
    carries: frozenset[str] = frozenset(),
    keeps: frozenset[str] = frozenset(),
) -> Fitted:
    """Return what a target takes of a row's messages and tools; raise RowProblem if it cannot.

    The format ``carries`` these of a message's ``name``, ``reasoning``, ``refusal`` and of what
    stands beside an ``image``'s URL, and ``keeps`` these of the row's other fields. What stays behind is among
    the ``losses``.
    """
    require_kind(example, target)
    messages, chosen, rejected = (
        [_turn(turn, target, losses) for turn in turns(each, losses, name)]
        for each, name in (
            (example.messages, "message"),
            (example.chosen, "chosen message"),
            (example.rejected, "rejected message"),
        )
    )
    found = Fitted(
        messages=messages, chosen=chosen, rejected=rejected, tools=tools_of(example, losses)
    )
    _say_left_behind(example, found, target, losses, carries, keeps)
    return found if target.tools else _without_tools(found, target, losses)


def system_first(messages: list[Turn], target: Target) -> tuple[list[Turn], list[Turn]]:
    """Return the system's messages and the others, for formats where the system stands apart.

    Raises RowProblem where one comes later than the first turn.
    """
    start = 0
    while start < len(messages) and messages[start].role == "system":
        start += 1
    for turn in messages[start:]:
        if turn.role == "system":
            raise RowProblem(
                "system_position",
                f"{turn.place} is the system's, and {target.words} takes it before the first "
                "turn only",
                "put it at the beginning, or make it part of the user's text",
            )
    for turn in messages[:start]:
        require_text(turn, target)
    return messages[:start], messages[start:]


def require_text(turn: Turn, target: Target) -> None:
    """Raise RowProblem for a message with anything but text."""
    for part in turn.parts:
        if isinstance(part, Image):
            raise RowProblem(
                "images_unsupported",
                f"{turn.place} holds a picture, and {target.words} takes text there only",
                "leave the row out, or describe the picture in words",
            )
        if isinstance(part, Other):
            raise media_problem(part, turn, target)


def media_problem(part: Other, turn: Turn, target: Target) -> RowProblem:
    """Return the problem of a part that is neither text nor a picture."""
    return RowProblem(
        "media_unsupported",
        f"{turn.place} holds “{quoted(part.type, 30)}”, which {target.words} does not take",
        "leave the row out, or write what it says as text",
    )


def scheme_of(url: str) -> str:
    """Return the scheme of a picture's URL; ``file`` for a bare path."""
    try:
        scheme = urlsplit(url[:200]).scheme.lower()
    except ValueError:
        return "file"
    return scheme if len(scheme) > 1 else "file"


def suffix_of(url: str) -> str:
    """Return how the name of a file ends, in small letters and without the dot."""
    name = re.split(r"[?#]", url, maxsplit=1)[0].rpartition("/")[2]
    return name.rpartition(".")[2].lower() if "." in name else ""


def _turn(turn: Turn, target: Target, losses: Losses) -> Turn:
    for part in turn.parts:
        if isinstance(part, Image):
            _require_image(part, turn, target)
    role, weight = turn.role, turn.weight
    if role == "developer" and role not in target.roles:
        losses.say(
            "developer_role",
            f"{target.words} knows no developer: written as the system's",
            "nothing is to be done",
        )
        role = "system"
    if role == "assistant" and weight == 0 and not target.weight:
        losses.say(
            "weight_unused",
            f"{turn.place} is not to be learnt from (weight 0), and {target.words} learns from "
            "every answer",
            "cut the conversation before that answer, or choose a target that obeys weights",
        )
    if role != "assistant" or not target.weight:
        weight = None
    return msgspec.structs.replace(turn, role=role, weight=weight)


def _require_image(image: Image, turn: Turn, target: Target) -> None:
    if target.images is None:
        raise RowProblem(
            "images_unsupported",
            f"{turn.place} holds a picture, and {target.words} takes text only",
            "leave the row out, choose another target, or describe the picture in words",
        )
    scheme = scheme_of(image.url)
    if scheme not in target.images.schemes:
        taken = " or ".join(f"{name}:" for name in target.images.schemes)
        where = "is a file of this machine" if scheme == "file" else f"begins with {scheme}:"
        raise RowProblem(
            "image_url",
            f"{turn.place} holds a picture whose address {quoted(where, 60)}; {target.words} "
            f"takes {taken}",
            "upload it and write its new address"
            if "data" not in target.images.schemes
            else "write the picture itself as a data: URL",
        )


def _say_left_behind(
    example: Example,
    found: Fitted,
    target: Target,
    losses: Losses,
    carries: frozenset[str],
    keeps: frozenset[str],
) -> None:
    keys = [
        str(key)
        for key, value in example.extra.items()
        if value is not None and key not in keeps and key not in ("functions", "function_call")
    ]
    for turn in found.turns:
        keys += turn.extra
        if turn.name is not None and turn.role != "tool" and "name" not in carries:
            keys.append("name")
        if "image" not in carries:
            keys += [key for part in turn.parts if isinstance(part, Image) for key in part.detail]
        if turn.refusal is not None and "refusal" not in carries:
            _require_content(turn, target)
            keys.append("refusal")
        if turn.reasoning is not None and "reasoning" not in carries:
            losses.say(
                "reasoning_unused",
                f"{turn.place} tells how it was reasoned (“{turn.reasoning[0]}”), which "
                f"{target.words} does not take: the answer is written without it",
                "nothing is to be done, unless the reasoning is to be learnt",
            )
    if "image" not in carries:  # of OpenAI's own; the others describe a tool by these alone
        described = (key for tool in found.tools for key in tool["function"])
        keys += [key for key in described if key not in ("name", "description", "parameters")]
    losses.keys(list(dict.fromkeys(keys)), target.words)


def _require_content(turn: Turn, target: Target) -> None:
    if not turn.parts and not turn.calls:
        raise RowProblem(
            "missing_content",
            f"{turn.place} refuses beside its content, which {target.words} does not read",
            "write the refusal as its content",
        )


def _without_tools(found: Fitted, target: Target, losses: Losses) -> Fitted:
    """Return a row without tools, or as it is where the target only may refuse them."""
    calling = next((turn for turn in found.turns if has_tools(turn)), None)
    if calling is not None:
        message = f"{calling.place} is part of a tool call, and {target.words} trains none"
        fix = "leave the row out, or choose a target that trains tool calls"
        if target.severity("tools_unsupported") == "error":
            raise RowProblem("tools_unsupported", message, fix)
        losses.say("tools_unsupported", f"{message} for certain: written all the same", fix)
        return found
    if found.tools:
        losses.say(
            "unused_tools",
            f"tools are described and none is called; {target.words} takes none: left out",
            "nothing is to be done",
        )
    return msgspec.structs.replace(found, tools=[])


def is_text_only(messages: list[Turn]) -> bool:
    """Tell whether all parts of all messages are text."""
    return all(isinstance(part, Text) for turn in messages for part in turn.parts)
