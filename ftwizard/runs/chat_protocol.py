"""Messages between ``ftwizard chat RUN --json`` and the program that runs it, one JSON line each."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

Side = Literal["tuned", "base"]
MAX_NEW_TOKENS = 400
"""Tokens of an answer by default."""
MAX_TEMPERATURE = 2.0
Temperature = Annotated[float, msgspec.Meta(ge=0, le=MAX_TEMPERATURE)]
EndReason = Literal["end", "limit", "stopped"]
"""The model ended its answer; it reached the limit of tokens; it was stopped."""


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """A message; ``kind`` names it."""


class AnswerRequest(_Message, frozen=True, tag="answer"):
    """Asks for one answer; requests are answered in order."""

    id: int
    side: Side
    messages: list[dict[str, Any]]
    """The conversation so far, in the form that chat templates take."""
    tools: list[dict[str, Any]] | None = None
    max_new_tokens: int = MAX_NEW_TOKENS
    temperature: Temperature = 0.0
    """0: greedy. Above, each request gets another sample."""


class StopRequest(_Message, frozen=True, tag="stop"):
    """Stops the answer in progress, and drops the requests before this one."""


Request = AnswerRequest | StopRequest


class LoadingEvent(_Message, frozen=True, tag="loading"):
    part: str
    """What is being loaded."""


class ReadyEvent(_Message, frozen=True, tag="ready"):
    """The models are loaded."""

    run: str
    base_name: str
    step: int
    """Step of the tuned weights; 0 if unknown."""
    device: str
    """Name of the GPU, ``CPU``, or the platform that the model is at."""
    has_base: bool
    has_template: bool
    """Whether there is a chat template; without, only the last message is used."""
    system: str | None
    """System prompt of the training data."""
    busy: list[str] = []
    """Runs that are training on this machine."""
    notes: list[str] = []
    """What is not as asked for, and why: a sentence each."""


class TextEvent(_Message, frozen=True, tag="text"):
    """The answer so far."""

    id: int
    text: str


class DoneEvent(_Message, frozen=True, tag="done"):
    """The whole answer."""

    id: int
    text: str
    reason: EndReason
    tokens: int
    seconds: float


class ErrorEvent(_Message, frozen=True, tag="error"):
    """A request that could not be answered; the next one can be."""

    id: int
    message: str
    hint: str


Event = LoadingEvent | ReadyEvent | TextEvent | DoneEvent | ErrorEvent


class ChatAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One model's answer in the document of ``ftwizard chat RUN --prompt TEXT --json``."""

    text: str
    reason: EndReason
    tokens: int
    seconds: float


class ChatReport(msgspec.Struct, frozen=True, kw_only=True):
    """The document of ``ftwizard chat RUN --prompt TEXT --json``."""

    run: str
    prompt: str
    system: str | None
    tuned: ChatAnswer
    base: ChatAnswer | None = None
