"""Forgetting: general questions that the base model answered and the tuned model does not."""

from __future__ import annotations

from typing import Any

from ftwizard.data.general_text import MIN_TEXTS
from ftwizard.diagnosis.general_text import MIN_FALL
from ftwizard.evaluate.failures.inputs import (
    GENERAL,
    FailureInputs,
    judge_scores,
    list_broken,
    round_scores,
)
from ftwizard.runs import paired_tests
from ftwizard.runs.evaluation import Failure

TEXT_RISE = 6.0
"""Rise of the loss on general text, in nats per token, that goes with the loss of all answers: 0.3 with the
usual limit of 5 points."""


def find_forgetting(inputs: FailureInputs) -> Failure:
    """Compare both models on the general set, and on general text where its losses are known.

    The limit is the gate's, for general text ``TEXT_RISE`` nats for each share. Text can show forgetting; that it is
    as likely as before proves no skill. Evidence: ``n``, ``base``, ``tuned`` (shares), ``change`` with ``low``,
    ``high`` and ``p``, and ``text_rise`` with its ends and ``text_max``, the rise from which it is a failure.
    """
    pairs = round_scores([pair for pair in inputs.pairs(GENERAL) if pair.is_scored])
    evidence: dict[str, Any] = {"n": len(pairs)}
    is_forgetful, needs = judge_scores(pairs, inputs.gate.max_general_loss, evidence)
    if _judge_texts(inputs, evidence):
        is_forgetful, needs = True, ""
    return Failure(
        name="forgetting",
        found=is_forgetful,
        needs=needs,
        evidence=evidence,
        examples=list_broken(pairs) if is_forgetful else [],
    )


def _judge_texts(inputs: FailureInputs, evidence: dict[str, Any]) -> bool:
    losses = inputs.text_losses
    if len(losses) < MIN_TEXTS:
        return False
    base, tuned, tokens = zip(*losses, strict=True)
    test = paired_tests.compare_means(base, tuned, tokens)
    evidence |= {"texts": len(losses), "text_rise": test.change}
    limit = max(MIN_FALL, TEXT_RISE * inputs.gate.max_general_loss)
    evidence |= {"text_rise_low": test.low, "text_rise_high": test.high, "text_max": limit}
    return test.low >= limit
