"""Run folder for training benchmarks, with the real model and the packaged sample."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftwizard.jobs import launch
from ftwizard.jobs.folder import Attempt, JobFolder, JobRecord, write_json
from ftwizard.models import hub
from ftwizard.plan import plan_file
from ftwizard.plan.plan_file import load
from ftwizard.plan.schema import Plan
from tests.helpers.models import SMOLLM2
from tests.paths import TICKETS

SAMPLE = TICKETS


@contextmanager
def bench(*, samples: int = 0, **recipe: Any) -> Iterator[tuple[Path, Plan]]:
    """Yield a plan in a temporary home: the packaged sample, without compare and merge."""
    model = hub.fetch(hub.locate(SMOLLM2), lambda *_, **__: None)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FTWIZARD_HOME"] = folder
        body = {
            "data": {"files": {
                "train": str(SAMPLE / "train.jsonl"),
                "validation": str(SAMPLE / "validation.jsonl"),
            }},
            "model": {"name": str(model)},
            "recipe": {"epochs": 1, "dropout": 0, "learning_rate": 5e-4, **recipe},
            "finish": {"merge": False, "compare": False},
            "samples": {"count": samples},
        }  # fmt: skip
        path = Path(folder) / "plan.yaml"
        path.write_text(json.dumps(body))
        yield path, load(path)


def create_run(path: Path, plan: Plan) -> JobFolder:
    """Create a run of the plan without starting it; return its folder."""
    source = hub.locate(plan.model.name)
    record = JobRecord(kind="train", argv=[], version="0", created=0, inputs={"model": {
        "kind": source.kind, "name": source.name, "fingerprint": "", "said": source.description,
    }})  # fmt: skip
    folder = launch.create(
        path.parent / "run", record, {"plan.yaml": plan_file.dump(plan).encode()}
    )
    write_json(folder.attempt(1), Attempt(number=1, started=0, host="", argv=[]))
    return folder
