"""Field names that identify the layout of a file."""

from __future__ import annotations

FIELDS = frozenset((
    "messages", "conversations", "conversation", "prompt", "prompts", "completion", "completions",
    "instruction", "instructions", "input", "inputs", "output", "outputs", "system", "context",
    "question", "questions", "answer", "answers", "query", "response", "responses", "text",
    "chosen", "rejected", "label", "tools", "history", "contents", "user", "assistant", "human",
    "gpt", "input_ids", "labels",
))  # fmt: skip
"""Fields of rows in the known formats. Rows in other formats are rows too."""
LISTS = frozenset((
    "data", "rows", "train", "training", "examples", "records", "items", "samples", "instances",
    "dataset", "entries",
))  # fmt: skip
"""Keys under which an object may hold all rows of a file."""
