"""A run's folder for benchmarks of training, on the real model and the packaged sample."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ftwizard.models import hub
from ftwizard.plan.plan_file import load
from ftwizard.plan.schema import Plan
from tests.helpers.models import SMOLLM2
from tests.paths import TICKETS

SAMPLE = TICKETS


@contextmanager
def bench(*, samples: int = 0, **recipe: Any) -> Iterator[tuple[Path, Plan]]:
    """Give a home of its own and a plan in it: the packaged sample, compare and merge off, samples unless asked for."""
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
