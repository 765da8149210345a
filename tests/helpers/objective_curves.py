"""Curves of preference tuning and reinforcement, simulated from pairs and prompts.

A run is a population of pairs, or of prompts, that a model learns at different speeds. A step logs
the means over the few that it drew, so noise, ties and zeros are those of real logs.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from statistics import fmean, pstdev
from typing import Any

from ftwizard.diagnosis import Curve, Pattern, Point
from ftwizard.objectives import ObjectiveName

LN2 = math.log(2)


@dataclass(frozen=True)
class Pairs:
    """Learning from pairs."""

    margin: float = 1.5
    """Mean margin at the end, in nats of reward."""
    spread: float = 0.9
    """Standard deviation of the margin between pairs, as a multiple of its mean."""
    chosen: float = 0.2
    """Reward of chosen answers at the end, as a share of the margin; negative: less likely."""
    noise: float = 0.15
    """Standard deviation of the reward of a pair, at any time."""
    unseen: float = 0.7
    """Margin of validation pairs, as a share of that of training pairs."""
    fade: float = 0.0
    """Share of the validation margin that is lost in the second half."""
    rows: int = 16
    steps: int = 100
    evaluations: int = 12
    kl: Callable[[float], float] | None = None
    """KL estimate by the progress from 0 to 1; None outside KTO."""
    growth: Callable[[float], float] = lambda done: 1 - math.exp(-3 * done)


def simulate_pairs(seed: int, settings: Pairs, objective: ObjectiveName = "dpo") -> Curve:
    """Return the curve of a run that learns from pairs."""
    chance = random.Random(seed)
    speeds = [chance.gauss(1, settings.spread) for _ in range(400)]
    held_out = [chance.gauss(1, settings.spread) for _ in range(64)]
    walks = [0.0] * len(held_out)
    series: dict[str, list[Point]] = defaultdict(list)
    train, evals = [], []
    every = settings.steps // settings.evaluations if settings.evaluations else 0

    def log(step: int, drawn: list[float], level: float, prefix: str) -> float:
        # Validation pairs are the same each time, and move a little with every step.
        jumps = [chance.gauss(0, settings.noise) if step > 1 else 0.0 for _ in drawn]
        if prefix:
            share = 1 / math.sqrt(max(1, settings.evaluations))
            walks[:] = jumps = [a + share * b for a, b in zip(walks, jumps, strict=True)]
        margins = [level * speed + jump for speed, jump in zip(drawn, jumps, strict=True)]
        chosen = [
            settings.chosen * level + chance.gauss(0, settings.noise * (1 + level / 4))
            for _ in drawn
        ]
        words = [chance.lognormvariate(4.5, 0.5) for _ in drawn]
        values = {
            "rewards_margins": fmean(margins),
            "rewards_chosen": fmean(chosen),
            "rewards_rejected": fmean(chosen) - fmean(margins),
            "logps_chosen": fmean(10 * c - w for c, w in zip(chosen, words, strict=True)),
            "logps_rejected": -fmean(words) + 10 * (fmean(chosen) - fmean(margins)),
        }
        if objective == "dpo":
            values["rewards_accuracies"] = fmean(margin > 0 for margin in margins)
        for name, value in values.items():
            series[prefix + name].append((step, value))
        if objective == "kto":
            return fmean(1 / (1 + math.exp(max(-60, min(60, margin / 2)))) for margin in margins)
        return fmean(max(0.0, -m) + math.log1p(math.exp(-abs(m))) for m in margins)

    for step in range(1, settings.steps + 1):
        done = step / settings.steps
        level = settings.margin * settings.growth(done)
        train.append((step, log(step, chance.choices(speeds, k=settings.rows), level, "")))
        if settings.kl is not None:
            series["kl"].append((step, max(0.0, settings.kl(done) * chance.lognormvariate(0, 0.3))))
        if every and step % every == 0:
            faded = 1 - settings.fade * max(0.0, 2 * done - 1) * 2
            evals.append((step, log(step, held_out, level * settings.unseen * faded, "eval_")))
    return Curve(
        train=train, evals=evals, metrics=dict(series), objective=objective,
        total_steps=settings.steps, warmup_steps=settings.steps // 20, validates=bool(evals),
        learning_rate=[(step, 1e-5 * (1 - step / settings.steps) + 1e-9) for step, _ in train],
        scores={"eval_rewards_accuracies": series["eval_rewards_accuracies"]} if evals and objective == "dpo" else {},
    )  # fmt: skip


@dataclass(frozen=True)
class Prompts:
    """Learning from rewards."""

    success: Callable[[float], float] = lambda done: 0.3 + 0.35 * done
    """Share of completions that succeed, by the progress from 0 to 1."""
    difficulty: float = 1.5
    """Standard deviation of the difficulty of prompts, in logits."""
    length: Callable[[float], float] = lambda done: 200 + 40 * done
    limit: int = 512
    entropy: Callable[[float], float] = lambda done: 0.7 - 0.2 * done
    kl: Callable[[float], float] = lambda done: 0.05 * done
    second: Callable[[float], float] | None = None
    """Mean of a second reward function, which is not part of the success."""
    held_out: Callable[[float], float] | None = None
    """Share of validation prompts that succeed."""
    groups: int = 4
    completions: int = 8
    steps: int = 120


def simulate_prompts(seed: int, settings: Prompts) -> Curve:
    """Return the curve of a run that learns from the rewards of its completions."""
    chance = random.Random(seed)
    series: dict[str, list[Point]] = defaultdict(list)
    train = []
    for step in range(1, settings.steps + 1):
        done = step / settings.steps
        groups = [
            _draw_group(chance, settings, settings.success(done)) for _ in range(settings.groups)
        ]
        rewards = [reward for group in groups for reward in group]
        second = settings.second(done) + chance.gauss(0, 0.1) if settings.second else None
        lengths = [
            settings.length(done) * chance.lognormvariate(-0.08, 0.4)
            for _ in range(settings.groups * settings.completions)
        ]
        values = {
            "reward": fmean(rewards) + (second or 0.0),
            "reward_std": pstdev(rewards),
            "frac_reward_zero_std": fmean(pstdev(group) == 0 for group in groups),
            "completions_mean_length": fmean(min(length, settings.limit) for length in lengths),
            "completions_clipped_ratio": fmean(length > settings.limit for length in lengths),
            "entropy": settings.entropy(done) * chance.lognormvariate(0, 0.1),
            "kl": settings.kl(done) * chance.lognormvariate(0, 0.4),
            "rewards_correct_mean": fmean(rewards),
        }
        if second is not None:
            values["rewards_format_mean"] = second
        if settings.held_out and step % (settings.steps // 12) == 0:
            values["eval_reward"] = fmean(
                reward
                for _ in range(40)
                for reward in _draw_group(chance, settings, settings.held_out(done))
            )
        for name, value in values.items():
            series[name].append((step, value))
        train.append((step, chance.gauss(0, 0.02)))
    return Curve(
        train=train, metrics=dict(series), objective="grpo", total_steps=settings.steps,
        learning_rate=[(step, 1e-6) for step, _ in train],
    )  # fmt: skip


def _draw_group(chance: random.Random, settings: Prompts, success: float) -> list[float]:
    if success in (0, 1):
        return [float(success)] * settings.completions
    ability = math.log(success / (1 - success)) + chance.gauss(0, settings.difficulty)
    share = 1 / (1 + math.exp(-ability))
    return [float(chance.random() < share) for _ in range(settings.completions)]


def _peak(done: float) -> float:
    return 0.3 + 0.8 * done if done < 0.5 else max(0.02, 0.7 - 2.4 * (done - 0.5))


@dataclass(frozen=True)
class Kind:
    """Curves of one kind, and the pattern that must be found."""

    draw: Callable[[int], Curve]
    label: Pattern | None
    """None: no warning at all."""
    also: frozenset[Pattern] = frozenset()
    """Warnings that are right as well."""


def _pairs(
    label: Pattern | None, *also: Pattern, objective: ObjectiveName = "dpo", **changes: object
) -> Kind:
    settings = replace(Pairs(), **changes)  # type: ignore[arg-type]
    return Kind(lambda seed: simulate_pairs(seed, settings, objective), label, frozenset(also))


def _prompts(label: Pattern | None, *also: Pattern, **changes: object) -> Kind:
    settings = replace(Prompts(), **changes)  # type: ignore[arg-type]
    return Kind(lambda seed: simulate_prompts(seed, settings), label, frozenset(also))


KINDS: dict[str, Kind] = {
    "dpo: learns": _pairs(None),
    "dpo: chosen fall, accuracy 75%": _pairs(None, chosen=-0.5, spread=1.2, margin=0.6),
    "dpo: separated, chosen rise": _pairs(None, margin=3.0, spread=0.4),
    "dpo: separated, chosen fall a little": _pairs(None, margin=3.0, spread=0.4, chosen=-0.1),
    "dpo: learns, two pairs a step": _pairs(None, rows=2),
    "dpo: learns slowly": _pairs(None, margin=0.4, spread=0.8, noise=0.1),
    "dpo: displaced": _pairs("likelihood_displacement", margin=3.0, spread=0.4, chosen=-0.8),
    "dpo: displaced, two pairs a step": _pairs(
        "likelihood_displacement", margin=3.0, spread=0.4, chosen=-0.8, rows=2
    ),
    "dpo: learning rate too low": _pairs("no_learning", margin=0.005),
    "dpo: random labels": _pairs("no_learning", "diverged", "overfit", margin=0.01, noise=0.5),
    "dpo: margins explode": _pairs("margin_explosion", "diverged", "overfit", margin=30, spread=0.5),
    "dpo: overfits": _pairs("overfit", unseen=0.7, fade=0.9, spread=0.6, margin=4),
    "dpo: memorizes": _pairs("overfit", "diverged", "memorizing", unseen=0.0, spread=0.3, margin=3),
    "kto: learns": _pairs(None, objective="kto", kl=lambda done: 4 * done),
    "kto: KL explodes": _pairs(
        "kl_explosion", objective="kto", margin=4, spread=0.5, kl=lambda done: 200 * done**2
    ),
    "kto: learning rate too low": _pairs(
        "no_learning", objective="kto", margin=0.005, kl=lambda done: 0.01
    ),
    "grpo: learns": _prompts(None),
    "grpo: learns late": _prompts(
        None, success=lambda done: 0.15 + 0.5 * max(0.0, done - 0.15), steps=300
    ),
    "grpo: learns, two groups of four": _prompts(None, groups=2, completions=4),
    "grpo: reasons longer": _prompts(
        None, length=lambda done: 150 + 120 * done, success=lambda done: 0.2 + 0.5 * done
    ),
    "grpo: never succeeds": _prompts("no_reward_signal", success=lambda done: 0.002),
    "grpo: solved": _prompts(
        "no_reward_signal", success=lambda done: min(0.998, 0.6 + 0.8 * done)
    ),
    "grpo: reward flat": _prompts("no_learning", success=lambda done: 0.4, steps=300),
    "grpo: reward collapses": _prompts("reward_collapse", "no_reward_signal", success=_peak),
    "grpo: cut off": _prompts("completions_clipped", length=lambda done: 480.0),
    "grpo: runs away": _prompts(
        "length_hacking", "completions_clipped", limit=4096,
        length=lambda done: 150 * math.exp(2 * done),
        success=lambda done: 0.3 + 0.3 * min(1, 2 * done),
    ),
    "grpo: one reward for another": _prompts(
        "reward_hacking", success=lambda done: 0.6 - 0.4 * done, second=lambda done: 0.2 + 0.9 * done
    ),
    "grpo: entropy collapses": _prompts("entropy_collapse", entropy=lambda done: 0.6 * math.exp(-5 * done)),
    "grpo: leaves the reference": _prompts("kl_explosion", kl=lambda done: 6 * done**2),
    "grpo: overfits": _prompts("overfit", held_out=lambda done: 0.55 - 0.3 * max(0, 2 * done - 1)),
    "grpo: validates": _prompts(None, held_out=lambda done: 0.3 + 0.25 * done),
}  # fmt: skip


def list_events(curve: Curve) -> list[dict[str, Any]]:
    """Return the events of a run with this curve, as its worker writes them."""
    logs: dict[float, dict[str, float]] = defaultdict(dict)
    evaluations: dict[float, dict[str, float]] = defaultdict(dict)
    for name, points in {**curve.metrics, "loss": curve.train, "eval_loss": curve.evals}.items():
        for step, value in points:
            (evaluations if name.startswith("eval_") else logs)[step][name] = value
    total = curve.total_steps
    events: list[dict[str, Any]] = [
        {
            "kind": "phase",
            "phase": "training",
            "step": 0,
            "total": total,
            "objective": curve.objective,
        }
    ]
    for step, values in sorted(logs.items()):
        common = {"step": int(step), "epoch": step / 100, "tokens": 900 * int(step)}
        events.append({"kind": "log", **common, "learning_rate": 5e-6, **values})
        if step in evaluations:
            events.append({"kind": "eval", "step": int(step), **evaluations[step]})
    return events
