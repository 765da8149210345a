"""A training that memorizes its rows, because their answers are random."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

from ftwizard.jobs.folder import JobFolder
from tests.helpers.jobs import events
from tests.helpers.training import tiny_model

EVERY = 10
"""Number of steps between two evaluations."""


def rows(count: int, seed: int) -> str:
    """Return rows with random answers: nothing learned from them generalizes."""
    words = ["".join(random.Random(n).choices("aeioubdfgklmnprst", k=5)) for n in range(60)]
    chance = random.Random(seed)
    return "".join(
        json.dumps({"messages": [
            {"role": "user", "content": " ".join(chance.choices(words, k=4))},
            {"role": "assistant", "content": " ".join(chance.choices(words, k=8))},
        ]}) + "\n"
        for _ in range(count)
    )  # fmt: skip


def write_plan(folder: Path) -> Path:
    """Write data and a plan without early stopping."""
    (folder / "train.jsonl").write_text(rows(20, 1))
    (folder / "validation.jsonl").write_text(rows(24, 2))
    plan: dict[str, Any] = {
        "data": {"files": {"train": "train.jsonl", "validation": "validation.jsonl"}},
        "model": {"name": str(tiny_model(folder))},
        "recipe": {
            "method": "full", "batch_size": 4, "epochs": 100, "learning_rate": 0.01,
            "evaluation_steps": EVERY, "patience": 1000, "max_length": 200,
        },
        "samples": {"count": 0},
        "finish": {"compare": False},
    }  # fmt: skip
    path = folder / "plan.yaml"
    path.write_text(json.dumps(plan))
    return path


def verdict(folder: JobFolder) -> str:
    """Return the code of the newest verdict on the curve."""
    verdicts = [event for event in events(folder, "finding") if event.get("verdict")]
    return str(verdicts[-1]["code"]) if verdicts else ""
