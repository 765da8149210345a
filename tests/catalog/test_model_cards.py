"""Model cards: every fact has a date and a source, and belongs to a model of the catalog."""

from __future__ import annotations

from ftwizard.catalog import model_cards, model_configs
from ftwizard.catalog.model_cards import find_card, is_free
from ftwizard.catalog.sourced import load_asset

IDS = [name for config in model_configs.configs() for name in config.ids]
CARDS = load_asset("model_cards.toml", model_cards._Table).cards


def test_every_card_is_of_a_model_in_the_catalog_once() -> None:
    named = [name for card in CARDS for name in card.ids]
    assert len(named) == len(set(named))
    assert set(named) <= set(IDS)


def test_every_original_model_has_a_card() -> None:
    assert not [name for name in IDS if not name.startswith("unsloth/") and not find_card(name)]


def test_cards_are_dated_sourced_and_have_the_form_of_the_hub() -> None:
    for card in CARDS:
        assert card.as_of >= "2026-04" and len(card.source) > 20
        assert card.license is None or card.license == card.license.lower()


def test_a_card_that_was_not_read_states_no_license_and_no_access() -> None:
    unread = [card for card in CARDS if "no card was read" in card.source]
    assert unread and all(card.license is None and card.gated is None for card in unread)
    assert all(card.license for card in CARDS if card not in unread)


def test_base_models_claim_no_template_that_nobody_checked() -> None:
    assert all(card.chat_template is None for card in CARDS if card.training == "base")


def test_card_is_looked_up_ignoring_case_and_copies_have_none() -> None:
    card = find_card(" qwen/QWEN3-0.6b ")
    assert card is not None and card.chat_template and card.gated is False
    assert find_card("unsloth/Llama-3.2-1B-Instruct") is None


def test_only_licenses_without_conditions_are_free() -> None:
    assert is_free("apache-2.0") and is_free("MIT")
    assert not any(map(is_free, (None, "llama3.1", "gemma", "other", "cc-by-nc-4.0")))
