"""Configurations of open models by Hub id, used until a model is downloaded."""

from __future__ import annotations

import copy
import difflib
import functools
from typing import Any

import msgspec

from ftwizard.catalog.prices import Confidence
from ftwizard.catalog.sourced import Sourced, load_asset


class Variant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ids whose configuration differs only in context length."""

    ids: tuple[str, ...]
    max_position_embeddings: int


class ModelConfig(Sourced, frozen=True, kw_only=True):
    """The keys of one model's config.json that determine size, memory and time."""

    name: str
    """Display name: ``Llama 3.1 8B``."""
    ids: tuple[str, ...]
    """Hub ids with exactly this configuration, the original first."""
    parameters: int
    """As published, including a vision tower; a shared matrix counts once."""
    active: float | None = None
    """Active parameters in billions, as published; None if all are active."""
    config: dict[str, Any]
    """Keys named as in transformers."""
    confidence: Confidence
    others: tuple[Variant, ...] = ()


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    models: tuple[ModelConfig, ...]
    sources: dict[str, str]


def configs() -> tuple[ModelConfig, ...]:
    """Return every configuration, one for each context length."""
    return copy.deepcopy(tuple({id(config): config for config in _by_id().values()}.values()))


def find_config(name: str) -> ModelConfig | None:
    """Look up the configuration of a Hub id, ignoring case; None if it is not in the catalog.

    The result is a copy that the caller may change.
    """
    config = _by_id().get(name.strip().lower())
    return copy.deepcopy(config) if config is not None else None


def find_equal(name: str, *, without: str) -> str | None:
    """Return the first Hub id whose configuration is that of ``name`` but for the key ``without``.

    None if there is none, or if ``name`` is not in the catalog.
    """
    entry = _by_id().get(name.strip().lower())
    if entry is None:
        return None
    same = {key: value for key, value in entry.config.items() if key != without}
    return next((other.ids[0] for other in _by_id().values() if other.config == same), None)


def nearest_ids(name: str, count: int = 3) -> list[str]:
    """Return the Hub ids nearest to ``name``, best first: of the same owner, else of any owner."""
    ids = {hub_id.lower(): hub_id for config in _by_id().values() for hub_id in config.ids}
    wanted = name.strip().lower()
    owner, slash, _ = wanted.partition("/")
    own = [hub_id for hub_id in ids if slash and hub_id.startswith(f"{owner}/")]
    near = difflib.get_close_matches(wanted, own or ids, count, 0.0 if own else 0.6)
    return [ids[hub_id] for hub_id in near]


@functools.cache
def _by_id() -> dict[str, ModelConfig]:
    by_id: dict[str, ModelConfig] = {}
    for entry in load_asset("model_configs.toml", _Table).models:
        for config in (entry, *(_vary(entry, variant) for variant in entry.others)):
            by_id |= {name.lower(): config for name in config.ids}
    return by_id


def _vary(entry: ModelConfig, variant: Variant) -> ModelConfig:
    """Return the entry with another context length, set in the text model's part."""
    config = copy.deepcopy(entry.config)
    text = config.get("text_config", config)
    text["max_position_embeddings"] = variant.max_position_embeddings
    return msgspec.structs.replace(entry, ids=variant.ids, config=config)
