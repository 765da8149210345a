"""Which format a file's rows have, told apart by their keys, and what a row of each means."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from ftwizard.data import messages, pairs
from ftwizard.data.conversation import Conversation, Message, RowProblem
from ftwizard.data.format_names import Format
from ftwizard.text import visible

NAMES: dict[Format, str] = {
    "messages": "chat messages",
    "prompt-completion": "prompt and completion",
    "alpaca": "Alpaca (instruction, input, output)",
}
"""The formats that are read, in words."""

_READERS = {
    "messages": messages.conversation,
    "prompt-completion": pairs.prompt_completion,
    "alpaca": pairs.alpaca,
}
_SHOWN_KEYS = 12


def conversation(row: Any, format: Format = "messages") -> Conversation:
    """Turn a row of ``format`` into a conversation; raise RowProblem."""
    return _READERS[format](row)


def recognised(row: Any) -> str | None:
    """Return what a row looks like by its keys: a ``Format``, the name of one that is not read,
    or None.

    Rows with a verdict (chosen and rejected, a label) are no chat rows: what they reject would be
    learnt from.
    """
    if not isinstance(row, dict):
        return None
    has = row.keys().__contains__
    if has("input_ids"):
        return "tokens (input_ids)"
    if has("chosen") or has("rejected") or has("preferred_output"):
        return "preference pairs"
    if has("kto_tag") or (
        isinstance(row.get("label"), bool) and (has("messages") or has("prompt"))
    ):
        return "KTO (answers with a label)"
    if row.get("images") or row.get("videos") or row.get("audios"):
        return "rows with pictures or sound"
    if has("instruction") and isinstance(row.get("output"), list):
        return "preference pairs"
    return _by_text_keys(row)


def _by_text_keys(row: Message) -> str | None:
    for keys, name in (
        ({"messages"}, "messages"),
        ({"prompt", "completion"}, "prompt-completion"),
        ({"instruction", "context", "response"}, "Dolly"),
        ({"instruction"}, "alpaca"),
        ({"conversations"}, "ShareGPT"),
        ({"conversation"}, "ShareGPT"),
        ({"contents"}, "Vertex AI"),
        ({"prompt", "completions"}, "stepwise supervision"),
        ({"query", "response"}, "query and response"),
        ({"question", "answer"}, "question and answer"),
        ({"prompt"}, "prompts without answers"),
        ({"text"}, "plain text"),
    ):
        if keys <= row.keys():
            return name
    return None


def of_rows(rows: Iterable[Any]) -> str | None:
    """Return what most ``rows`` look like, by ``recognised``; the earlier of equals."""
    tally = Counter(name for name in map(recognised, rows) if name)
    return max(tally, key=tally.__getitem__, default=None)


def check(row: Any, format: Format, *, exactly: bool) -> None:
    """Raise RowProblem for a row that looks like another format than ``format``.

    Unless ``exactly``, a row with the keys of ``format`` may have others besides.
    """
    looks = recognised(row)
    if looks is None or looks == format:
        return
    if not exactly and _by_text_keys(row) == format:
        return
    words = next((words for name, words in NAMES.items() if name == looks), looks)
    raise RowProblem(
        "mixed_formats",
        f"it looks like {words}, not {NAMES[format]}",
        f"keep one format in a file; data.format reads one of {', '.join(NAMES)}",
    )


def keys_seen(rows: Iterable[Any]) -> str:
    """Name the keys of ``rows``, the most frequent first."""
    tally = Counter(str(key) for row in rows if isinstance(row, dict) for key in row)
    names = [visible(key, 30) for key, _ in tally.most_common(_SHOWN_KEYS)]
    return ", ".join(names) or "none"
