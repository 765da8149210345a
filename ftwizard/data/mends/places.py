"""Where the texts of a row stand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ftwizard.data.mends.change import shown

Path = tuple[str | int, ...]
"""Keys and places in lists, from the row down."""


def where(path: Path) -> str:
    """Return a place in a row as a person writes it: ``messages[1].content``."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{shown(step)}" for step in path)
    return "".join(steps).removeprefix(".")


def in_texts(row: Any) -> Iterator[tuple[Any, Any, Path]]:
    """Yield container, key and path of every text of a row but keys; no depth is too much."""
    waiting: list[tuple[Any, Path]] = [(row, ())]
    while waiting:
        container, path = waiting.pop()
        pairs = container.items() if isinstance(container, dict) else enumerate(container)
        for key, value in list(pairs):
            if isinstance(value, str):
                yield container, key, (*path, key)
            elif isinstance(value, dict | list):
                waiting.append((value, (*path, key)))
