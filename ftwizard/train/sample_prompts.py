"""Fixed sample prompts of a run, chosen once and saved for later attempts."""

from __future__ import annotations

from pathlib import Path

import msgspec

from ftwizard import user_paths
from ftwizard.data import reader
from ftwizard.data.conversation import Conversation
from ftwizard.data.example import Message
from ftwizard.data.reader import ParsedRow
from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import write_json
from ftwizard.jobs.worker import Worker
from ftwizard.plan.checks import MAX_SAMPLES
from ftwizard.plan.schema import Plan
from ftwizard.text import make_visible
from ftwizard.train.encoder import EncodedRow, Encoder, EncodingError

MAX_SHOWN = 2000
"""Characters of a prompt and of an expected answer in the events."""
MAX_PROMPT_BYTES = 1_000_000
"""Size of a file of sample prompts."""


class SamplePrompt(msgspec.Struct, frozen=True, kw_only=True):
    """A prompt that the model answers at each evaluation."""

    ids: list[int]
    """The tokens of the prompt."""
    prompt: str
    """The text shown, only its end if it is long."""
    expected: str | None
    """The beginning of the row's answer; None for the user's own prompt."""
    line: int | None = None
    """Line of the validation row; None for the user's own prompt."""


class _SavedPrompts(msgspec.Struct, frozen=True, rename={"prompts": "asked"}):
    """``eval/samples.json``."""

    prompts: list[SamplePrompt]


def choose(
    worker: Worker, plan: Plan, encoder: Encoder, rows: list[ParsedRow], encoded: list[EncodedRow]
) -> list[SamplePrompt]:
    """Return the prompts of a run; later attempts reuse those of the first.

    ``rows`` are the validation rows and ``encoded`` those that are used. The user's own prompts are
    skipped, with a finding, if they exceed max_length. Raises FtwizardError if a prompt file cannot
    be read.
    """
    samples, max_length = plan.samples, plan.recipe.max_length
    path = worker.folder.evaluations / "samples.json"
    try:
        return msgspec.json.decode(path.read_bytes(), type=_SavedPrompts).prompts
    except (FileNotFoundError, msgspec.DecodeError):
        pass
    if not samples.count:
        return []
    if samples.prompts is None:
        chosen = _choose_rows(rows, encoded, samples.count)
        conversations: list[tuple[Conversation, int | None]] = [
            (row.conversation, row.line) for row in chosen
        ]
    else:
        conversations = [(own, None) for own in _read_prompts(samples.prompts)]
    prompts = []
    for number, (conversation, line) in enumerate(conversations, 1):
        prompt = _encode(encoder, conversation, line)
        if prompt is not None and len(prompt.ids) <= max_length:
            prompts.append(prompt)
        elif samples.prompts is not None:
            worker.events.write_finding(
                "sample_left_out",
                f"Prompt {number} of samples.prompts is skipped: it exceeds recipe.max_length "
                f"({max_length:,} tokens), or the chat template cannot encode it.",
            )
    worker.folder.evaluations.mkdir(mode=0o700, exist_ok=True)
    write_json(path, _SavedPrompts(prompts))
    return prompts


def _choose_rows(rows: list[ParsedRow], encoded: list[EncodedRow], count: int) -> list[ParsedRow]:
    """Return ``count`` rows with a text to compare with, spread evenly over the lengths."""
    lengths = {row.line: len(row.input_ids) for row in encoded}
    usable = [row for row in rows if row.line in lengths and row.conversation.answer.strip()]
    usable.sort(key=lambda row: (lengths[row.line], row.line))
    count = min(count, len(usable))
    return [usable[(2 * i + 1) * len(usable) // (2 * count)] for i in range(count)]


def _read_prompts(prompts: tuple[str, ...] | str) -> list[Conversation]:
    if isinstance(prompts, tuple):
        return [Conversation(messages=_user_message(text)) for text in prompts]
    path = Path(prompts)
    if path.suffix.lower() != ".txt":
        rows = reader.get_usable_rows(reader.read_table(path), skip_bad=False)
        return [row.conversation for row in rows if row.conversation.messages][:MAX_SAMPLES]
    try:
        lines = user_paths.read_bytes(path, MAX_PROMPT_BYTES).decode("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise FtwizardError(
            f"samples.prompts: {make_visible(str(path))} could not be read: {reason}.",
            "Use a text file with one prompt per line, or remove samples.prompts.",
        ) from None
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise FtwizardError(
            f"samples.prompts: {make_visible(str(path))} contains no prompts.",
            "Write one per line.",
        )
    return [Conversation(messages=_user_message(text)) for text in texts[:MAX_SAMPLES]]


def _user_message(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


def _encode(encoder: Encoder, conversation: Conversation, line: int | None) -> SamplePrompt | None:
    """Return the tokenized prompt; None if the chat template cannot encode it alone."""
    has_answer = any(message["role"] == "assistant" for message in conversation.messages)
    messages = conversation.prompt if has_answer else conversation.messages
    try:
        ids = encoder.prompt_ids(messages, conversation.tools)
    except EncodingError:
        return None
    lines = [f"{message['role']}: {message['content']}" for message in messages]
    text = str(messages[0]["content"]) if len(messages) == 1 else "\n".join(lines)
    return SamplePrompt(
        ids=ids,
        prompt=text[-MAX_SHOWN:],
        expected=conversation.answer[:MAX_SHOWN] if has_answer else None,
        line=line,
    )
