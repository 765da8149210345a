"""Diagnosis of preference tuning and reinforcement: failures found, no false warnings."""

from __future__ import annotations

import math
import random
from dataclasses import replace

import pytest

from ftwizard.diagnosis import Curve, CurveVerdict, diagnose, to_findings
from ftwizard.diagnosis.pair_lengths import judge_lengths
from ftwizard.diagnosis.reinforcement import measure_trend
from ftwizard.runs import loss_curves
from tests.benchmarks.objective_diagnosis import follow
from tests.benchmarks.reward_noise import SHAPES, draw_noise, draw_rewards
from tests.helpers.objective_curves import (
    KINDS,
    Kind,
    Pairs,
    Prompts,
    simulate_pairs,
    simulate_prompts,
)

SEEDS = range(6)
MAX_FAILED = 1
"""Seeds of a kind that may miss, or warn falsely: the rates are in the benchmark."""


@pytest.mark.parametrize("kind", KINDS.values(), ids=list(KINDS))
def test_failure_is_found_while_it_grows_and_nothing_else_is_warned_of(kind: Kind) -> None:
    missed = false = 0
    for seed in SEEDS:
        ever, _ = follow(kind.draw(seed))
        missed += kind.label is not None and kind.label not in ever
        false += bool(ever - {kind.label} - kind.also)
    assert missed <= MAX_FAILED
    assert false <= MAX_FAILED


def find(curve: Curve, code: str) -> str:
    """Return the message and the action of a finding."""
    findings = {item.code: item for item in to_findings(diagnose(curve))}
    return f"{findings[code].message} → {findings[code].action}"  # type: ignore[index]


def draw(name: str, seed: int = 1) -> Curve:
    return KINDS[name].draw(seed)


def test_displacement_states_log_probabilities_of_both_answers() -> None:
    curve = draw("dpo: displaced")
    text = find(curve, "likelihood_displacement")
    assert "Chosen answers become less likely (log-probability -" in text
    assert "accuracy is 9" in text or "accuracy is 100%" in text
    assert "rejected ones only fall further" in text
    bare = {name: points for name, points in curve.metrics.items() if "logps" not in name}
    assert "(reward " in find(replace(curve, metrics=bare), "likelihood_displacement")


def test_displacement_needs_pairs_that_are_told_apart() -> None:
    curve = draw("dpo: displaced")
    unsure = {
        name: [(step, 0.75) for step, _ in points] if name.endswith("accuracies") else points
        for name, points in curve.metrics.items()
    }
    assert "likelihood_displacement" not in _codes(diagnose(replace(curve, metrics=unsure)))


def test_displacement_ignores_a_rejected_answer_that_alone_falls() -> None:
    curve = simulate_pairs(3, replace(Pairs(), margin=4.0, spread=0.3, chosen=0.0))
    assert "likelihood_displacement" not in _codes(diagnose(curve))


def test_rewards_of_nan_are_left_out() -> None:
    """A batch without a finite log-probability is logged as NaN, in real runs too."""
    curve = draw("dpo: displaced")
    gaps = {
        name: [(step, math.nan if step % 7 == 0 else value) for step, value in points]
        for name, points in curve.metrics.items()
    }
    assert "likelihood_displacement" in _codes(diagnose(replace(curve, metrics=gaps)))


def test_separated_pairs_are_no_zero_loss_and_not_too_good() -> None:
    """The loss of DPO is 0 once pairs are told apart; in SFT, no token would count."""
    curve = replace(draw("dpo: separated, chosen rise"), steps_per_epoch=1000.0)
    zeros = replace(
        curve,
        train=[(step, 0.0 if step > 40 else loss) for step, loss in curve.train],
        evals=[(step, 0.001) for step, _ in curve.evals],
    )
    assert {"zero_loss", "too_good", "spiky", "spike", "memorizing"}.isdisjoint(
        _codes(diagnose(zeros))
    )
    assert diagnose(replace(zeros, objective="sft", metrics={})).pattern == "zero_loss"


def test_no_learning_names_accuracy_and_the_learning_rate() -> None:
    text = find(draw("dpo: learning rate too low"), "no_learning")
    assert "no better than by chance (accuracy " in text and "1e-6" in text
    assert "Set a learning rate above 0" in find(
        replace(draw("dpo: learns"), learning_rate=[(step, 0.0) for step in range(9)]),
        "no_learning",
    )


def test_validation_accuracy_that_falls_is_overfitting_though_the_loss_is_unknown() -> None:
    curve = draw("dpo: learns")
    steps = [step for step, _ in curve.evals]
    levels = [0.6, 0.7, 0.78, 0.8, 0.81, 0.8, 0.79, 0.74, 0.7, 0.66, 0.62, 0.6]
    metrics = {**curve.metrics, "eval_rewards_accuracies": list(zip(steps, levels, strict=True))}
    verdict = diagnose(replace(curve, metrics=metrics, evals=()))
    assert verdict.pattern == "overfit" and verdict.onset_step in steps[3:6]
    assert "Validation accuracy has fallen (8" in to_findings(verdict)[0].message


def test_loss_that_rises_while_the_model_did_not_move_is_no_overfitting() -> None:
    rising = [(step, 0.69 + 0.001 * step) for step in range(5, 121, 5)]
    codes = []
    for name in ("dpo: learns", "dpo: learning rate too low"):
        curve = draw(name)
        # Few pairs a step: their accuracy does not show by itself that nothing was learned.
        better = [(step, 0.65) for step, _ in curve.train]
        metrics = {**curve.metrics, "rewards_accuracies": better}
        codes.append(_codes(diagnose(replace(curve, evals=rising, metrics=metrics))))
    assert "overfit" in codes[0] and "overfit" not in codes[1]


def test_best_of_reinforcement_is_the_highest_validation_reward() -> None:
    curve = replace(draw("grpo: overfits"), evals=[(10, 0.001), (120, 0.0001)])
    rewards = dict(curve.metrics["eval_reward"])
    verdict = diagnose(replace(curve, checkpoints=[10, 20, 120]))
    assert verdict.best_reward == max(rewards.values()) == rewards[verdict.best_step or 0]
    assert verdict.best_loss is None
    assert verdict.best_on_disk == max((10, 20, 120), key=rewards.__getitem__)
    assert "Best: reward 0." in find(curve, "overfit")


def test_reward_without_signal_says_whether_prompts_are_too_easy_or_too_hard() -> None:
    assert "solved: stop, or use harder ones" in find(draw("grpo: solved"), "no_reward_signal")
    text = find(draw("grpo: never succeeds"), "no_reward_signal")
    assert "Use easier prompts" in text and "% of groups" in text


def test_reward_without_signal_is_found_in_logs_of_older_versions() -> None:
    curve = draw("grpo: never succeeds")
    metrics = {**curve.metrics, "reward_std": [(step, 0.0) for step, _ in curve.train]}
    del metrics["frac_reward_zero_std"]
    assert "no_reward_signal" in _codes(diagnose(replace(curve, metrics=metrics)))


def test_growing_completions_are_a_hint_while_the_reward_still_rises() -> None:
    longer = replace(
        Prompts(), length=lambda done: 150 + 450 * done, limit=4096, steps=200,
        success=lambda done: 0.1 + 0.75 * done,
    )  # fmt: skip
    findings = {item.code: item for item in to_findings(diagnose(simulate_prompts(2, longer)))}
    assert findings["length_hacking"].severity == "info"
    findings = {item.code: item for item in to_findings(diagnose(draw("grpo: runs away")))}
    assert findings["length_hacking"].severity == "warning"


def add_scores(curve: Curve, scores: list[float]) -> Curve:
    """Return the curve with scores on general text, before the first step and at evaluations."""
    every = (curve.total_steps or 0) / (len(scores) - 1)
    points = [(round(every * n), score) for n, score in enumerate(scores)]
    return replace(curve, metrics={**curve.metrics, "eval_general_logp": points})


@pytest.mark.parametrize(
    ("kind", "gain"),
    [("grpo: learns", "reward"), ("dpo: learns", "margin"), ("kto: learns", "margin")],
)
@pytest.mark.parametrize(
    "falls",
    [
        [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
        [0.0, 0.0, 0.0, 0.05, 0.15, 0.35, 0.6],
        [0.0, 0.3, 0.45, 0.52, 0.56, 0.58, 0.59],
        [0.0, 0.02, -0.02, 0.1, 0.18, 0.24, 0.34, 0.38, 0.41, 0.47, 0.5, 0.52, 0.55],
    ],
    ids=["steadily", "late", "at once", "with noise"],
)
def test_general_text_that_becomes_less_likely_is_the_price_of_a_reward(
    kind: str, gain: str, falls: list[float]
) -> None:
    text = find(add_scores(draw(kind), [-2.5 - fall for fall in falls]), "reward_hacking")
    assert f"The {gain} rises (" in text
    assert "while general text becomes less likely (log-probability -2." in text
    assert "higher beta" in text and "falling score" not in text


@pytest.mark.parametrize("kind", ["grpo: learns", "dpo: learns", "kto: learns"])
def test_general_text_that_stays_as_likely_is_no_price(kind: str) -> None:
    """It may fall by what models lose that are no failures; and by more before it recovers."""
    curve = draw(kind)
    for falls in (
        [0.0] * 7,
        [0, 0.05, 0.11, 0.1, 0.11, 0.12, 0.11],
        [0, 0.4, 0.5, 0.4, 0.2, 0.1, 0],
    ):
        scored = add_scores(curve, [-2.5 - fall for fall in falls])
        assert "reward_hacking" not in _codes(diagnose(scored)), falls


def test_general_text_is_no_price_of_a_reward_that_does_not_rise() -> None:
    scored = add_scores(draw("grpo: reward flat"), [-2.5 - n / 10 for n in range(7)])
    assert "reward_hacking" not in _codes(diagnose(scored))


def test_general_text_says_nothing_of_a_validation_loss_that_rises() -> None:
    """A log-probability that rises is no accuracy by which to judge instead of the loss."""
    overfit = draw("dpo: overfits")
    scored = add_scores(overfit, [-2.5 + n / 100 for n in range(13)])
    assert find(scored, "overfit") == find(overfit, "overfit")


def test_validation_score_that_falls_while_the_reward_rises_is_reward_hacking() -> None:
    curve = draw("grpo: learns")
    scores = [(step, 0.7 - 0.25 * step / 120) for step in range(10, 121, 10)]
    text = find(replace(curve, scores={"eval_accuracy": scores}), "reward_hacking")
    assert "while accuracy falls (0.6" in text and "falling score" in text
    same = [(step, 0.7) for step, _ in scores]
    assert "reward_hacking" not in _codes(diagnose(replace(curve, scores={"eval_accuracy": same})))


def test_general_text_of_a_log_is_a_metric_and_neither_a_loss_nor_an_accuracy() -> None:
    rows = [
        {"step": 0, "eval_general_logp": -2.5},
        *({"step": step, "reward": 0.5, "loss": 0.0} for step in range(1, 5)),
        {"step": 4, "eval/general_logp": -2.6, "eval_reward": 0.4},
    ]
    curve = loss_curves.from_rows(rows[:-1])
    assert curve.metrics["eval_general_logp"] == [(0, -2.5)]
    assert not curve.evals and not curve.scores and curve.objective == "grpo"
    assert loss_curves.from_rows(rows[-1:]).metrics["eval_general_logp"] == [(4, -2.6)]


def test_rising_kl_of_kto_is_per_answer_and_of_grpo_per_token() -> None:
    assert "nats per answer" in find(draw("kto: KL explodes"), "kl_explosion")
    assert "nats per token" in find(draw("grpo: leaves the reference"), "kl_explosion")


def test_zero_kl_of_kto_counts_only_if_the_model_moved() -> None:
    curve = draw("kto: learns")
    zero = {**curve.metrics, "kl": [(step, 0.0) for step, _ in curve.train]}
    finding = {f.code: f for f in to_findings(diagnose(replace(curve, metrics=zero)))}["kl_zero"]
    assert finding.severity == "info"
    still = draw("kto: learning rate too low")
    zero = {**still.metrics, "kl": [(step, 0.0) for step, _ in still.train]}
    assert "kl_zero" not in _codes(diagnose(replace(still, metrics=zero)))


@pytest.mark.parametrize("name", KINDS)
def test_message_of_every_kind_is_a_sentence_without_gaps(name: str) -> None:
    for finding in to_findings(diagnose(draw(name))):
        assert "None" not in finding.message and "nan" not in finding.message
        assert "(?" not in finding.message and finding.message.rstrip().endswith(".")
        assert finding.action.endswith(".")


def test_curve_of_few_steps_is_not_judged() -> None:
    verdict = diagnose(draw("grpo: reward collapses").until(9))
    assert verdict.pattern == "insufficient"
    assert to_findings(verdict)[0].message.startswith("9 logged rewards so far. Reward ")


def test_names_of_trl_and_of_loggers_are_read() -> None:
    """TRL logs ``rewards/margins``; W&B prefixes ``train/`` and ``eval/``; events have ``_``."""
    rows = [
        {
            "step": step, "loss": 0.6, "train/rewards/accuracies": 0.7, "rewards/chosen": 0.1,
            "rewards_margins": 0.2, "eval/rewards/accuracies": 0.8,
        }
        for step in range(1, 9)
    ]  # fmt: skip
    curve = loss_curves.from_rows(rows)
    assert curve.objective == "dpo"
    assert set(curve.metrics) == {
        "rewards_accuracies", "rewards_chosen", "rewards_margins", "eval_rewards_accuracies",
    }  # fmt: skip
    assert len(curve.scores["eval_rewards_accuracies"]) == 8
    kto = [{"step": 1, "loss": 0.5, "kl": 0.0, "rewards/chosen": 0.1}]
    assert loss_curves.from_rows(kto).objective == "kto"
    former = [{"step": 1, "reward": 0.5, "completion_length": 9.0}]
    assert loss_curves.from_rows(former).get_metric("completions_mean_length") == [(1, 9.0)]


def _codes(verdict: CurveVerdict) -> set[str]:
    return {verdict.pattern, *verdict.also}


def test_length_rule_that_tells_pairs_apart_is_reported_with_its_interval() -> None:
    chance = random.Random(4)
    pairs = [(chance.randint(80, 200), chance.randint(20, 110)) for _ in range(300)]
    rule = judge_lengths(pairs)
    assert rule is not None and rule.winner == "longer" and rule.is_telling
    assert 0.7 < rule.low < rule.accuracy < rule.high < 1
    assert rule.describe().startswith(f"Length alone tells {100 * rule.accuracy:.0f}% of 300 pairs")
    assert "the longer answer is the chosen one" in rule.describe()
    shorter = judge_lengths((rejected, chosen) for chosen, rejected in pairs)
    assert shorter is not None and shorter.winner == "shorter"
    assert shorter.accuracy == rule.accuracy


def test_length_rule_of_unrelated_lengths_rarely_tells() -> None:
    telling = 0
    for seed in range(300):
        chance = random.Random(seed)
        rule = judge_lengths((chance.randint(1, 400), chance.randint(1, 400)) for _ in range(30))
        telling += rule is not None and rule.is_telling
    assert telling <= 1


def test_length_rule_needs_pairs_of_different_lengths() -> None:
    assert judge_lengths([]) is None
    assert judge_lengths([(5, 5)] * 500 + [(6, 5)] * 10) is None
    equal = judge_lengths([(5, 5)] * 500 + [(6, 5)] * 30)
    assert equal is not None and not equal.is_telling and equal.equal == 500


def test_usual_share_of_longer_chosen_answers_is_not_telling() -> None:
    rule = judge_lengths([(9, 5)] * 62 + [(5, 9)] * 38)
    assert rule is not None and rule.accuracy == 0.62 and not rule.is_telling


def _count_warnings(shape: str, noise: str, code: str, steps: int = 300) -> int:
    """Count the seeds of eight whose whole curve is warned of."""
    curves = (draw_rewards(SHAPES[shape], noise, seed, steps, 0.3) for seed in range(8))
    return sum(code in _codes(diagnose(curve)) for curve in curves)


@pytest.mark.parametrize("noise", ["white", "AR 0.5", "AR 0.7", "t3", "epochs"])
def test_reward_that_rises_is_not_flat_whatever_the_noise(noise: str) -> None:
    for shape in ("rises", "saturates", "saturates at once", "steps up at 30%"):
        assert _count_warnings(shape, noise, "no_learning") <= 1


@pytest.mark.parametrize("noise", ["AR 0.5", "AR 0.7"])
def test_noise_that_lasts_is_no_collapse(noise: str) -> None:
    assert _count_warnings("flat", noise, "reward_collapse") <= 1
    assert _count_warnings("collapses", noise, "reward_collapse") == 8


def test_flat_reward_is_proven_by_enough_steps() -> None:
    assert _count_warnings("flat", "white", "no_learning", 1000) >= 6
    assert _count_warnings("flat", "AR 0.5", "no_learning", 2000) >= 5


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_error_of_batch_means_covers_noise_that_lasts(rho: float) -> None:
    """The halves of pure noise rarely differ by three errors (1.3% for Student's t with 10)."""
    far = 0
    for seed in range(100):
        noise = list(enumerate(draw_noise(f"AR {rho}", random.Random(seed), 200)))
        shift = measure_trend(noise)
        assert shift is not None
        far += abs(shift.z) > 3
    assert far <= 4
