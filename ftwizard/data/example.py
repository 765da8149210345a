"""The one inner form: what a row means, whatever format it was written in, with nothing lost."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

Message = dict[str, Any]
"""``role`` and ``content``, where present ``tool_calls``, ``tool_call_id``, ``name``, ``weight``,
and whatever else the row's message had. ``role`` is one of ``ROLES``. ``content`` is text, None
(an answer that only calls tools) or a list of parts as OpenAI writes them: ``{"type": "text",
"text": …}``, ``{"type": "image_url", "image_url": {"url": …}}``; media that OpenAI has no part for
keep a ``type`` of their own (``image``, ``video``, ``audio``, …). The arguments of a tool call
stand as the row has them, an object or its JSON text."""

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
Kind = Literal["chat", "prompt", "preference", "labelled", "text", "tokens"]


class Example(msgspec.Struct, frozen=True, kw_only=True):
    """A row's meaning.

    ===========  ==================================================================
    kind         what is there
    ===========  ==================================================================
    chat         ``messages``, answers among them
    prompt       ``messages`` without the answer, which a grader judges later
    preference   ``messages`` as the prompt, ``chosen`` and ``rejected`` after them
    labelled     ``messages``, of which the last answers, and ``label``
    text         ``text``
    tokens       ``tokens``
    ===========  ==================================================================
    """

    kind: Kind
    messages: list[Message] = []
    """A system prompt that stood beside them is the first. Answers of the prompt of a
    prompt-completion row, which are not learnt from, have the weight 0."""
    chosen: list[Message] = []
    rejected: list[Message] = []
    label: bool | None = None
    """Whether the answer of a labelled row is wanted."""
    tools: list[dict[str, Any]] | None = None
    """Schemas of the tools that may be called, as OpenAI writes them."""
    text: str | None = None
    tokens: dict[str, Any] | None = None
    """``input_ids`` and where present ``labels``, ``attention_mask``, …: lists of one length."""
    extra: dict[str, Any] = {}
    """Fields of the row that its format does not know: an id, what a grader reads, …"""

    @property
    def turns(self) -> list[Message]:
        """Return every message: the prompt's, the chosen answer's, the rejected answer's."""
        return [*self.messages, *self.chosen, *self.rejected]


def text_of(message: Message) -> str:
    """Return the text of a message's content; its text parts joined, other parts left out."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    return "".join(part["text"] for part in content if isinstance(part.get("text"), str))
