"""License, access and chat template of open models, as their cards on the Hub state them."""

from __future__ import annotations

import functools
from typing import Literal

import msgspec

from ftwizard.catalog.sourced import Sourced, load_asset

Training = Literal["base", "instruct", "reasoning"]
"""What a model was trained for: text alone, answers, or answers after thinking."""
FREE_LICENSES = frozenset(("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "unlicense"))
"""Licenses that restrict neither use nor users; others are worth reading before a release."""


class ModelCard(Sourced, frozen=True, kw_only=True):
    """The facts of one or more model cards; None where a card is silent or was not read."""

    ids: tuple[str, ...]
    license: str | None = None
    """The card's own identifier: ``apache-2.0``, ``llama3.1``."""
    gated: bool | None = None
    """Whether the Hub serves the files only after its terms were accepted."""
    chat_template: bool | None = None
    training: Training | None = None
    suggested: bool = False
    """Whether it suits a first run."""


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    cards: tuple[ModelCard, ...]
    sources: dict[str, str]


def find_card(name: str) -> ModelCard | None:
    """Look up the card of a Hub id, ignoring case; None if it is not in the catalog."""
    return _by_id().get(name.strip().lower())


def is_free(license: str | None) -> bool:
    """Return whether a license is known to restrict neither use nor users."""
    return license is not None and license.lower() in FREE_LICENSES


@functools.cache
def _by_id() -> dict[str, ModelCard]:
    cards = load_asset("model_cards.toml", _Table).cards
    return {name.lower(): card for card in cards for name in card.ids}
