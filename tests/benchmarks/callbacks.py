"""Time inside our callbacks beside the time of the steps, saving and syncing included.

Limit: 2 % of step time. The run is real: the packaged sample, an evaluation and a checkpoint
every 20 steps.
"""

from __future__ import annotations

import functools
import time
from collections import defaultdict
from typing import Any

from ftwizard import models
from ftwizard import plan as plans
from ftwizard.jobs import launch, worker
from ftwizard.jobs.folder import Attempt, JobRecord, write_json
from tests.benchmarks.workbench import bench
from tests.jobs_helpers import events

LIMIT_SHARE = 0.02
spent: dict[str, float] = defaultdict(float)


def timed(owner: type, name: str) -> None:
    """Add the time of every call of a callback's method to ``spent``."""
    inner = getattr(owner, name)

    @functools.wraps(inner)
    def outer(*arguments: Any, **more: Any) -> Any:
        began = time.perf_counter()
        try:
            return inner(*arguments, **more)
        finally:
            spent[f"{owner.__name__}.{name}"] += time.perf_counter() - began

    setattr(owner, name, outer)


def main() -> None:
    from ftwizard.train import callbacks
    from ftwizard.train.trainer import run

    for owner in (
        callbacks.Recorder,
        callbacks.Steering,
        callbacks.OverfitDetector,
        callbacks.Keeping,
    ):
        for name in [n for n in vars(owner) if n.startswith("on_")]:
            timed(owner, name)
    with bench(evaluation_steps=20) as (path, plan):
        source = models.locate(plan.model.name)
        record = JobRecord(kind="train", argv=[], version="0", created=0, inputs={"model": {
            "kind": source.kind, "name": source.name, "fingerprint": "", "said": source.said,
        }})  # fmt: skip
        folder = launch.create(
            path.parent / "run", record, {"plan.yaml": plans.dump(plan).encode()}
        )
        write_json(folder.attempt(1), Attempt(number=1, started=0, host="", argv=[]))
        worker.run(folder, run)
        logs = events(folder, "log")
        (begin,) = [e for e in events(folder, "phase") if e.get("phase") == "training"][:1]
        training = logs[-1]["t"] - begin["t"]
        measured = sum(e.get("eval_runtime", 0) for e in events(folder, "eval"))
        steps = training - measured
    total = sum(spent.values())
    for name, seconds in sorted(spent.items(), key=lambda item: -item[1]):
        print(f"{name:<32} {seconds * 1000:8.1f} ms")
    print(f"{len(logs)} steps took {steps:.1f} s without evaluations; our callbacks {total:.3f} s")
    print(f"ratio {total / steps:.2%}, {total / steps / LIMIT_SHARE:.0%} of the limit")


if __name__ == "__main__":
    main()
