"""Plans with few small steps on a small model, and their runs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from ftwizard.jobs.folder import JobFolder
from ftwizard.plan.schema import MANY_EPOCHS
from tests.e2e.cli import ok, ok_here
from tests.helpers.jobs import events
from tests.paths import TICKETS

SAMPLE = TICKETS
LONG = 12
"""Enough epochs to observe a run of the small model before it ends."""


class Workspace:
    """A folder for plans, a model, and the home of the runs."""

    def __init__(self, root: Path, model: Path, home: Path) -> None:
        self.root, self.model, self.home = root, model, home

    def plan(
        self,
        name: str = "plan",
        *,
        data: Path | None = None,
        rows: int = 24,
        finish: bool = False,
        **recipe: Any,
    ) -> Path:
        """Write a plan with small steps; ``recipe`` overrides its settings."""
        lines = (data or SAMPLE / "train.jsonl").read_text().splitlines()[:rows]
        (self.root / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
        settings: dict[str, Any] = {
            "batch_size": 1, "epochs": 1, "learning_rate": 5e-4, "dropout": 0.05, "rank": 8,
            "evaluation_steps": 6, "save_steps": 3, "max_length": 160, **recipe,
        }  # fmt: skip
        body = {
            "data": {"files": {"train": f"{name}.jsonl"}},
            "model": {"name": str(self.model)},
            "recipe": settings,
            "samples": {"count": 0},
            "finish": {"merge": finish, "compare": finish, "max_new_tokens": 24},
            "evaluate": {"general": False, "safety": False, "shots": 0},
            "allow": ["many-epochs"] if settings["epochs"] > MANY_EPOCHS else [],
        }
        path = self.root / f"{name}.yaml"
        path.write_text(json.dumps(body))  # JSON is YAML
        return path

    def folder(self, run_id: str) -> JobFolder:
        return JobFolder(self.home / "runs" / run_id)

    def train(self, plan: Path, run_id: str, *more: str) -> JobFolder:
        assert ok("train", plan, "--name", run_id, *more).strip() == run_id
        return self.folder(run_id)

    def train_here(
        self, plan: Path, run_id: str, *more: str, stop_after: int | None = None
    ) -> JobFolder:
        """Train as ``train`` does, but in this process, until the end or a stop after a step."""
        from tests.helpers.work_here import work_here

        with work_here(stop_after=stop_after):
            assert ok_here("train", plan, "--name", run_id, *more).strip() == run_id
        return self.folder(run_id)


def losses(folder: JobFolder) -> dict[int, float]:
    """Return the loss of each step; repeated steps must have equal losses."""
    by_step: dict[int, float] = {}
    for event in events(folder, "log"):
        step, loss = event["step"], event["loss"]
        assert math.isclose(by_step.setdefault(step, loss), loss, rel_tol=1e-6), (
            step,
            by_step[step],
            loss,
        )
    return by_step
