"""Steps after training, as set in the plan's ``finish``: merging and comparison."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftwizard.jobs.worker import Worker
from ftwizard.plan.schema import Plan
from ftwizard.train.train_result import TrainResult


def finish(worker: Worker, plan: Plan, trained: TrainResult) -> dict[str, Any]:
    """Carry out ``plan.finish`` within the run; return the entries for its result."""
    from ftwizard.evaluate.compare import compare
    from ftwizard.export.merge import cast_to_16_bit, merge

    folder, base = worker.folder, Path(trained.base)
    result: dict[str, Any] = {}
    if trained.method == "full":
        worker.phase("merging", what="casting to 16-bit")
        best = folder.checkpoints / f"checkpoint-{trained.step}"
        result["merged"] = cast_to_16_bit(base, best, folder.merged, end_ids=trained.end_ids)
    elif plan.finish.merge:
        worker.phase("merging")
        result["merged"] = merge(base, folder.adapter, folder.merged, end_ids=trained.end_ids)
    if plan.finish.compare:
        result["compare"] = compare(worker, plan, trained)
    return result
