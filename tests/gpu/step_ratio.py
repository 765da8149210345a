"""Seconds per step of ftwizard's trainer and of bare TRL, in turn, as JSON. Usage: PLAN"""

from __future__ import annotations

import gc
import json
import statistics
import sys
from pathlib import Path

from ftwizard.jobs.worker import Worker
from ftwizard.plan.plan_file import load
from ftwizard.train.inputs import prepare
from tests.benchmarks import step_time
from tests.benchmarks.workbench import create_run

TURNS = 2


def main() -> None:
    path = Path(sys.argv[1])
    plan = load(path)
    worker = Worker(create_run(path, plan))
    ready = prepare(worker, plan)
    seconds: dict[str, list[float]] = {"bare TRL": [], "ftwizard": []}
    for _ in range(TURNS):
        for name, taken in seconds.items():
            taken += step_time.steps_of(step_time.KINDS[name](worker, plan, ready))
            gc.collect()  # the trainer and its callbacks reference each other
    tokens = sum(row.tokens for row in ready.encoded["train"]) / len(ready.encoded["train"])
    medians = {name: statistics.median(taken) for name, taken in seconds.items()}
    print(json.dumps({"seconds": medians, "tokens": tokens * plan.recipe.batch_size}))


if __name__ == "__main__":
    main()
