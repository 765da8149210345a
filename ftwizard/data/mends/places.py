"""Paths of the texts within a row."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ftwizard.data.mends.change import shorten

Path = tuple[str | int, ...]
"""Keys and list indexes, from the row down."""


def format_path(path: Path) -> str:
    """Return a path within a row in the usual notation: ``messages[1].content``."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{shorten(step)}" for step in path)
    return "".join(steps).removeprefix(".")


def iterate_texts(row: Any) -> Iterator[tuple[Any, Any, Path]]:
    """Yield container, key and path of every text value of a row, at any depth."""
    waiting: list[tuple[Any, Path]] = [(row, ())]
    while waiting:
        container, path = waiting.pop()
        pairs = container.items() if isinstance(container, dict) else enumerate(container)
        for key, value in list(pairs):
            if isinstance(value, str):
                yield container, key, (*path, key)
            elif isinstance(value, dict | list):
                waiting.append((value, (*path, key)))
