"""A conversation with two models, each with its own answers."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ftwizard.data.row_addition import AddedConversation
from ftwizard.errors import USAGE, FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs.chat_protocol import (
    MAX_NEW_TOKENS,
    MAX_TEMPERATURE,
    AnswerRequest,
    DoneEvent,
    EndReason,
    ErrorEvent,
    Side,
    TextEvent,
)

SYSTEM_ROLES = ("system", "developer")
NEW_SAMPLE_TEMPERATURE = 0.7
"""Of an answer that is regenerated while decoding is greedy, which would only repeat it."""


class ChatRow(msgspec.Struct, frozen=True, kw_only=True):
    """An item of a run's evaluation, as far as chats and blind pairs need it."""

    id: str = ""
    set: str
    messages: list[dict[str, Any]]
    expected: list[str] = []
    tools: list[dict[str, Any]] | None = None
    line: int | None = None
    max_tokens: int | None = None
    """0: no answer to it is expected."""

    @property
    def question(self) -> str:
        """Return the text of the prompt's last message."""
        return str(self.messages[-1].get("content") or "").strip()

    @property
    def answer(self) -> str | None:
        return self.expected[0].strip() if self.expected else None


def read_rows(folder: JobFolder) -> list[ChatRow]:
    """Read the test rows of a run in the order of their file; empty if there are none, or they are
    unreadable."""
    try:
        lines = folder.items.read_bytes().splitlines()
        items = [msgspec.json.decode(line, type=ChatRow) for line in lines]
    except (OSError, ValueError):
        return []
    rows = [item for item in items if item.set == "target" and item.messages]
    return sorted((row for row in rows if row.max_tokens != 0), key=lambda row: row.line or 0)


@dataclass
class PartialAnswer:
    """One model's answer, as far as it has come."""

    temperature: float = 0.0
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
class ChatTurn:
    """A prompt, and the answers to it: several of each model if it was asked again."""

    prompt: str
    row: ChatRow | None = None
    """The test row that it is from."""
    system: str | None = None
    """System prompt of its newest answers."""
    samples: list[dict[Side, PartialAnswer]] = field(default_factory=list)
    """Oldest first."""
    shown: int = 0
    """Index of the sample that is shown, and that the conversation continues from."""
    requests: dict[int, PartialAnswer] = field(default_factory=dict)
    """Answers by the id of their request."""
    drafts: dict[Side, str] = field(default_factory=dict)
    """Answers edited for a data file."""
    added_to: str = ""
    """Name of the data file that it was added to."""

    @property
    def answers(self) -> dict[Side, PartialAnswer]:
        """The answers that are shown."""
        return self.samples[self.shown]

    @property
    def is_open(self) -> bool:
        return any(answer.is_open for answer in self.samples[-1].values())

    def take(self, event: TextEvent | DoneEvent | ErrorEvent) -> bool:
        """Take an event; return whether it belongs to this turn."""
        answer = self.requests.get(event.id)
        if answer is None:
            return False
        if isinstance(event, ErrorEvent):
            answer.error = f"{event.message} {event.hint}"
            return True
        answer.text = event.text
        if isinstance(event, DoneEvent):
            answer.reason, answer.seconds, answer.tokens = event.reason, event.seconds, event.tokens
        return True

    def stop(self, error: str = "") -> None:
        """End the answers that are awaited: they stay as they are, with the error that ended them."""
        for answer in self.samples[-1].values():
            if answer.is_open:
                answer.reason, answer.error = "stopped", error

    def show_next(self) -> None:
        """Show the next sample, or the oldest after the newest."""
        self.shown = (self.shown + 1) % len(self.samples)


class ChatSession:
    """The turns so far, and what the models get before them."""

    def __init__(self) -> None:
        self.turns: list[ChatTurn] = []
        self.system: str | None = None
        """System prompt, of the training data at first."""
        self.data_system: str | None = None
        """System prompt of the training data."""
        self.temperature = 0.0
        """0: greedy."""
        self._is_edited = False
        self._last_id = 0

    @property
    def is_open(self) -> bool:
        """Whether an answer is awaited."""
        return bool(self.turns) and self.turns[-1].is_open

    def take_data_system(self, system: str | None) -> None:
        """Use the system prompt of the training data, unless it was edited already."""
        self.data_system = system
        if not self._is_edited:
            self.system = system

    def set_system(self, system: str | None) -> None:
        """Set the system prompt from the next answer on; None or blank: without any."""
        self.system = system if system and system.strip() else None
        self._is_edited = self.system != self.data_system

    def add(self, prompt: str, sides: list[Side], row: ChatRow | None = None) -> ChatTurn:
        """Add a turn with open answers of ``sides``; a test row begins the conversation anew."""
        if row is not None:
            self.turns = []
        turn = ChatTurn(prompt, row, self.system)
        turn.samples.append({side: PartialAnswer(self.temperature) for side in sides})
        self.turns.append(turn)
        return turn

    def ask_again(self, sides: list[Side]) -> ChatTurn:
        """Add open answers of ``sides`` to the last turn; those so far are kept.

        While decoding is greedy, an answer that would only be repeated is sampled instead.
        """
        turn = self.turns[-1]
        repeats = turn.system == self.system and any(
            answer.text and not answer.error for answer in turn.samples[-1].values()
        )
        temperature = self.temperature or (NEW_SAMPLE_TEMPERATURE if repeats else 0.0)
        turn.system = self.system
        turn.samples.append({side: PartialAnswer(temperature) for side in sides})
        turn.shown = len(turn.samples) - 1
        return turn

    def build_requests(self, max_new_tokens: int = MAX_NEW_TOKENS) -> list[AnswerRequest]:
        """Return the requests for the open answers of the last turn."""
        turn, requests = self.turns[-1], []
        for side, answer in turn.samples[-1].items():
            self._last_id += 1
            turn.requests[self._last_id] = answer
            requests.append(
                AnswerRequest(
                    id=self._last_id, side=side, messages=self._build_messages(side, self.system),
                    tools=self._tools, max_new_tokens=max_new_tokens,
                    temperature=answer.temperature,
                )
            )  # fmt: skip
        return requests

    def build_row(self, side: Side, answer: str) -> AddedConversation:
        """Return the last turn with ``answer``, and what ``side`` saw before it, as a training row."""
        messages = [
            {**message, "weight": 0} if message["role"] == "assistant" else message
            for message in self._build_messages(side, self.turns[-1].system)
        ]
        return AddedConversation(
            messages=[*messages, {"role": "assistant", "content": answer}], tools=self._tools
        )

    @property
    def _tools(self) -> list[dict[str, Any]] | None:
        return self.turns[0].row.tools if self.turns[0].row else None

    def _build_messages(self, side: Side, system: str | None) -> list[dict[str, Any]]:
        """Return the conversation as ``side`` has seen it, up to the last prompt.

        ``system`` replaces the system prompt of a test row if it is not that of the training data.

        Turns that it did not answer are left out: chat templates want turns to alternate.
        """
        messages: list[dict[str, Any]] = []
        row = self.turns[0].row
        if row is not None:
            messages += row.messages[:-1]
        if row is None or system != self.data_system:
            messages = [message for message in messages if message["role"] not in SYSTEM_ROLES]
            if system:
                messages.insert(0, {"role": "system", "content": system})
        for turn in self.turns[:-1]:
            answer = turn.answers.get(side)
            if answer and answer.text:
                messages.append(_to_message(turn))
                messages.append({"role": "assistant", "content": answer.text})
        messages.append(_to_message(self.turns[-1]))
        return messages


def parse_temperature(text: str) -> float:
    """Return a temperature; raise FtwizardError unless it is from 0 to ``MAX_TEMPERATURE``."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= MAX_TEMPERATURE:
        raise FtwizardError(
            f"The temperature is a number from 0 (greedy) to {MAX_TEMPERATURE:g}.",
            f"For example {NEW_SAMPLE_TEMPERATURE}.",
            USAGE,
        )
    return value


def describe_temperature(temperature: float) -> str:
    return f"temperature {temperature:g}" if temperature else "greedy"


def _to_message(turn: ChatTurn) -> dict[str, Any]:
    if turn.row is not None:
        return turn.row.messages[-1]  # with its role, such as that of a tool's result
    return {"role": "user", "content": turn.prompt}
