"""The fixed prompts of a run: chosen once, and kept in its folder for the attempts that follow."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ftwizard.data import read
from ftwizard.data.conversation import Conversation
from ftwizard.data.example import Message
from ftwizard.data.read import Row
from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import write_json
from ftwizard.jobs.worker import Worker
from ftwizard.plan import Plan
from ftwizard.plan_rules import MOST_SAMPLES
from ftwizard.text import visible
from ftwizard.train.tokenise import Encoded, Encoder, MaskError

SHOWN = 2000
"""Characters of a prompt and of an expected answer that the events hold."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """One prompt."""

    ids: list[int]
    """After which the model answers."""
    prompt: str
    """As people read it, its end where it is long."""
    expected: str | None
    """The row's own answer, its start; None for a prompt of the user's own."""


class _Kept(msgspec.Struct, frozen=True):
    """``eval/samples.json``."""

    asked: list[Asked]


def choose(
    worker: Worker, plan: Plan, encoder: Encoder, rows: list[Row], encoded: list[Encoded]
) -> list[Asked]:
    """Return the prompts of a run, none where there are none to ask.

    ``rows`` are those that validate and ``encoded`` what is left of them. Prompts of the user's own
    that are longer than the longest row are left out, and said. Raises FtwizardError for a
    file of prompts that cannot be read, once: later attempts ask what the first did.
    """
    samples, max_length = plan.samples, plan.recipe.max_length
    path = worker.folder.evaluations / "samples.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept).asked
    except (FileNotFoundError, msgspec.DecodeError):
        pass
    if not samples.count:
        return []
    if samples.prompts is None:
        given = _spread(rows, encoded, samples.count)
    else:
        given = _own(samples.prompts)
    found = []
    for number, one in enumerate(given, 1):
        asked = _asked(encoder, one)
        if asked is not None and len(asked.ids) <= max_length:
            found.append(asked)
        elif samples.prompts is not None:
            _say_left_out(worker, number, max_length)
    worker.folder.evaluations.mkdir(mode=0o700, exist_ok=True)
    write_json(path, _Kept(found))
    return found


def _spread(rows: list[Row], encoded: list[Encoded], count: int) -> list[Conversation]:
    """Return ``count`` of the rows that have a text to compare with, from the middle of as many
    equal parts of them, shortest first; equals by their lines."""
    lengths = {row.line: len(row.input_ids) for row in encoded}
    able = [row for row in rows if row.line in lengths and row.conversation.answer.strip()]
    able.sort(key=lambda row: (lengths[row.line], row.line))
    count = min(count, len(able))
    return [able[(2 * n + 1) * len(able) // (2 * count)].conversation for n in range(count)]


def _own(prompts: tuple[str, ...] | str) -> list[Conversation]:
    if isinstance(prompts, tuple):
        return [Conversation(messages=_user(text)) for text in prompts]
    path = Path(prompts)
    if path.suffix.lower() != ".txt":
        rows = read.usable(read.read(path), skip_bad=False)
        return [one.conversation for one in rows if one.conversation.messages][:MOST_SAMPLES]
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise FtwizardError(
            f"samples.prompts: {visible(str(path))} cannot be read: {why}.",
            "Name a text file with a prompt on each line, or leave samples.prompts out.",
        ) from None
    found = [Conversation(messages=_user(line.strip())) for line in lines if line.strip()]
    if not found:
        raise FtwizardError(
            f"samples.prompts: {visible(str(path))} holds no prompt.", "Write one on each line."
        )
    return found[:MOST_SAMPLES]


def _user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def _asked(encoder: Encoder, one: Conversation) -> Asked | None:
    """Return a prompt as tokens; None if the chat template cannot carry it alone."""
    answers = any(message["role"] == "assistant" for message in one.messages)
    prompt = one.prompt if answers else one.messages
    try:
        ids = encoder.prompt_ids(prompt, one.tools)
    except MaskError:
        return None
    return Asked(
        ids=ids, prompt=_shown(prompt)[-SHOWN:], expected=one.answer[:SHOWN] if answers else None
    )


def _shown(messages: list[Message]) -> str:
    if len(messages) == 1:
        return str(messages[0]["content"])
    return "\n".join(f"{message['role']}: {message['content']}" for message in messages)


def _say_left_out(worker: Worker, number: int, max_length: int) -> None:
    worker.events.write(
        "finding",
        code="sample_left_out",
        severity="info",
        message=f"Prompt {number} of samples.prompts is not asked: it is longer than "
        f"recipe.max_length ({max_length:,} tokens), or the chat template cannot carry it.",
    )
