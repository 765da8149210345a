"""Diagnosis of loss curves: patterns detected as they grow, no false alarms on healthy runs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby
from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ftwizard.diagnosis import (
    Curve,
    CurveVerdict,
    Point,
    describe_best,
    describes_best,
    diagnose,
    to_findings,
)
from ftwizard.diagnosis.curve import RowEvidence
from ftwizard.diagnosis.statistics import noise, noise_about_convex
from ftwizard.diagnosis.validation import find_overfitting
from tests.helpers import curves

SEEDS = range(12)


def find_onsets(curve: Curve) -> dict[str, float]:
    """Return the patterns diagnosed while a curve grows, each with its first step."""
    onsets: dict[str, float] = {}
    for step, _ in curve.evals or curve.train[::12]:
        verdict = diagnose(curve.until(step))
        for name in (verdict.pattern, *verdict.also):
            onsets.setdefault(name, step)
    return onsets


KINDS: list[tuple[Callable[[int], Curve], str, set[str]]] = [
    (curves.overfitting, "overfit", {"no_learning", "diverged", "nan"}),
    (lambda seed: curves.overfitting(seed, rise=0.05), "overfit", {"no_learning", "diverged"}),
    (
        lambda seed: curves.overfitting(seed, rise=0.025, eval_noise=0.002),
        "overfit",
        {"no_learning", "diverged"},
    ),
    (
        lambda seed: curves.overfitting(seed, rise=0.3, eval_noise=0.03),
        "overfit",
        {"no_learning", "diverged"},
    ),
    (curves.flattening, "plateau", {"diverged", "no_learning"}),
    (curves.staircase, "memorizing", {"spiky", "diverged"}),
    (lambda seed: curves.staircase(seed, with_epochs=False), "memorizing", {"spiky", "diverged"}),
    (lambda seed: curves.staircase(seed, validated=False), "memorizing", {"spiky", "diverged"}),
    (curves.running_away, "diverged", {"overfit"}),
    (curves.one_spike, "spike", {"diverged", "overfit", "spiky", "memorizing"}),
    (curves.still, "no_learning", {"overfit", "plateau"}),
    (curves.jumpy, "spiky", {"diverged"}),
]


@pytest.mark.parametrize(("kind", "pattern", "never"), KINDS)
def test_each_pattern_is_detected_and_not_confused(
    kind: Callable[[int], Curve], pattern: str, never: set[str]
) -> None:
    onsets = [find_onsets(kind(seed)) for seed in SEEDS]
    assert sum(pattern in onset for onset in onsets) >= len(SEEDS) - 1
    assert sum(bool(never & set(onset)) for onset in onsets) <= 1


@pytest.mark.parametrize("kind", [curves.healthy, curves.slow_start])
def test_healthy_runs_raise_no_alarms(kind: Callable[[int], Curve]) -> None:
    alarms = {"overfit", "memorizing", "no_learning", "spiky", "diverged", "nan", "zero_loss"}
    assert sum(bool(alarms & set(find_onsets(kind(seed)))) for seed in SEEDS) <= 1


@pytest.mark.parametrize("rows", [1, 2, 4, 8])
@pytest.mark.parametrize("known", [True, False])
def test_steps_of_few_rows_are_neither_spiky_nor_diverged(rows: int, known: bool) -> None:
    fall = curves.falling(2.0, 0.9, 100)
    alarms = {"spiky", "spike", "diverged", "memorizing", "no_learning"}
    found = 0
    for seed in SEEDS:
        curve = curves.drawn(fall, fall, steps=200, every=1, rows=rows, seed=seed)
        if known:
            evidence = [RowEvidence(s, 20, 0.5 * loss / rows**0.5, None) for s, loss in curve.evals]
            curve = replace(curve, row_evidence=evidence, rows_per_step=float(rows))
        found += bool(alarms & set(find_onsets(curve)))
    assert found <= (0 if known else 1)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
@pytest.mark.parametrize("length", [1, 4])
def test_steps_with_general_rows_mixed_in_raise_no_alarms(share: float, length: int) -> None:
    alarms = {"spiky", "spike", "diverged", "memorizing", "no_learning"}
    runs = [curves.mixed(seed, share=share, length=length) for seed in SEEDS[::2]]
    assert sum(bool(alarms & set(find_onsets(curve))) for curve in runs) <= 1
    assert any("spiky" in find_onsets(replace(curve, mixes_rows=False)) for curve in runs)


def test_a_high_spike_is_found_among_steps_with_general_rows() -> None:
    for seed in SEEDS[::3]:
        curve = curves.mixed(seed, share=0.2)
        jump = [(s, loss + 5 * math.exp(-(s - 120) / 8) * (s >= 120)) for s, loss in curve.train]
        assert 120 <= find_onsets(replace(curve, train=jump))["spike"] < 140


@pytest.mark.parametrize("rows", [1, 4])
def test_divergence_is_found_in_steps_of_few_rows(rows: int) -> None:
    top = math.log(32_000)

    def loss(step: float) -> float:
        return 1.5 if step < 100 else top + (1.5 - top) * math.exp(-(step - 100) / 5)

    for seed in SEEDS:
        curve = curves.drawn(loss, loss, steps=200, every=1, rows=rows, seed=seed)
        evidence = [RowEvidence(s, 20, 0.5 * 1.5 / rows**0.5, None) for s, _ in curve.evals]
        curve = replace(curve, row_evidence=evidence, rows_per_step=float(rows), vocabulary=32_000)
        assert find_onsets(curve).get("diverged", math.inf) <= 150


def test_divergence_is_not_reported_while_validation_improves() -> None:
    rising = curves.drawn(lambda s: 1.0 + s / 100, curves.falling(2.0, 0.9, 200), steps=300)
    assert "diverged" not in find_onsets(rising)
    alone = replace(rising, evals=())
    assert "diverged" in find_onsets(alone)


def test_loss_that_stays_at_guessing_after_a_blow_up_has_diverged() -> None:
    level = math.log(32_000)
    curve = curves.drawn(lambda s: 2.0 if s < 10 else level, None, noise=0.02, epochs=3)
    assert diagnose(replace(curve, vocabulary=32_000)).pattern == "diverged"


def test_losses_at_guessing_level_are_not_learning() -> None:
    curve = curves.drawn(lambda s: math.log(3), None, steps=50, every=1, noise=0.05)
    verdict = diagnose(replace(curve, vocabulary=3, total_steps=None))
    assert verdict.pattern == "no_learning" and "random guessing" in to_findings(verdict)[0].message


def test_spike_hides_neither_memorizing_nor_missing_validation() -> None:
    stairs = curves.staircase(1, validated=False)
    spiked = replace(stairs, train=[(s, loss + 3.0 * (300 <= s < 310)) for s, loss in stairs.train])
    verdict = diagnose(spiked)
    assert {"memorizing", "no_eval"} <= {verdict.pattern, *verdict.also}


def test_slow_steady_fall_is_not_flat() -> None:
    evals = [(20.0 * k, 1.5 - 0.4 * min(k, 5) / 5 - 0.001 * max(0, k - 5)) for k in range(1, 21)]
    assert diagnose(replace(curves.flattening(1), evals=evals)).pattern == "healthy"


def test_verdicts_rarely_return() -> None:
    kinds = (curves.healthy, curves.flattening, curves.overfitting, curves.one_spike)
    returned = 0
    for kind in kinds:
        for seed in SEEDS:
            curve = kind(seed)
            patterns = [diagnose(curve.until(step)).pattern for step, _ in curve.evals]
            changes = [pattern for pattern, _ in groupby(patterns)]
            returned += sum(name in changes[:index] for index, name in enumerate(changes))
    assert returned <= 6


@pytest.mark.parametrize(
    ("rate", "words"),
    [
        (2e-4, "the usual 2e-4 is too high for these rows"),
        (1e-3, "the usual learning rate, 2e-4; this run had 1e-3"),
    ],
)
def test_advice_relates_the_learning_rate_to_the_usual_one(rate: float, words: str) -> None:
    curve = replace(curves.running_away(1), usual_rate=2e-4)
    curve = replace(curve, learning_rate=[(step, rate) for step, _ in curve.train])
    finding = to_findings(diagnose(curve))[0]
    assert finding.code == "diverged" and words in finding.action


def test_usual_rate_without_learning_advises_the_data_first() -> None:
    curve = replace(curves.still(1), usual_rate=2e-4)
    usual = replace(curve, learning_rate=[(step, 2e-4) for step, _ in curve.train])
    finding = to_findings(diagnose(usual))[0]
    assert finding.actions[0] == "check_data" and "(2e-4) is not low" in finding.action
    low = replace(curve, learning_rate=[(step, 2e-6) for step, _ in curve.train])
    assert to_findings(diagnose(low))[0].actions[0] == "again_higher_rate"


def test_healthy_run_ends_with_a_healthy_verdict() -> None:
    verdicts = [diagnose(curves.healthy(seed)) for seed in SEEDS]
    assert sum(verdict.pattern == "healthy" for verdict in verdicts) >= len(SEEDS) - 1


def test_noisy_but_falling_validation_is_not_overfitting() -> None:
    onsets = [find_onsets(curves.healthy(seed, eval_noise=0.03)) for seed in SEEDS]
    assert sum("overfit" in onset for onset in onsets) <= 1


def test_flat_validation_loss_is_rarely_taken_for_overfitting() -> None:
    taken = 0
    for seed in range(100):
        curve = replace(curves.flattening(seed), train=())
        taken += any(find_overfitting(curve.until(step)) is not None for step, _ in curve.evals)
    assert taken <= 8


def test_overfitting_is_detected_early_with_its_best_step() -> None:
    delays = []
    for seed in SEEDS:
        curve = curves.overfitting(seed, onset=240)
        delays.append((find_onsets(curve)["overfit"] - 240) / 30)
        verdict = diagnose(curve)
        assert verdict.best_step is not None and abs(verdict.best_step - 240) <= 60
        assert verdict.best_loss == dict(curve.evals)[verdict.best_step]
        assert verdict.onset_step == verdict.best_step
    assert sorted(delays)[len(delays) // 2] <= 4


def test_noise_estimate_ignores_a_steep_convex_fall() -> None:
    falls = curves.falling(3.0, 1.0, 50)
    drawn_noise, estimates, naive = 0.004, [], []
    for seed in SEEDS:
        drawn = curves.drawn(falls, falls, evaluations=8, eval_noise=drawn_noise, seed=seed)
        losses = [loss for _, loss in drawn.evals]
        estimates.append(noise_about_convex(losses))
        naive.append(noise(losses))
    assert median(estimates) == pytest.approx(drawn_noise, rel=0.5)
    assert median(naive) > 2 * median(estimates)


def test_evidence_counts_all_evaluations_of_a_long_run() -> None:
    fall = curves.falling(2.0, 0.9, 70)
    curve = curves.drawn(
        fall, lambda s: fall(min(s, 200)) * (1 + max(0, s - 200) / 1000), evaluations=300
    )
    verdict = diagnose(curve)
    best = min(curve.evals, key=lambda point: point[1])
    assert verdict.pattern == "overfit" and verdict.onset_step == best[0]
    assert verdict.evidence["best_loss"] == best[1]
    assert verdict.evidence["evaluations_since"] == 299 - curve.evals.index(best)


def test_best_checkpoint_on_disk_can_differ_from_the_best_step() -> None:
    curve = curves.overfitting(1)
    measured = diagnose(curve)
    assert measured.best_on_disk is None
    kept = replace(curve, checkpoints=[30, 450, 480])
    verdict = diagnose(kept)
    assert verdict.best_step == measured.best_step
    assert verdict.best_on_disk == min(
        (loss, int(step)) for step, loss in curve.evals if int(step) in (30, 450, 480)
    )[1]  # fmt: skip
    assert f"on disk: step {verdict.best_on_disk}" in describe_best(verdict)


@pytest.mark.parametrize("kind", [kind for kind, _, _ in KINDS])
def test_describes_best_matches_the_finding_message(kind: Callable[[int], Curve]) -> None:
    curve = kind(1)
    for step, _ in curve.evals[::4]:
        verdict = diagnose(curve.until(step))
        for finding in to_findings(verdict):
            assert describes_best(finding) == (describe_best(verdict) in finding.message)


# ------------------------------------------------------------------ broken losses


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_nan_or_infinite_training_loss_is_reported_at_its_step(value: float) -> None:
    curve = curves.healthy(1)
    broken = [(step, value if step >= 300 else loss) for step, loss in curve.train]
    verdict = diagnose(replace(curve, train=broken))
    assert (verdict.pattern, verdict.onset_step, verdict.confidence) == ("nan", 300, 1.0)
    assert verdict.best_step is not None


def test_nan_grad_norm_reveals_a_filtered_nan_loss() -> None:
    curve = curves.healthy(1)
    norms = [(step, math.nan if step >= 300 else norm) for step, norm in curve.grad_norm]
    assert diagnose(replace(curve, grad_norm=norms)).pattern == "nan"
    infinite = [(step, math.inf if step % 50 == 0 else norm) for step, norm in curve.grad_norm]
    assert diagnose(replace(curve, grad_norm=infinite)).pattern == "healthy"


def test_nan_validation_loss_is_reported_at_its_step() -> None:
    curve = curves.healthy(1)
    evals = [(step, math.nan if step == 300 else loss) for step, loss in curve.evals]
    verdict = diagnose(replace(curve, evals=evals))
    assert (verdict.pattern, verdict.onset_step) == ("eval_nan", 300)
    assert "in 1 of 20 evaluations" in to_findings(verdict)[0].message


def test_zero_loss_is_reported_after_three_steps_except_in_rl() -> None:
    zeros: list[Point] = [(step, 0.0) for step in range(1, 8)]
    assert diagnose(Curve(zeros[:2])).pattern != "zero_loss"
    assert diagnose(Curve(zeros[:3])).pattern == "zero_loss"
    assert diagnose(Curve(zeros, objective="grpo")).pattern != "zero_loss"
    later = [
        *((step, 1.0 - step / 100) for step in range(1, 40)),
        *((s, 0.0) for s in (40, 41, 42)),
    ]
    assert diagnose(Curve(later)).onset_step == 40
    curve = curves.healthy(1)
    verdict = diagnose(replace(curve, evals=[(step, 0.0) for step, _ in curve.evals]))
    assert verdict.pattern == "zero_loss"
    assert "Validation loss is exactly 0" in to_findings(verdict)[0].message


def test_zero_training_loss_with_nan_evaluations_counts_as_nan() -> None:
    curve = curves.healthy(1)

    def collapsed(since: float, evaluated: float) -> Curve:
        train = [(step, 0.0 if step >= since else loss) for step, loss in curve.train]
        evals = [(step, evaluated if step >= since else loss) for step, loss in curve.evals]
        return replace(curve, train=train, evals=evals)

    verdict = diagnose(collapsed(300, math.nan))
    assert (verdict.pattern, verdict.onset_step, verdict.also) == ("nan", 300, ())
    message = to_findings(verdict)[0].message
    assert "exactly 0" in message and "is NaN" in message and "no token" not in message
    assert verdict.best_step is not None and f"step {verdict.best_step}" in message
    assert diagnose(collapsed(0, math.nan)).pattern == "zero_loss", (
        "no trainable token from the first step on"
    )
    assert diagnose(collapsed(300, 1.0)).pattern == "zero_loss"
    assert diagnose(replace(collapsed(300, math.nan), objective="grpo")).pattern != "nan"


def test_zero_learning_rate_explains_no_learning() -> None:
    curve = curves.healthy(1)
    verdict = diagnose(replace(curve, learning_rate=[(step, 0.0) for step, _ in curve.train]))
    assert verdict.pattern == "no_learning"
    assert "rate is 0" in to_findings(verdict)[0].message
    assert to_findings(verdict)[0].action == "Set a learning rate above 0."


def test_stalled_loss_at_ln_vocabulary_is_random_guessing() -> None:
    verdict = diagnose(replace(curves.still(1, math.log(32_000)), vocabulary=32_000))
    assert "random guessing" in to_findings(verdict)[0].message


def test_diverged_loss_at_ln_vocabulary_is_random_guessing() -> None:
    curve = curves.running_away(1)
    for vocabulary, guesses in ((32_000, True), (None, False), (152_000, False)):
        verdict = diagnose(replace(curve, vocabulary=vocabulary))
        assert verdict.pattern == "diverged"
        message = to_findings(verdict)[0].message
        assert (
            ". That is random guessing (ln of the vocabulary size is 10.37)." in message
        ) == guesses


def test_large_grad_norms_lower_the_spiky_threshold() -> None:
    for seed in SEEDS:
        fall = curves.falling(1.2, 0.9, 150)
        curve = curves.drawn(fall, fall, noise=0.22, seed=seed)
        large = replace(curve, grad_norm=[(step, 4 * norm) for step, norm in curve.grad_norm])
        assert diagnose(curve).pattern != "spiky"
        verdict = diagnose(large)
        assert verdict.pattern == "spiky", verdict
        assert isinstance(share := verdict.evidence["noise_share"], float) and 0.13 <= share < 0.3
        assert "with a grad norm of" in to_findings(verdict)[0].message


def test_near_zero_loss_in_the_first_epoch_is_too_good() -> None:
    fall = curves.falling(2.0, 0.005, 20)
    curve = replace(curves.drawn(fall, fall, noise=0.001, eval_noise=0.001), steps_per_epoch=400.0)
    verdict = diagnose(curve)
    assert "too_good" in (verdict.pattern, *verdict.also)


# ------------------------------------------------------------------ too little data


def test_few_evaluations_are_insufficient() -> None:
    curve = curves.healthy(1)
    for step in (1, 30, 90):
        assert diagnose(curve.until(step)).pattern == "insufficient"


def test_missing_validation_is_reported() -> None:
    curve = replace(curves.healthy(1), evals=())
    verdict = diagnose(curve)
    assert verdict.pattern == "no_eval"
    assert verdict.best_step is None and describe_best(verdict) == ""
    assert diagnose(replace(curve, validates=True)).pattern == "insufficient"


def test_validation_loss_alone_is_diagnosed() -> None:
    assert diagnose(replace(curves.overfitting(1), train=())).pattern == "overfit"
    assert diagnose(replace(curves.healthy(1), train=())).pattern == "healthy"


def test_rising_reinforcement_loss_is_not_overfitting() -> None:
    curve = replace(curves.overfitting(1), objective="grpo")
    assert diagnose(curve).pattern == "healthy"
    assert "No problems found" in to_findings(diagnose(curve))[0].message


numbers = st.one_of(
    st.floats(0, 20), st.sampled_from([0.0, math.nan, math.inf, -math.inf, 1e308, -1.0, 1e-300])
)
points = st.tuples(st.lists(numbers, max_size=60), st.sampled_from([10.0, 10.0, 0.0])).map(
    lambda drawn: [(drawn[1] * (k + 1), value) for k, value in enumerate(drawn[0])]
)


@given(
    points,
    points,
    points,
    points,
    st.sampled_from([None, 7.0, 100.0, 1e9, 1e-9, 0.0, -1.0, math.nan, math.inf]),
)
@settings(max_examples=60, deadline=None)
def test_any_curve_gets_a_verdict_with_messages(
    train: list[Point], evals: list[Point], rates: list[Point], norms: list[Point],
    per_epoch: float | None,
) -> None:  # fmt: skip
    curve = Curve(train, evals, rates, norms, steps_per_epoch=per_epoch)
    verdict: CurveVerdict = diagnose(curve)
    assert verdict.confidence is None or 0 <= verdict.confidence <= 1
    assert verdict.pattern not in verdict.also
    findings = to_findings(verdict)
    assert findings[0].code == verdict.pattern
    assert all(
        finding.message.strip() and finding.action and finding.actions for finding in findings
    )
    assert (verdict.best_step is None) == (not any(math.isfinite(loss) for _, loss in evals))


@given(st.floats(0.2, 5), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_scaling_the_losses_keeps_the_verdict(scale: float, seed: int) -> None:
    for curve in (curves.overfitting(seed), curves.healthy(seed), curves.running_away(seed)):
        scaled = replace(
            curve,
            train=[(step, loss * scale) for step, loss in curve.train],
            evals=[(step, loss * scale) for step, loss in curve.evals],
        )
        assert diagnose(scaled).pattern == diagnose(curve).pattern


class _Counted(list[tuple[float, float]]):
    """Points that count how often they are read from the start."""

    reads = 0

    def __iter__(self) -> Iterator[tuple[float, float]]:
        self.reads += 1
        return super().__iter__()


def test_a_long_curve_is_read_a_few_times_not_once_per_point() -> None:
    rates = _Counted((step, 1e-4) for step in range(1, 3001))
    falling = [(step, 2 / step + 1.0) for step in range(1, 3001)]
    diagnose(Curve(train=falling, learning_rate=rates, total_steps=3000))
    assert 0 < rates.reads < 30
