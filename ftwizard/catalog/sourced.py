"""Base class and loader for packaged data with a date and a source."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib.resources import files
from typing import TypeVar

import msgspec

_T = TypeVar("_T")


class Sourced(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fact that was read or measured once."""

    as_of: str
    """Date at which it held: ``2026-04`` or ``2026-04-30``."""
    source: str
    """Where to look it up."""


def load_asset(name: str, kind: type[_T], *, parse_float: Callable[[str], object] = float) -> _T:
    """Read a packaged TOML file into ``kind``, expanding each ``source`` key from ``[sources]``.

    ``parse_float`` converts decimal numbers (Decimal for money). Raises msgspec.ValidationError or
    KeyError for an invalid file, which a test guards.
    """
    text = files("ftwizard").joinpath("assets", name).read_text("utf-8")
    data = tomllib.loads(text, parse_float=parse_float)
    return msgspec.convert(_spelled_out(data, data["sources"]), kind)


def _spelled_out(value: object, sources: dict[str, str]) -> object:
    if isinstance(value, list):
        return [_spelled_out(item, sources) for item in value]
    if isinstance(value, dict):
        return {
            key: sources[item] if key == "source" else _spelled_out(item, sources)
            for key, item in value.items()
        }
    return value
