"""How often the diagnosis of DPO, KTO and GRPO warns falsely, and misses a failure.

    python -m tests.benchmarks.objective_diagnosis [--seeds 100] [--logs FOLDER]

Each simulated curve is diagnosed as it grows, as a live run is. A warning with another code than
the curve's label is false, at any time. Three kinds of noise: that of the rows drawn, the same with
steps that resemble each other (AR(1)), and with rare outliers. ``--logs`` prints the verdict on each
logged run in a folder (``trainer_state.json`` and the like). ``reward_noise`` has more shapes and kinds of noise.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from statistics import pstdev

from ftwizard.diagnosis import Curve, Point, diagnose, to_findings
from ftwizard.errors import FtwizardError
from ftwizard.runs import loss_curves
from ftwizard.runs.diagnosis_writer import GROWTH_FACTOR, MIN_LOGS
from tests.helpers.objective_curves import KINDS


def list_looks(curve: Curve) -> Iterator[Curve]:
    """Yield the curve as it was at each diagnosis of a live run, and at last the whole."""
    steps = [step for step, _ in curve.get_metric("reward") or curve.train]
    count = MIN_LOGS
    while count < len(steps):
        yield curve.until(steps[count - 1])
        count = max(count + 1, int(count * GROWTH_FACTOR) + 1)
    yield curve


def follow(curve: Curve) -> tuple[set[str], set[str]]:
    """Return the warnings while a curve grows, and those at its end."""
    looks = [list_warnings(look) for look in list_looks(curve)]
    return set().union(*looks), looks[-1]


def list_warnings(curve: Curve) -> set[str]:
    """Return the codes of what a user is warned of."""
    return {item.code for item in to_findings(diagnose(curve)) if item.severity != "info"}


def disturb(curve: Curve, noise: str, seed: int) -> Curve:
    """Return the curve with another kind of noise on its metrics."""
    chance = random.Random(seed)

    def change(name: str, points: list[Point]) -> list[Point]:
        values = [value for _, value in points]
        sigma = pstdev([b - a for a, b in pairwise(values)] or [0.0]) / 1.414
        drift, out = 0.0, []
        for step, value in points:
            drift = 0.7 * drift + chance.gauss(0, 0.5 * sigma)
            added = drift if noise == "similar" else 6 * sigma * (chance.random() < 0.03)
            changed = value + added
            is_share = "accurac" in name or "ratio" in name or "frac" in name
            out.append((step, min(1.0, max(0.0, changed)) if is_share else changed))
        return out

    metrics = {name: change(name, list(points)) for name, points in curve.metrics.items()}
    return replace(curve, metrics=metrics)


def measure(seeds: int) -> None:
    """Print misses and false warnings of each kind of curve."""
    print(f"{'kind':38}{'noise':>10}{'missed':>8}{'at end':>8}{'false':>8}  which")
    totals: Counter[str] = Counter()
    for name, kind in KINDS.items():
        for noise in ("rows", "similar", "outliers"):
            missed = at_end = false = 0
            which: Counter[str] = Counter()
            for seed in range(seeds):
                curve = kind.draw(seed)
                ever, last = follow(curve if noise == "rows" else disturb(curve, noise, seed))
                wrong = ever - {kind.label} - kind.also
                missed += kind.label is not None and kind.label not in ever
                at_end += kind.label is not None and kind.label not in last
                false += bool(wrong)
                which.update(wrong)
            totals["curves"] += seeds
            totals["false"] += false
            totals["labeled"] += seeds if kind.label else 0
            totals["missed"] += missed
            listed = ", ".join(f"{code} {count}" for code, count in which.most_common(3))
            print(f"{name:38}{noise:>10}{missed / seeds:8.1%}{at_end / seeds:8.1%}"
                  f"{false / seeds:8.1%}  {listed}", flush=True)  # fmt: skip
    print(f"missed {totals['missed']} of {totals['labeled']}, "
          f"false warnings on {totals['false']} of {totals['curves']} curves")  # fmt: skip


def show_logs(folder: Path) -> None:
    """Print the verdict on each file with a curve."""
    for path in sorted(folder.rglob("*.json*")):
        try:
            curve = loss_curves.from_file(path)
        except FtwizardError:
            continue
        if curve.metrics:
            ever, _ = follow(curve)
            main = to_findings(diagnose(curve))[0]
            print(f"{path.name}: {curve.objective}, {main.code}; ever {', '.join(sorted(ever))}")
            print(f"    {main.message}")


def main() -> None:
    """Measure on simulated curves, or show the verdicts on logged ones."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--logs", type=Path)
    arguments = parser.parse_args()
    if arguments.logs is None:
        measure(arguments.seeds)
    else:
        show_logs(arguments.logs)


if __name__ == "__main__":
    main()
