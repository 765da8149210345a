"""Billing rules of each target."""

from __future__ import annotations

import pytest

from ftwizard.data.platforms import all_targets, get_target
from ftwizard.data.tokens.billing import compute_bill
from ftwizard.data.tokens.stats import TokenEstimate

TRAIN = TokenEstimate(value=1000, low=900, high=1200)
VALID = TokenEstimate(value=100, low=100, high=110)


@pytest.mark.parametrize("name", ["openai-sft", "foundry-dpo", "bedrock-nova", "vertex-gemini"])
def test_training_tokens_are_billed_per_epoch_without_validation(name: str) -> None:
    bill = compute_bill(get_target(name), TRAIN, epochs=3, validation=VALID, evaluations=5)
    assert bill.tokens == TokenEstimate(value=3000, low=2700, high=3600)
    assert bill.unit == "tokens" and bill.sources


def test_together_bills_evaluations_and_unpacked_rows() -> None:
    target = get_target("together-sft")
    bill = compute_bill(target, TRAIN, epochs=2, validation=VALID, evaluations=5)
    assert bill.tokens == TokenEstimate(value=2500, low=2300, high=2950)
    loose = compute_bill(target, TRAIN, epochs=2, rows=10, unpacked_length=8192)
    assert loose.tokens == TokenEstimate(value=163_840, low=163_840, high=163_840)
    elsewhere = compute_bill(
        get_target("openai-sft"), TRAIN, epochs=1, rows=10, unpacked_length=8192
    )
    assert elsewhere.tokens == TRAIN


def test_hourly_and_local_training_are_not_billed_by_token() -> None:
    assert compute_bill(get_target("openai-rft"), TRAIN, epochs=1).tokens is None
    assert compute_bill(get_target("openai-rft"), TRAIN, epochs=1).unit == "hours"
    assert compute_bill(get_target("trl-sft"), TRAIN, epochs=1).tokens is None
    assert compute_bill(get_target("trl-sft"), TRAIN, epochs=1).unit == "nothing"


def test_every_target_has_a_billing_rule_with_sources() -> None:
    for target in all_targets().values():
        bill = compute_bill(target, TRAIN, epochs=1)
        assert bill.words and bill.as_of and all(bill.sources)
