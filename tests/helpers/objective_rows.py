"""Files of rows for each training objective."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROWS: dict[str, Callable[[int], dict[str, Any]]] = {
    "chat": lambda n: {"prompt": f"What is {n} + 2?", "completion": f"{n + 2}"},
    "pairs": lambda n: {"prompt": f"Say {n}", "chosen": f"It is {n}.", "rejected": f"No {n}, {n}."},
    "equal": lambda n: {"prompt": f"Say {n}", "chosen": f"It is {n}.", "rejected": f"It is {n}."},
    "labels": lambda n: {"prompt": f"Say {n}", "completion": f"It is {n}.", "label": n % 2 == 0},
    "prompts": lambda n: {"prompt": f"What is {n} + 2?", "answer": f"{n + 2}"},
    "bare": lambda n: {"prompt": f"What is {n} + 2?"},
}
"""A row of each kind, by its number."""


def write_rows(folder: Path, kind: str, count: int = 24) -> Path:
    """Write a file of rows of a kind; return it."""
    file = folder / f"{kind}.jsonl"
    file.write_text("".join(json.dumps(ROWS[kind](n)) + "\n" for n in range(count)))
    return file
