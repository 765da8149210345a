"""How often a whole evaluation ships a harmed or unchanged model, and a healthy one.

    python -m tests.benchmarks.verdict_rates [--runs 500] [--workers 2]

Simulated answers to n target, general and safety items each, judged with the five failures by the gate's
defaults. Goals: of models with a harm of 15 points, and of models that gained nothing, at most 2% are
shipped; of models that gained 25 points of 100 items without harm, at least 85% are.
"""

from __future__ import annotations

import argparse
import functools
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor

from tests.evaluate.test_verdict_rates import HARMS, Harm, evaluate

GAINS = (0.0, 0.05, -0.05, 0.15, -0.15, 0.25)
SIZES = (40, 100, 300)


def judge(n: int, gain: float, harm: Harm | None, seeds: Sequence[int]) -> Counter[str]:
    """Count verdicts, and the first reasons of those that do not ship."""
    counts: Counter[str] = Counter()
    for seed in seeds:
        evaluation = evaluate(seed, n, gain, harm)
        counts[evaluation.verdict] += 1
        if evaluation.verdict != "ship":
            reason = evaluation.reasons[0]
            counts[f"{reason.failure or ''} {reason.name}".strip()] += 1
    return counts


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    arguments = parser.parse_args()
    runs, workers = arguments.runs, arguments.workers
    parts = [range(k, runs, workers) for k in range(workers)]
    with ProcessPoolExecutor(workers) as pool:
        for n in SIZES:
            for harm in (None, *HARMS):
                for gain in GAINS if harm is None else (0.15, 0.25):
                    counts = sum(
                        pool.map(functools.partial(judge, n, gain, harm), parts), Counter()
                    )
                    shares = (f"{name} {count / runs:.1%}" for name, count in counts.most_common(6))
                    title = f"n={n} gain={gain:+.0%} harm={harm or 'none'}"
                    print(f"{title}: {', '.join(shares)}", flush=True)


if __name__ == "__main__":
    main()
