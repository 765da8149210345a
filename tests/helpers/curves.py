"""Loss curves of each pattern, generated from functions of the step."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

from ftwizard.diagnosis import Curve, Point
from ftwizard.diagnosis.curve import RowEvidence


def falling(start: float, floor: float, time: float) -> Callable[[float], float]:
    """Return an exponential fall from ``start`` to ``floor`` with time constant ``time`` steps."""
    return lambda step: floor + (start - floor) * math.exp(-step / time)


def drawn(
    train: Callable[[float], float],
    evals: Callable[[float], float] | None,
    *,
    steps: int = 600,
    every: int = 5,
    evaluations: int = 20,
    noise: float = 0.03,
    eval_noise: float = 0.005,
    seed: int = 0,
    epochs: float | None = None,
    warmup: int = 0,
    rows: int | None = None,
) -> Curve:
    """Return the curve of two functions of the step, with normal noise on each.

    With ``rows``, the training loss of each step is the mean of so many rows, whose losses differ
    as those of real ones do: by about half, with a long tail.
    """
    chance = random.Random(seed)
    at = range(every, steps + 1, every)
    each = steps // evaluations

    def rate(step: float) -> float:
        if step < warmup:
            return 2e-4 * step / warmup
        return 1e-4 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    def noisy(value: float, by: float) -> float:
        return max(0.0, value + chance.gauss(0, by)) if value else 0.0

    def step_loss(value: float) -> float:
        if rows is None:
            return noisy(value, noise)
        tail = 0.5
        drawn = [chance.lognormvariate(-tail * tail / 2, tail) for _ in range(rows)]
        return value * sum(drawn) / rows

    measured: list[Point] = []
    if evals is not None:
        measured = [(s, noisy(evals(s), eval_noise)) for s in range(each, steps + 1, each)]
    return Curve(
        train=[(s, step_loss(train(s))) for s in at],
        evals=measured,
        learning_rate=[(s, rate(s)) for s in at],
        grad_norm=[(s, chance.lognormvariate(0, 0.3)) for s in at],
        total_steps=steps,
        steps_per_epoch=None if epochs is None else steps / epochs,
    )


def healthy(seed: int = 0, **options: float) -> Curve:
    """Return a run whose two losses still fall at the end."""
    fall = falling(2.0, 0.9, 300)
    return drawn(fall, lambda s: fall(s) + 0.04, seed=seed, **options)  # type: ignore[arg-type]


def flattening(seed: int = 0, onset: int = 300) -> Curve:
    """Return a run whose validation loss is flat from ``onset`` on."""
    fall = falling(2.0, 0.9, 70)
    return drawn(
        lambda s: fall(s) - 0.2 * max(0, s - onset) / 600, lambda s: fall(min(s, onset)), seed=seed
    )


def overfitting(
    seed: int = 0, onset: int = 240, rise: float = 0.2, eval_noise: float = 0.005
) -> Curve:
    """Return a run whose validation loss rises from ``onset`` on, by ``rise`` of itself at the end."""
    fall = falling(2.0, 0.9, 70)

    def evals(step: float) -> float:
        return fall(min(step, onset)) * (1 + rise * max(0, step - onset) / (600 - onset))

    def train(step: float) -> float:
        return fall(step) * (1 - 0.6 * max(0, step - onset) / (600 - onset))

    return drawn(train, evals, seed=seed, eval_noise=eval_noise)


def staircase(
    seed: int = 0, *, epochs: int = 3, with_epochs: bool = True, validated: bool = True
) -> Curve:
    """Return a run whose training loss falls by a quarter at each epoch's end, and only there."""
    length = 600 / epochs
    fall = falling(2.0, 1.0, 40)

    def train(step: float) -> float:
        past = int((step - 1) / length)
        return fall(length * 0.9) * 0.75**past if past else fall(step)

    def evals(step: float) -> float:
        return fall(min(step, length)) * (1 + 0.03 * int((step - 1) / length))

    return drawn(
        train,
        evals if validated else None,
        seed=seed,
        epochs=epochs if with_epochs else None,
        noise=0.02,
    )


def running_away(seed: int = 0, onset: int = 300) -> Curve:
    """Return a run whose losses rise to that of random guessing over 32,000 tokens."""
    fall, top = falling(2.0, 0.9, 70), math.log(32_000)

    def loss(step: float) -> float:
        away = 1 - math.exp(-max(0, step - onset) / 12)
        return fall(step) + (top - fall(step)) * away

    return drawn(loss, loss, seed=seed)


def one_spike(seed: int = 0, at: int = 300, height: float = 1.5) -> Curve:
    """Return a run whose losses jump once and recover within a few logs."""
    fall = falling(2.0, 0.9, 150)

    def loss(step: float) -> float:
        return fall(step) + (height * math.exp(-(step - at) / 9) if step >= at else 0)

    return drawn(loss, loss, seed=seed)


def still(seed: int = 0, level: float = 1.5) -> Curve:
    """Return a run that learns nothing."""
    return drawn(lambda s: level, lambda s: level, seed=seed, noise=0.01)


def jumpy(seed: int = 0) -> Curve:
    """Return a run whose loss always jumps by about a third."""
    fall = falling(2.0, 0.9, 150)
    return drawn(fall, fall, seed=seed, noise=0.35, every=10)


def mixed(seed: int = 0, *, share: float, rows: int = 8, length: int = 4) -> Curve:
    """Return a healthy run of a task whose loss becomes small, with general rows mixed in.

    General rows have ``length`` times as many tokens, and stay at a high loss.
    """
    task, general = falling(1.5, 0.1, 30), falling(2.1, 1.7, 100)
    chance = random.Random(seed)

    def draw(step: float) -> tuple[float, float]:
        is_general = chance.random() < share
        tokens = (30 * length if is_general else 30) * chance.lognormvariate(0, 0.5)
        loss = (general if is_general else task)(step) * chance.lognormvariate(-0.125, 0.5)
        return tokens * loss, tokens

    def step_loss(step: float) -> float:
        drawn_rows = [draw(step) for _ in range(rows)]
        return sum(total for total, _ in drawn_rows) / sum(tokens for _, tokens in drawn_rows)

    curve = drawn(step_loss, task, steps=200, every=1, noise=0, eval_noise=0.001, seed=seed)
    evidence = [RowEvidence(step, 20, 0.5 * loss / rows**0.5, None) for step, loss in curve.evals]
    return replace(curve, row_evidence=evidence, rows_per_step=float(rows), mixes_rows=True)


def slow_start(seed: int = 0) -> Curve:
    """Return a run that warms up over a third of its steps."""

    def learned(step: float) -> float:
        return step * step / 400 if step < 200 else 100 + (step - 200)

    fall = falling(2.0, 0.9, 60)
    return drawn(
        lambda s: fall(learned(s)), lambda s: fall(learned(s)) + 0.03, seed=seed, warmup=200
    )
