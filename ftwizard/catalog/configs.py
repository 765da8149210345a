"""Configurations of open models by their Hub id: what stands in until a model is on this machine."""

from __future__ import annotations

import copy
import difflib
import functools
from typing import Any

import msgspec

from ftwizard.catalog.prices import Confidence
from ftwizard.catalog.sourced import Sourced, asset


class Config(Sourced, frozen=True, kw_only=True):
    """What of one model's config.json decides its size, memory and time."""

    name: str
    """As a person calls it: ``Llama 3.1 8B``."""
    ids: tuple[str, ...]
    """On the Hugging Face Hub, the model's own first; all have this very configuration."""
    parameters: int
    """As published, those of a part for images included; a shared matrix counts once."""
    active: float | None = None
    """Billions that a token passes through, as published; None: all."""
    config: dict[str, Any]
    """By transformers' names."""
    confidence: Confidence


class _Other(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ids whose configuration differs in one number."""

    ids: tuple[str, ...]
    max_position_embeddings: int


class _Entry(Config, frozen=True, kw_only=True):
    others: tuple[_Other, ...] = ()


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    models: tuple[_Entry, ...]
    sources: dict[str, str]


def configs() -> tuple[Config, ...]:
    """Return every configuration that is known, one for each context length."""
    return copy.deepcopy(tuple({id(one): one for one in _by_id().values()}.values()))


def known(name: str) -> Config | None:
    """Return the configuration of a Hub id, in whatever case; None where it is not known.

    What is returned is the caller's own: a change to it changes nothing here.
    """
    found = _by_id().get(name.strip().lower())
    return copy.deepcopy(found) if found is not None else None


def nearest(name: str, count: int = 3) -> list[str]:
    """Return the known Hub ids that are most like this one, the likeliest first: those of the same
    owner, else any that are alike."""
    ids = {one.lower(): one for config in _by_id().values() for one in config.ids}
    wanted = name.strip().lower()
    owner, slash, _ = wanted.partition("/")
    own = [one for one in ids if slash and one.startswith(f"{owner}/")]
    near = difflib.get_close_matches(wanted, own or ids, count, 0.0 if own else 0.6)
    return [ids[one] for one in near]


@functools.cache
def _by_id() -> dict[str, Config]:
    found: dict[str, Config] = {}
    for entry in asset("configs.toml", _Table).models:
        for one in (_own(entry), *(_other(entry, other) for other in entry.others)):
            found |= {name.lower(): one for name in one.ids}
    return found


def _own(entry: _Entry) -> Config:
    return Config(
        name=entry.name, ids=entry.ids, parameters=entry.parameters, active=entry.active,
        config=entry.config, confidence=entry.confidence, as_of=entry.as_of, source=entry.source,
    )  # fmt: skip


def _other(entry: _Entry, other: _Other) -> Config:
    """Return the entry with another context length, where the text model says it."""
    config = copy.deepcopy(entry.config)
    text = config.get("text_config", config)
    text["max_position_embeddings"] = other.max_position_embeddings
    return msgspec.structs.replace(_own(entry), ids=other.ids, config=config)
