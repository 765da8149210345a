"""A conversation with two models, each with its own answers."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from ftwizard.runs.chat_protocol import AnswerRequest, DoneEvent, EndReason, ErrorEvent, Side
from ftwizard.runs.chat_protocol import TextEvent as AnswerText
from ftwizard.runs.result import AnswerPair

SYSTEM_ROLES = ("system", "developer")


@dataclass
class Answer:
    """One model's answer, as far as it has come."""

    text: str = ""
    reason: EndReason | None = None
    """None until it ended."""
    seconds: float = 0.0
    tokens: int = 0
    error: str = ""
    asked: float = field(default_factory=time.monotonic)

    @property
    def is_open(self) -> bool:
        """Whether it is still awaited."""
        return self.reason is None and not self.error


@dataclass
class Turn:
    """A prompt, and the answers to it."""

    prompt: str
    row: AnswerPair | None = None
    """The test row that it is from."""
    answers: dict[Side, Answer] = field(default_factory=dict)
    requests: dict[int, Side] = field(default_factory=dict)
    """The side of each request by its id."""

    @property
    def is_open(self) -> bool:
        return any(answer.is_open for answer in self.answers.values())

    def take(self, event: AnswerText | DoneEvent | ErrorEvent) -> bool:
        """Take an event; return whether it belongs to this turn."""
        side = self.requests.get(event.id)
        if side is None:
            return False
        answer = self.answers[side]
        if isinstance(event, ErrorEvent):
            answer.error = f"{event.message} {event.hint}"
            return True
        answer.text = event.text
        if isinstance(event, DoneEvent):
            answer.reason, answer.seconds, answer.tokens = event.reason, event.seconds, event.tokens
        return True

    def stop_waiting(self) -> None:
        """Mark the answers that have not begun as stopped: their requests are dropped."""
        for answer in self.answers.values():
            if answer.is_open and not answer.text:
                answer.reason = "stopped"


class Conversation:
    """The turns so far, and what the models are told before them."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.system: str | None = None
        """System prompt of the training data."""
        self.uses_system = True
        self._last_id = 0

    def add(self, prompt: str, sides: list[Side], row: AnswerPair | None) -> Turn:
        """Add a turn with open answers of ``sides``; a test row begins the conversation anew."""
        if row is not None:
            self.turns = []
        turn = Turn(prompt, row, {side: Answer() for side in sides})
        self.turns.append(turn)
        return turn

    def build_requests(self) -> list[AnswerRequest]:
        """Return the requests for the open answers of the last turn."""
        turn, requests = self.turns[-1], []
        for side in turn.answers:
            self._last_id += 1
            turn.requests[self._last_id] = side
            tools = self.turns[0].row.tools if self.turns[0].row else None
            requests.append(
                AnswerRequest(
                    id=self._last_id, side=side, messages=self._build_messages(side), tools=tools
                )
            )
        return requests

    def _build_messages(self, side: Side) -> list[dict[str, Any]]:
        """Return the conversation as ``side`` has seen it, up to the last prompt.

        Turns that it did not answer are left out: chat templates want turns to alternate.
        """
        messages: list[dict[str, Any]] = []
        row = self.turns[0].row
        if row is not None:
            messages += row.prompt[:-1]
        elif self.system:
            messages.append({"role": "system", "content": self.system})
        if not self.uses_system:
            messages = [message for message in messages if message["role"] not in SYSTEM_ROLES]
        for turn in self.turns[:-1]:
            answer = turn.answers.get(side)
            if answer and answer.text:
                messages.append(_to_message(turn))
                messages.append({"role": "assistant", "content": answer.text})
        messages.append(_to_message(self.turns[-1]))
        return messages


def _to_message(turn: Turn) -> dict[str, Any]:
    if turn.row is not None:
        return turn.row.prompt[-1]  # with its role, such as that of a tool's result
    return {"role": "user", "content": turn.prompt}
