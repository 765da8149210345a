"""Each place bills by its own rule."""

from __future__ import annotations

import pytest

from ftwizard.data.platforms import target, targets
from ftwizard.data.tokens.billing import billed
from ftwizard.data.tokens.stats import Estimate

TRAIN = Estimate(value=1000, low=900, high=1200)
VALID = Estimate(value=100, low=100, high=110)


@pytest.mark.parametrize("name", ["openai-sft", "foundry-dpo", "bedrock-nova", "vertex-gemini"])
def test_tokens_by_epochs_and_no_validation(name: str) -> None:
    bill = billed(target(name), TRAIN, epochs=3, validation=VALID, evaluations=5)
    assert bill.tokens == Estimate(value=3000, low=2700, high=3600)
    assert bill.unit == "tokens" and bill.sources


def test_together_bills_evaluations_and_what_is_not_packed() -> None:
    place = target("together-sft")
    bill = billed(place, TRAIN, epochs=2, validation=VALID, evaluations=5)
    assert bill.tokens == Estimate(value=2500, low=2300, high=2950)
    loose = billed(place, TRAIN, epochs=2, rows=10, unpacked_length=8192)
    assert loose.tokens == Estimate(value=163_840, low=163_840, high=163_840)
    elsewhere = billed(target("openai-sft"), TRAIN, epochs=1, rows=10, unpacked_length=8192)
    assert elsewhere.tokens == TRAIN


def test_hours_and_nothing_are_no_tokens() -> None:
    assert billed(target("openai-rft"), TRAIN, epochs=1).tokens is None
    assert billed(target("openai-rft"), TRAIN, epochs=1).unit == "hours"
    assert billed(target("trl-sft"), TRAIN, epochs=1).unit == "nothing"


def test_every_target_has_a_rule_with_a_source() -> None:
    for one in targets().values():
        bill = billed(one, TRAIN, epochs=1)
        assert bill.words and bill.as_of and all(bill.sources)
