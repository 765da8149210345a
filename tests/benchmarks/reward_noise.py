"""How often the rules of rewards (GRPO) warn falsely, and miss a failure, by shape and noise.

    python -m tests.benchmarks.reward_noise [--seeds 60] [--first 10000]

Rewards are drawn directly, as a shape plus noise of a known kind, each with the same standard
deviation: independent, autocorrelated (AR(1)), heavy-tailed (Student's t with three degrees of
freedom), with a small random walk, or with prompts that come back each epoch. A run is diagnosed as
it grows. ``no_learning`` is false where the shape has moved by a quarter of the rewards' standard
deviation or more; any other warning is false unless the curve is labeled with it.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator

from ftwizard.diagnosis import Curve, Point
from ftwizard.diagnosis.reinforcement import FLAT_SHARE
from tests.benchmarks.objective_diagnosis import list_looks, list_warnings

SPREAD = 0.45
"""Standard deviation of the rewards of a step's completions."""
Shape = Callable[[float], float]
"""The expected reward by the progress from 0 to 1, in standard deviations of the rewards."""
SHAPES: dict[str, Shape] = {
    "flat": lambda done: 0.0,
    "rises": lambda done: done,
    "rises slowly": lambda done: 0.4 * done,
    "saturates": lambda done: 1 - math.exp(-8 * done),
    "saturates at once": lambda done: 1 - math.exp(-40 * done),
    "steps up at 30%": lambda done: 0.8 * (done > 0.3),
    "rises, half is lost": lambda done: 2 * done if done < 0.5 else 1.5 - done,
    "collapses": lambda done: 2 * done if done < 0.5 else max(-0.5, 3 - 4 * done),
}
EVALUATIONS: dict[str, Shape] = {
    "validation rises": lambda done: 0.8 * done,
    "validation saturates": lambda done: 0.8 * (1 - math.exp(-6 * done)),
    "validation is flat": lambda done: 0.0,
    "validation falls back": lambda done: 0.8 * min(2 * done, 2 - 2 * done),
    "validation falls below its start": lambda done: min(0.5 * done, 0.6 - 0.9 * done),
}
FALLING = {"validation falls back", "validation falls below its start"}


def draw_noise(kind: str, chance: random.Random, count: int) -> Iterator[float]:
    """Yield noise with a standard deviation of 1 (the random walk reaches 1 in addition)."""
    level, walk = chance.gauss(0, 1), 0.0
    period = max(4, count // 6)
    prompts = [chance.gauss(0, 1) for _ in range(period)]
    rho = float(kind.removeprefix("AR ")) if kind.startswith("AR ") else 0.0
    for index in range(count):
        shock = chance.gauss(0, 1)
        if kind == "t3":
            shock /= math.sqrt(chance.gammavariate(1.5, 2))  # variance 1
        level = rho * level + math.sqrt(1 - rho * rho) * shock
        walk += chance.gauss(0, 1 / math.sqrt(count)) if kind == "walk" else 0.0
        yield 0.7 * prompts[index % period] + 0.7 * shock if kind == "epochs" else level + walk


NOISES = ("white", "AR 0.5", "AR 0.7", "AR 0.9", "t3", "walk", "epochs")


def draw_rewards(
    shape: Shape, kind: str, seed: int, steps: int, noise: float, validation: Shape | None = None
) -> Curve:
    """Return a run whose mean reward has ``noise``, in standard deviations of the rewards."""
    chance = random.Random(seed)
    rewards: list[Point] = [
        (step, SPREAD * (1 + shape(step / steps) + noise * value))
        for step, value in enumerate(draw_noise(kind, chance, steps), 1)
    ]
    metrics: dict[str, list[Point]] = {
        "reward": rewards,
        "reward_std": [(step, SPREAD * chance.uniform(0.9, 1.1)) for step, _ in rewards],
    }
    if validation is not None:
        every, count = steps // 15, 15
        metrics["eval_reward"] = [
            (every * k, SPREAD * (1 + validation(k / count) + 0.1 * value))
            for k, value in enumerate(draw_noise(kind, chance, count), 1)
        ]
    return Curve(
        train=[(step, chance.gauss(0, 0.02)) for step, _ in rewards], metrics=metrics,
        objective="grpo", total_steps=steps, learning_rate=[(step, 1e-6) for step, _ in rewards],
    )  # fmt: skip


def _judge(curve: Curve, shape: Shape, label: str | None) -> tuple[bool, set[str]]:
    """Return whether the label was warned of, and the false warnings, while a run grows."""
    total = curve.total_steps or 1
    is_hit, false = False, set[str]()
    for look in list_looks(curve):
        codes = list_warnings(look)
        is_hit |= label in codes
        levels = [shape(step / total) for step, _ in look.get_metric("reward")]
        # What was flat so far is rightly called so, whatever follows.
        moved = max(levels) - min(levels) >= FLAT_SHARE
        false |= codes - {label} - (set() if moved else {"no_learning"})
    return is_hit, false


def measure(seeds: range) -> None:
    """Print misses and false warnings of each shape and noise."""
    print(f"{'shape':34}{'noise':>8}{'missed':>8}{'false':>8}  which")
    names = [*SHAPES, *EVALUATIONS]
    for name in names:
        label = {"flat": "no_learning", "collapses": "reward_collapse"}.get(name)
        label = "overfit" if name in FALLING else label
        shape = SHAPES.get(name, SHAPES["rises"])
        for kind in NOISES:
            missed, which, false = 0, Counter[str](), 0
            for seed in seeds:
                steps, noise = (60, 120, 300, 1000)[seed % 4], (0.1, 0.3)[seed // 4 % 2]
                curve = draw_rewards(shape, kind, seed, steps, noise, EVALUATIONS.get(name))
                is_hit, wrong = _judge(curve, shape, label)
                missed += label is not None and not is_hit
                false += bool(wrong)
                which.update(wrong)
            listed = ", ".join(f"{code} {count}" for code, count in which.most_common(3))
            print(f"{name:34}{kind:>8}{missed / len(seeds):8.0%}{false / len(seeds):8.0%}  {listed}",
                  flush=True)  # fmt: skip


def main() -> None:
    """Measure on simulated rewards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=60)
    parser.add_argument("--first", type=int, default=10000)
    arguments = parser.parse_args()
    measure(range(arguments.first, arguments.first + arguments.seeds))


if __name__ == "__main__":
    main()
