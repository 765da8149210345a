"""The shape of a chat template: the fixed texts around messages, found by rendering it.

Most templates write fixed texts before, between and after the messages, whatever these say. Such a
template can be written in another language, and the two can be compared by what they render.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Messages = list[dict[str, str]]
Render = Callable[[Messages], str]
"""Renders messages as the prompt of the next answer."""
_SYSTEM, _USER, _ANSWER = "Qz{}systemzQ", "Qz{}userzQ", "Qz{}answerzQ"


class ChatShape(NamedTuple):
    """Fixed texts of prompts."""

    head: str
    """Before the first user message, without a system message."""
    system_head: str | None
    """Before the system message; None for a template that refuses one."""
    system_tail: str
    """Between the system message and the first user message."""
    user_tail: str
    """After a user message, up to its answer: the end of each prompt."""
    answer_tail: str
    """Between an answer and the next user message."""

    def render(self, messages: Messages) -> str:
        """Render messages that end with one of the user."""
        text = self.head
        if messages[0]["role"] == "system" and self.system_head is not None:
            text = self.system_head + messages[0]["content"] + self.system_tail
        for message in messages:
            if message["role"] == "user":
                text += message["content"] + self.user_tail
            elif message["role"] == "assistant":
                text += message["content"] + self.answer_tail
        return text


class ShapeError(ValueError):
    """Raised for a template that has no such shape; its text continues “The template …”."""


def make_renderer(tokenizer: Any, *, prompt: bool = True) -> Render:
    """Return what renders messages with a tokenizer's template; ``prompt``: for the next answer."""

    def render(messages: Messages) -> str:
        return str(
            tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompt)
        )

    return render


def make_conversation(turns: int, system: str | None, number: int = 1) -> Messages:
    """Return a conversation of ``turns`` user messages, whose texts are unlike any template's."""
    messages = [{"role": "system", "content": system}] if system else []
    for turn in range(number, number + turns):
        messages.append({"role": "user", "content": _USER.format(turn)})
        if turn < number + turns - 1:
            messages.append({"role": "assistant", "content": _ANSWER.format(turn)})
    return messages


def find_shape(render: Render) -> ChatShape:
    """Return the shape of a template, if what it renders in ``TESTS`` is what the shape renders.

    Raises ShapeError otherwise.
    """
    system = _SYSTEM.format(1)
    single = _render(render, make_conversation(1, None), "a single question")
    several = _render(render, make_conversation(2, None), "several turns")
    head, user_tail = _split(single, _USER.format(1))
    _, rest = _split(several, _ANSWER.format(1))
    answer_tail, _ = _split(rest, _USER.format(2))
    system_head, system_tail = None, ""
    if accepts_system(render):
        with_system = _render(render, make_conversation(1, system), "a system prompt")
        system_head, rest = _split(with_system, system)
        system_tail, _ = _split(rest, _USER.format(1))
    shape = ChatShape(head, system_head, system_tail, user_tail, answer_tail)
    for name, messages in list_tests(has_system=system_head is not None):
        if _render(render, messages, name) != shape.render(messages):
            raise ShapeError(f"renders {name} otherwise than by fixed texts around the messages")
    return shape


def accepts_system(render: Render) -> bool:
    """Return whether a template renders a system message; some raise an error of their own."""
    try:
        render(make_conversation(1, _SYSTEM.format(1)))
    except Exception:  # noqa: BLE001 (the template's own errors, of any kind)
        return False
    return True


def list_tests(*, has_system: bool = True) -> list[tuple[str, Messages]]:
    """Return the conversations by which a shape is proved, with their names."""
    hard = "Two lines:\n\n- “naïve”, 日本語 🦙 {{ braces }} {% tags %} <b>&amp;</b> \\n 'quotes' \"double\""
    tests = [
        ("a single question", make_conversation(1, None, 7)),
        ("several turns", make_conversation(4, None, 3)),
    ]
    if has_system:
        tests += [
            ("a system prompt", make_conversation(1, _SYSTEM.format(8), 8)),
            ("a system prompt and several turns", make_conversation(3, _SYSTEM.format(9), 5)),
        ]
    rewritten = [
        (f"{name}, with special characters",
         [{**message, "content": f"{message['content']} {hard}."} for message in messages])
        for name, messages in tests
    ]  # fmt: skip
    return tests + rewritten


def trims(render: Render) -> bool:
    """Return whether a template removes white space around what a user writes."""
    content = _USER.format(1)
    text = _render(render, [{"role": "user", "content": f"  {content} \n"}], "a single question")
    return f"  {content} \n" not in text


def lacks_generation_prompt(render: Render, render_all: Render) -> bool:
    """Return whether prompts end before a fixed text that precedes answers in training.

    ``render_all`` renders without asking for the prompt of an answer, which then changes nothing.
    """
    messages = make_conversation(1, None)
    answer = {"role": "assistant", "content": _ANSWER.format(1)}
    try:
        prompt, whole = render(messages), render_all([*messages, answer])
        if prompt != render_all(messages):
            return False
    except Exception:  # noqa: BLE001 (the template's own errors, of any kind)
        return False
    before, separator, _ = whole.partition(_ANSWER.format(1))
    return bool(separator) and before.startswith(prompt) and before[len(prompt) :].strip() != ""


def _render(render: Render, messages: Messages, name: str) -> str:
    try:
        return render(messages)
    except Exception as error:
        raise ShapeError(f"does not render {name}") from error


def _split(text: str, sentinel: str) -> tuple[str, str]:
    before, separator, after = text.partition(sentinel)
    if not separator or sentinel in after:
        raise ShapeError("does not write each message once, as it is")
    return before, after
