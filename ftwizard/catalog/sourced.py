"""What was read or measured somewhere, once: with its date and its source."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from importlib.resources import files
from typing import TypeVar

import msgspec

_T = TypeVar("_T")


class Sourced(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that was read or measured somewhere, once."""

    as_of: str
    """When it held: a year and month, ``2026-04``."""
    source: str
    """Where it stands, as a person can look it up."""


def asset(name: str, kind: type[_T], *, parse_float: Callable[[str], object] = float) -> _T:
    """Read a packaged TOML file into ``kind``; each ``source`` key becomes the words it names.

    ``[sources]`` in the file says what each key stands for; ``parse_float`` makes numbers with a
    point (Decimal for money). Raises msgspec.ValidationError or KeyError when the file is not what
    it should be, which a test guards.
    """
    text = files("ftwizard").joinpath("assets", name).read_text("utf-8")
    data = tomllib.loads(text, parse_float=parse_float)
    return msgspec.convert(_spelled_out(data, data["sources"]), kind)


def _spelled_out(value: object, sources: dict[str, str]) -> object:
    if isinstance(value, list):
        return [_spelled_out(one, sources) for one in value]
    if isinstance(value, dict):
        return {
            key: sources[one] if key == "source" else _spelled_out(one, sources)
            for key, one in value.items()
        }
    return value
