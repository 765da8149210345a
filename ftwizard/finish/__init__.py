"""What follows training, as the plan's ``finish`` says: merge, then compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ftwizard.jobs.worker import Worker
from ftwizard.plan import Plan
from ftwizard.train.adapter import Trained


def finish(worker: Worker, plan: Plan, trained: Trained) -> dict[str, Any]:
    """Carry out ``plan.finish`` within the run; return what goes into its result."""
    from ftwizard.finish.compare import compare
    from ftwizard.finish.merge import merge

    folder = worker.folder
    result: dict[str, Any] = {}
    if plan.finish.merge:
        worker.phase("merging")
        result["merged"] = merge(
            Path(trained.base), folder.adapter, folder.merged, end_ids=trained.end_ids
        )
    if plan.finish.compare:
        result["compare"] = compare(worker, plan, trained)
    return result
