"""Diagnosis messages: each claim is computed from the curve."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ftwizard.diagnosis import Curve, Point, describe_former, diagnose, to_findings
from tests.helpers import curves


def message(curve: Curve, code: str) -> str:
    return next(finding.message for finding in to_findings(diagnose(curve)) if finding.code == code)


def test_overfitting_message_states_the_losses() -> None:
    verdict = diagnose(curves.overfitting(1))
    finding = to_findings(verdict)[0]
    losses = [loss for _, loss in curves.overfitting(1).evals]
    assert finding.code == "overfit" and finding.severity == "warning"
    assert verdict.evidence["rise"] == pytest.approx(losses[-1] - min(losses))
    assert f"{losses[-1]:.4g}" in finding.message and f"{min(losses):.4g}" in finding.message
    assert "stop_keep_best" in finding.actions
    assert finding.confidence is not None and 0.9 < finding.confidence < 1


def test_overfitting_message_mentions_an_improving_score() -> None:
    curve = curves.overfitting(1)
    better: list[Point] = [(step, 0.5 + step / 2000) for step, _ in curve.evals]
    assert "eval_accuracy still improves" in to_findings(
        diagnose(replace(curve, scores={"eval_accuracy": better}))
    )[0].message  # fmt: skip
    worse: list[Point] = [(step, 0.5 - step / 2000) for step, _ in curve.evals]
    text = to_findings(diagnose(replace(curve, scores={"eval_accuracy": worse})))[0].message
    assert "improves" not in text


@pytest.mark.parametrize(
    ("climb", "word"),
    [(-0.1, "keeps falling"), (0.0, "is flat"), (0.04, "Training loss rises slightly too")],
)
def test_overfitting_message_describes_the_training_loss(climb: float, word: str) -> None:
    curve = curves.overfitting(1)
    level = curves.drawn(lambda s: 1.0 + climb * max(0, s - 240) / 360, None, noise=0.015)
    findings = to_findings(diagnose(replace(curve, train=level.train)))
    overfit = next(finding for finding in findings if finding.code == "overfit")
    assert word in overfit.message
    alone = to_findings(diagnose(replace(curve, train=())))[0]
    assert alone.code == "overfit" and "training" not in alone.message


def test_healthy_message_claims_falling_losses_only_if_true() -> None:
    curve = curves.healthy(1)
    assert "Both losses fall" in message(curve, "healthy")
    waits = [(step, 1.5) for step, _ in curve.train]
    assert "No problems found" in message(replace(curve, train=waits), "healthy")


def test_healthy_message_does_not_claim_a_fall_after_rises() -> None:
    curve = curves.healthy(1)
    best = min(loss for _, loss in curve.evals)
    risen = [*curve.evals, (620.0, best * 1.01), (640.0, best * 1.012)]
    finding = to_findings(diagnose(replace(curve, evals=risen)))[0]
    assert finding.code == "healthy"
    assert "Both losses fall" not in finding.message
    assert "The newest is" in finding.message and "above the best" in finding.message


def test_plateau_message_names_the_flat_loss() -> None:
    fall = curves.falling(2.0, 0.9, 40)
    curve = curves.drawn(fall, fall, noise=0.005)
    assert "Validation loss has been flat for" in message(curve, "plateau")
    assert "Training loss has been flat since" in message(replace(curve, evals=()), "plateau")


def test_plateau_after_learning_rate_decay_advises_finishing() -> None:
    fall = curves.falling(2.0, 0.9, 40)
    curve = curves.drawn(fall, fall)
    finding = to_findings(diagnose(curve))[0]
    assert "of its peak" in finding.message and "Let it finish" in finding.action
    even = replace(curve, learning_rate=[(step, 1e-4) for step, _ in curve.train])
    finding = to_findings(diagnose(even))[0]
    assert "learning rate" not in finding.message and "Stop soon" in finding.action


def test_spike_message_counts_the_spikes() -> None:
    curve = curves.one_spike(1)
    assert "once" in message(curve, "spike")
    more = [(step, loss + 1.2 * (step in (450, 455))) for step, loss in curve.train]
    assert "2 times" in message(replace(curve, train=more), "spike")


def test_memorizing_message_mentions_intervals_only_without_epochs() -> None:
    assert "at even intervals" not in message(curves.staircase(1), "memorizing")
    assert "at even intervals" in message(curves.staircase(1, with_epochs=False), "memorizing")


@pytest.mark.parametrize("losses", [[1.1, 1.3], [1.1, 1.9, 1.8], [1.1, 1.0, 1.8]])
def test_few_evaluations_above_the_best_advise_keeping_it(losses: list[float]) -> None:
    curve = curves.overfitting(1)
    few = replace(curve, evals=[(150.0 * k, loss) for k, loss in enumerate(losses, 1)])
    verdict = diagnose(few.until(450))
    finding = to_findings(verdict)[0]
    assert finding.code == "insufficient" and finding.confidence is None
    above = losses[-1] - min(losses)
    assert f"The newest is {above:.4g} above the best. Best: {min(losses):.4g}" in finding.message
    assert "The best is kept" in finding.action
    assert finding.actions == ("stop_keep_best", "evaluate")


@pytest.mark.parametrize("losses", [[1.1], [1.1, 1.1, 1.2], [1.1, 1.101, 1.102]])
def test_few_evaluations_without_a_clear_rise_say_what_was_reached(losses: list[float]) -> None:
    curve = curves.overfitting(1)
    few = replace(curve, evals=[(200.0 * k, loss) for k, loss in enumerate(losses, 1)])
    finding = to_findings(diagnose(few.until(400)))[0]
    assert finding.code == "insufficient"
    assert finding.action == "Continue." and "so far. Training loss 1.696" in finding.message
    ended = to_findings(diagnose(few))[0]
    assert "in the whole run: too few for a verdict" in ended.message
    assert "Compare the answers" in ended.action


def test_only_a_healthy_run_that_goes_on_is_advised_to_continue() -> None:
    curve = curves.healthy(1)
    middle, end = (to_findings(diagnose(curve.until(step)))[0] for step in (400, curve.last_step))
    assert (middle.code, middle.action) == ("healthy", "Continue.")
    assert (end.code, end.action) == ("healthy", "Look at the results.")


@pytest.mark.parametrize("losses", [[1.1, 1.3, 1.8], [1.3, 1.1, 1.12, 1.14, 1.16]])
def test_plain_rises_in_a_row_are_overfitting(losses: list[float]) -> None:
    curve = curves.overfitting(1)
    few = replace(curve, evals=[(100.0 * k, loss) for k, loss in enumerate(losses, 1)])
    assert diagnose(few).pattern == "overfit"


def test_former_warning_is_told_until_its_last_step() -> None:
    def verdict(code: str, severity: str, step: int) -> dict[str, object]:
        return {"code": code, "severity": severity, "step": step, "verdict": True}

    spiky, healthy = verdict("spiky", "warning", 20), verdict("healthy", "info", 30)
    assert describe_former([spiky]) == "" == describe_former([healthy])
    other = {"code": "budget", "severity": "warning", "step": 25}
    assert describe_former([spiky, other, healthy]) == "was: spiky until step 30"
    plateau = verdict("plateau", "info", 40)
    assert describe_former([spiky, healthy, plateau]) == "was: spiky until step 30"
    assert describe_former([spiky, healthy, verdict("spiky", "warning", 50)]) == ""
