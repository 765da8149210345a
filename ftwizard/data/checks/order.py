"""Who speaks when: what a row is for, its roles, which come first, last, and in turns."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

from ftwizard.data.checks.found import Found
from ftwizard.data.checks.turns import RESULTS, SYSTEM, listed
from ftwizard.data.example import Example, Kind, Message
from ftwizard.data.quoted import quoted
from ftwizard.data.targets import Target
from ftwizard.text import plural

Roles = tuple[Any, ...]

_KINDS: dict[Kind, str] = {
    "chat": "a conversation with its answers",
    "prompt": "a prompt without an answer",
    "preference": "a pair of answers",
    "labelled": "an answer with a label",
    "text": "plain text",
    "tokens": "token ids",
}
_TALKERS = ("user", "assistant")
_TALKS = frozenset({"chat", "prompt", "preference", "labelled"})
_INSTEAD = {"developer": "system", "function": "tool"}
_REMEMBERED = 4096
"""Sequences of roles: there are few in a file."""


def check(example: Example, target: Target) -> Iterator[Found]:
    """Yield what is wrong with the order of a row's messages."""
    if example.kind not in target.kinds:
        takes = " or ".join(_KINDS[kind] for kind in target.kinds)
        yield Found(
            "wrong_kind",
            f"the row is {_KINDS.get(example.kind, 'of another kind')}; {target.words} takes "
            f"{takes}",
            "choose a target that takes such rows: ftwizard check DATA --target NAME",
        )
        return
    if example.kind not in _TALKS:
        return
    messages = listed(example.messages)
    roles = tuple([_role(message) for message in messages])
    found, doubled = _of_roles(target, example.kind, roles)
    if found:
        yield from found
    if doubled:
        yield from _doubled(messages, doubled)
    if example.kind == "preference":
        after = (*listed(example.chosen), *listed(example.rejected))
        yield from _unknown(target, tuple([_role(message) for message in after]), len(roles))


def _role(message: Message) -> str | None:
    role = message.get("role")
    return role if isinstance(role, str) else None


@functools.lru_cache(_REMEMBERED)
def _of_roles(
    target: Target, kind: Kind, roles: Roles
) -> tuple[tuple[Found, ...], tuple[tuple[int, int], ...]]:
    """Return what is found by the roles alone, and, where that is not forbidden, the indices of
    messages that follow one another with the same role."""
    spoken = tuple(role for role in roles if role not in SYSTEM)
    found = [
        *_unknown(target, roles, 0),
        *_system(roles),
        *_first(target, spoken),
        *_last(target, kind, roles),
        *_length(target, kind, spoken),
    ]
    if target.alternating:
        found.extend(_turns(target, roles))
        return tuple(found), ()
    return tuple(found), tuple(_same_again(roles))


def _unknown(target: Target, roles: Roles, before: int) -> Iterator[Found]:
    for number, role in enumerate(roles, before + 1):
        if role in target.roles:
            continue
        name = "no role" if role is None else f"the role “{quoted(role, 30)}”"
        fix = f"one of {', '.join(target.roles)}"
        if (other := _INSTEAD.get(role or "")) in target.roles:
            fix = f"write it as {other} (ftwizard convert DATA --target {target.name} does)"
        yield Found(
            "unknown_role", f"message {number} has {name}, which {target.words} does not take", fix
        )
        return


def _system(roles: Roles) -> Iterator[Found]:
    late = [number for number, role in enumerate(roles, 1) if role in SYSTEM and number > 1]
    if late:
        count = sum(role in SYSTEM for role in roles)
        yield Found(
            "system_position",
            f"{plural(count, 'system message')}, one of them as message {late[0]}"
            if count > 1
            else f"the system message stands as message {late[0]}",
            "make it one, before all others: most chat templates refuse or move others",
        )


def _first(target: Target, spoken: Roles) -> Iterator[Found]:
    if not spoken:
        return
    if target.first and spoken[0] not in target.first:
        yield Found(
            "first_role",
            f"the first message after the system's is of the role “{quoted(str(spoken[0]), 30)}”; "
            f"{target.words} takes {' or '.join(target.first)} there",
            "begin with what the user says",
        )
    elif spoken[0] == "assistant":
        yield Found(
            "starts_with_assistant",
            "the conversation begins with the assistant",
            "begin with what the user says: some chat templates refuse or drop such a message",
        )


def _last(target: Target, kind: Kind, roles: Roles) -> Iterator[Found]:
    last = roles[-1] if roles else None
    if kind in ("chat", "labelled"):
        if "assistant" in roles and last != "assistant":
            yield Found(
                "last_not_assistant",
                f"the last message is the {quoted(str(last), 30)}'s: nothing is learnt from it",
                "add the answer, or take the message off the end",
            )
    elif kind == "preference":
        if last == "assistant":
            yield Found(
                "last_is_assistant",
                "the prompt ends with an assistant message; both answers come after it",
                "end the prompt with what the user says",
            )
    elif roles and last not in (target.last or ("system", "developer", "user", "tool")):
        yield Found(
            "last_not_user",
            f"the last message is the {quoted(str(last), 30)}'s; the model is to answer the user",
            "end with what the user says; what a grader compares with is a field of the row",
        )


def _length(target: Target, kind: Kind, spoken: Roles) -> Iterator[Found]:
    if kind == "chat" and len(spoken) < target.min_messages:
        yield Found(
            "too_few_messages",
            f"{plural(len(spoken), 'message')} besides the system's; {target.words} takes no fewer "
            f"than {target.min_messages}",
            "give the user's message and the answer",
        )


def _turns(target: Target, roles: Roles) -> Iterator[Found]:
    for one, other in _same_again(roles):
        yield Found(
            "alternation",
            f"messages {one + 1} and {other + 1} are both of the role “{roles[other]}”; "
            f"{target.words} wants user and assistant in turns",
            "join them into one, or add what is missing between them",
        )
        return


def _same_again(roles: Roles) -> Iterator[tuple[int, int]]:
    """Yield the indices of two messages, both the user's or both the assistant's, in a row.

    Results of tools stand between two messages of the assistant; system messages do not count.
    """
    before: tuple[str, int] | None = None
    for index, role in enumerate(roles):
        if role in RESULTS:
            before = None
        elif role in _TALKERS:
            if before is not None and before[0] == role:
                yield before[1], index
            before = (role, index)


def _doubled(messages: list[Message], doubled: tuple[tuple[int, int], ...]) -> Iterator[Found]:
    for first, second in doubled:
        one, other = messages[first], messages[second]
        # An assistant that speaks, then calls a tool, and a user's text beside a picture are each
        # written as two messages in good data.
        if _calls(one) or _calls(other) or _is_wordless(one) or _is_wordless(other):
            continue
        yield Found(
            "consecutive_roles",
            f"messages {first + 1} and {second + 1} are both of the role “{other.get('role')}”",
            "join them into one, or add what is missing between them",
        )
        return


def _calls(message: Message) -> bool:
    return bool(message.get("tool_calls") or message.get("function_call"))


def _is_wordless(message: Message) -> bool:
    """Tell whether a message is pictures or other media without a text."""
    content = message.get("content")
    if not isinstance(content, list) or not content:
        return False
    return all(isinstance(part, dict) and part.get("type") != "text" for part in content)
