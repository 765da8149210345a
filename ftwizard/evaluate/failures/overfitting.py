"""Overfitting: a checkpoint past the best one, and gains on training rows that do not carry over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from ftwizard.diagnosis.curve import keep_finite
from ftwizard.diagnosis.verdict import diagnose
from ftwizard.evaluate.failures.inputs import (
    TARGET,
    TRAIN,
    FailureInputs,
    Pair,
    compute_mean,
    list_scores,
    to_flip,
)
from ftwizard.runs.evaluation import Action, Failure, Needs
from ftwizard.runs.paired_tests import ALPHA, RESAMPLES
from ftwizard.runs.ship_verdict import FEW_ITEMS

MIN_GAIN = {"loss": 0.2, "score": 0.15}
"""Least gain on training rows, in nats per token or as a share: without it nothing was learned."""
MIN_CARRIED = 0.5
"""Share of the gain on training rows that must also appear on test rows."""
MIN_RISE = 1.1
"""Validation loss over the best one that counts together with a gain that does not carry over."""
_SEED = 42


def find_overfitting(inputs: FailureInputs) -> Failure:
    """Judge the run's curve, then answers to training rows next to answers to test rows.

    Evidence of the curve: ``step``, ``best_step``, ``best_on_disk``, ``best_loss``, ``loss``. Of
    the answers, by measure (``score``, ``loss``): ``{measure}_train_gain``,
    ``{measure}_test_gain``, ``{measure}_carried`` and its ends ``_low`` and ``_high``.
    """
    evidence: dict[str, Any] = {}
    by_curve = _judge_curve(inputs, evidence)
    train, test = inputs.pairs(TRAIN), inputs.pairs(TARGET)
    scored = _judge_gains("score", _list_score_gains(train), _list_score_gains(test), evidence)
    by_loss = _judge_gains("loss", _list_loss_gains(train), _list_loss_gains(test), evidence)
    # Right answers decide where there are any, also if they leave it open: loss also rises by
    # overconfidence alone, and falls a lot by the format alone.
    by_answers = scored if "score_carried" in evidence or by_loss is None else by_loss
    if by_answers is None and by_curve is False and _do_both_suggest_it(evidence):
        by_answers = by_curve = True
    verdicts = (by_curve, by_answers)
    is_overfit = True if True in verdicts else False if False in verdicts else None
    worst = sorted((pair for pair in test if _lost(pair) > 0), key=_lost, reverse=True)
    examples = [to_flip(pair) for pair in worst[:5]] if is_overfit else []
    better = evidence.get("best_on_disk")
    actions = [Action(kind="checkpoint", step=better)] if by_curve and better is not None else []
    needs: Needs = "items" if train and test else "data"
    return Failure(
        name="overfitting", found=is_overfit, needs=needs if is_overfit is None else "", evidence=evidence,
        examples=examples, actions=actions,
    )  # fmt: skip


def _do_both_suggest_it(evidence: dict[str, Any]) -> bool:
    """Return whether curve and answers agree where neither of them proves overfitting alone."""
    carried, loss = evidence.get("score_carried"), evidence.get("loss")
    is_above_best = loss is not None and loss >= MIN_RISE * evidence["best_loss"]
    return carried is not None and carried < MIN_CARRIED and is_above_best


def _judge_curve(inputs: FailureInputs, evidence: dict[str, Any]) -> bool | None:
    """Return whether the tuned weights are from after the point where the run began to overfit."""
    if inputs.curve is None or not inputs.curve.evals:
        return None
    verdict = diagnose(inputs.curve)
    if verdict.pattern == "insufficient" or verdict.best_step is None:
        return None
    step = int(inputs.curve.last_step) if inputs.step is None else inputs.step
    onset = next((sign.onset for sign in verdict.signs if sign.pattern == "overfit"), None)
    before = [loss for at, loss in keep_finite(inputs.curve.evals) if at <= step]
    evidence |= {"step": step, "best_step": verdict.best_step, "best_loss": verdict.best_loss}
    evidence |= {"best_on_disk": verdict.best_on_disk, "loss": before[-1] if before else None}
    return onset is not None and step > onset


def _judge_gains(
    measure: str, learned: Sequence[float], carried: Sequence[float], evidence: dict[str, Any]
) -> bool | None:
    """Return whether less than ``MIN_CARRIED`` of the gain carries over; None if it is unknown.

    ``learned`` and ``carried`` are the gains on single training and test rows.
    """
    if min(len(learned), len(carried)) < FEW_ITEMS:
        return None  # the interval of what carries over is too wide to use
    train_gain, test_gain = sum(learned) / len(learned), sum(carried) / len(carried)
    evidence |= {f"{measure}_train_gain": train_gain, f"{measure}_test_gain": test_gain}
    if train_gain < MIN_GAIN[measure]:
        return False  # what was not learned cannot be learned too well
    low, high = _bootstrap_ratio(carried, learned)
    evidence |= {f"{measure}_carried": test_gain / train_gain}
    evidence |= {f"{measure}_carried_low": low, f"{measure}_carried_high": high}
    if high < MIN_CARRIED:
        return True
    return False if low >= MIN_CARRIED or test_gain / train_gain >= 2 * MIN_CARRIED else None


def _bootstrap_ratio(over: Sequence[float], under: Sequence[float]) -> tuple[float, float]:
    """Return the 95% interval of the ratio of two means of independent samples."""
    import numpy as np

    random = np.random.default_rng(_SEED)
    means = []
    for values in (over, under):
        array = np.asarray(values, dtype=float)
        means.append(array[random.integers(len(array), size=(RESAMPLES, len(array)))].mean(axis=1))
    # A mean gain near zero would make the ratio endless; the least gain is far above it.
    ratios = means[0] / np.maximum(means[1], 1e-6)
    low, high = np.quantile(ratios, [ALPHA / 2, 1 - ALPHA / 2])
    return float(low), float(high)


def _list_score_gains(pairs: Sequence[Pair]) -> list[float]:
    """Return how far the score of each tuned answer is above the base model, or above guessing.

    A model that only learned to name the most frequent label learned nothing from its rows.
    """
    scored = [pair for pair in pairs if pair.is_scored]
    if not scored:
        return []
    expected = Counter(pair.item.expected[0] for pair in scored if pair.item.expected)
    guessed = max(expected.values(), default=0) / len(scored)
    start = max(compute_mean(scored, "base"), guessed)
    return [score - start for score in list_scores(scored, "tuned")]


def _list_loss_gains(pairs: Sequence[Pair]) -> list[float]:
    return [
        pair.base.loss - pair.tuned.loss
        for pair in pairs
        if pair.base.loss is not None and pair.tuned.loss is not None
    ]


def _lost(pair: Pair) -> float:
    """Return how far the tuned model is from right, for choosing examples."""
    value = pair.tuned.value
    return pair.tuned.loss or 0.0 if value is None else 1 - value
