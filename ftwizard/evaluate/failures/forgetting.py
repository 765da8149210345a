"""Forgetting: general questions that the base model answered and the tuned model does not."""

from __future__ import annotations

from typing import Any

from ftwizard.data.general_text import MIN_TEXTS
from ftwizard.diagnosis.general_text import MIN_FALL
from ftwizard.evaluate.failures.inputs import (
    GENERAL,
    FailureInputs,
    Pair,
    bound_loss,
    compare_scores,
    compute_mean,
    list_broken,
    round_scores,
)
from ftwizard.runs import paired_tests
from ftwizard.runs.evaluation import Failure
from ftwizard.runs.paired_tests import ALPHA

MIN_ITEMS = 30
"""Fewer items cannot prove a loss of 20 points (exact McNemar), nor exclude one."""
MIN_LOSS = 0.05
"""Share of the general set from which a proven loss matters."""
MIN_RIGHT = 10
"""Right answers of the base model without which there is nothing to forget."""
MAX_POSSIBLE = 0.15
"""Loss up to which the interval may reach, for "none found": 100 items of which 20 change either
way still allow 9 points, and 50 items 13."""


def find_forgetting(inputs: FailureInputs) -> Failure:
    """Compare both models on the general set, and on general text where its losses are known.

    Evidence: ``n``, ``base``, ``tuned`` (shares), ``change`` with ``low``, ``high`` and ``p``,
    ``possible`` (the loss that the items do not exclude), and ``text_rise`` with its ends and
    ``text_max``, the rise from which it is a failure.
    """
    pairs = round_scores([pair for pair in inputs.pairs(GENERAL) if pair.is_scored])
    evidence: dict[str, Any] = {"n": len(pairs)}
    by_items = _judge_items(pairs, evidence)
    by_texts = _judge_texts(inputs, evidence)
    verdicts = (by_items, by_texts)
    # General text can prove forgetting; that it is as likely as before proves no skill.
    is_forgetful = True if True in verdicts else by_items
    return Failure(
        name="forgetting",
        found=is_forgetful,
        evidence=evidence,
        examples=list_broken(pairs) if is_forgetful else [],
    )


def _judge_items(pairs: list[Pair], evidence: dict[str, Any]) -> bool | None:
    test = compare_scores(pairs)
    if test is None:
        return None
    evidence |= {"base": compute_mean(pairs, "base"), "tuned": compute_mean(pairs, "tuned")}
    possible = bound_loss(pairs, test)
    evidence |= {**test._asdict(), "possible": possible}
    if test.p < ALPHA and test.change <= -MIN_LOSS:
        return True
    is_enough = len(pairs) >= MIN_ITEMS and evidence["base"] * len(pairs) >= MIN_RIGHT
    return False if is_enough and possible <= MAX_POSSIBLE else None


def _judge_texts(inputs: FailureInputs, evidence: dict[str, Any]) -> bool | None:
    losses = inputs.text_losses
    if len(losses) < MIN_TEXTS:
        return None
    base, tuned, tokens = zip(*losses, strict=True)
    test = paired_tests.compare_means(base, tuned, tokens)
    evidence |= {"texts": len(losses), "text_rise": test.change}
    evidence |= {"text_rise_low": test.low, "text_rise_high": test.high, "text_max": MIN_FALL}
    return test.low >= MIN_FALL
