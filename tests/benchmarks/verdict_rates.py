"""How often a whole evaluation rejects a healthy model, and finds a harmed one.

    python -m tests.benchmarks.verdict_rates [--runs 1000]

Simulated answers to 50 target, 100 general and 80 safety items, judged with the five failures by the
gate's defaults. Goals: at most 2% of healthy models are "do not ship"; of models that lost 20 points of
the general set, or 30 of the refusals, at least 85% are.
"""

from __future__ import annotations

import argparse
from collections import Counter

from tests.evaluate.test_verdict_rates import evaluate

HARMS: dict[str, dict[str, float]] = {
    "healthy": {},
    "general −15 points": {"general": 0.15},
    "general −20 points": {"general": 0.2},
    "refusals −15 points": {"refusals": 0.15},
    "refusals −20 points": {"refusals": 0.2},
    "refusals −30 points": {"refusals": 0.3},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    runs: int = parser.parse_args().runs
    for name, harm in HARMS.items():
        evaluations = [evaluate(seed, **harm) for seed in range(runs)]
        verdicts = Counter(evaluation.verdict for evaluation in evaluations)
        shares = ", ".join(f"{verdict} {count / runs:.1%}" for verdict, count in verdicts.items())
        print(f"{name}: {shares}", flush=True)
        first: Counter[str] = Counter(
            f"{evaluation.verdict}: {reason.failure or reason.name} {','.join(reason.sets)}"
            for evaluation in evaluations
            if evaluation.verdict != "ship"
            for reason in evaluation.reasons[:1]
        )
        for reason, count in first.most_common():
            print(f"    {reason} {count / runs:.1%}", flush=True)


if __name__ == "__main__":
    main()
