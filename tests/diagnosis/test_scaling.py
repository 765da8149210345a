"""Training loss logged as a sum over micro-batches: read as its mean, and reported."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import pytest

from ftwizard.diagnosis import Curve, diagnose, to_findings
from ftwizard.diagnosis.training_loss import find_loss_multiple
from tests.helpers import curves

SEEDS = range(4)
NOTE = " Training loss is logged as {} × its mean (gradient accumulation)."


def scale_train_loss(curve: Curve, times: float) -> Curve:
    return replace(curve, train=[(step, loss * times) for step, loss in curve.train])


def diverging_to_guessing(seed: int) -> Curve:
    return replace(curves.running_away(seed), vocabulary=32_000)


@pytest.mark.parametrize(
    "kind",
    [curves.healthy, curves.overfitting, curves.flattening, curves.staircase, curves.one_spike,
     curves.still, diverging_to_guessing],
)  # fmt: skip
@pytest.mark.parametrize(("times", "accumulation"), [(16, None), (4, 4), (3, 3)])
def test_summed_training_loss_keeps_the_verdict_and_is_reported(
    kind: Callable[[int], Curve], times: int, accumulation: int | None
) -> None:
    for seed in SEEDS:
        curve = replace(kind(seed), accumulation=accumulation)
        expected = diagnose(curve)
        verdict = diagnose(scale_train_loss(curve, times))
        assert (verdict.pattern, verdict.also, verdict.onset_step) == (
            expected.pattern, expected.also, expected.onset_step,
        )  # fmt: skip
        assert verdict.evidence["logged_times"] == times and "logged_times" not in expected.evidence
        first, *rest = to_findings(verdict)
        expected_first, *expected_rest = to_findings(expected)
        assert first.message == expected_first.message + NOTE.format(times)
        assert [finding.message for finding in rest] == [
            finding.message for finding in expected_rest
        ]


@pytest.mark.parametrize("accumulation", [None, 4])
def test_high_early_training_loss_is_not_a_loss_multiple(accumulation: int | None) -> None:
    steep = curves.falling(11.0, 1.0, 20)
    curve = replace(curves.drawn(steep, curves.falling(1.3, 1.0, 100)), accumulation=accumulation)
    early = [loss for step, loss in curve.train if 15 <= step <= 30]
    assert 3.4 < sorted(early)[2] / curve.evals[0][1] < 4.6, (
        "at the first evaluation it looks like a multiple"
    )
    for step, _ in curve.evals:
        assert find_loss_multiple(curve.until(step)) is None
        assert "logged" not in to_findings(diagnose(curve.until(step)))[0].message


def test_loss_multiple_requires_plausible_accumulation() -> None:
    curve = curves.healthy(1)
    assert find_loss_multiple(curve) is None
    assert find_loss_multiple(scale_train_loss(curve, 2)) is None, (
        "training rows may be that much harder"
    )
    assert find_loss_multiple(replace(scale_train_loss(curve, 2), accumulation=2)) == 2
    assert find_loss_multiple(replace(scale_train_loss(curve, 8), accumulation=4)) is None
    assert find_loss_multiple(replace(curve, accumulation=1)) is None
    assert find_loss_multiple(replace(scale_train_loss(curve, 8), objective="grpo")) is None
    assert find_loss_multiple(replace(scale_train_loss(curve, 8), evals=curve.evals[:2])) is None
    assert (
        find_loss_multiple(
            scale_train_loss(replace(curve, evals=[(s, 0.0) for s, _ in curve.evals]), 8)
        )
        is None
    )
    wild = [(step, math.nan) for step, _ in curve.evals]
    assert find_loss_multiple(replace(scale_train_loss(curve, 8), evals=wild)) is None


def test_summed_loss_overfitting_from_the_start_is_detected() -> None:
    fall = curves.falling(1.4, 0.3, 250)
    curve = curves.drawn(fall, lambda s: 1.3 + 0.4 * s / 600)
    verdict = diagnose(scale_train_loss(curve, 16))
    assert (verdict.pattern, verdict.evidence["logged_times"]) == ("overfit", 16)
