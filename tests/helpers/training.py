"""Complete trainings of tiny models inside the test process, in a second or two."""

from __future__ import annotations

import contextlib
import gc
import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ftwizard.jobs import launch
from ftwizard.jobs.folder import Attempt, JobFolder, JobRecord, write_json
from ftwizard.jobs.worker import Worker
from ftwizard.models import hub
from ftwizard.plan import plan_file
from tests.helpers.jobs import events
from tests.helpers.models import make_tiny

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "saw",
    "one",
    "bird",
    "fly",
    "over",
    "two",
    "red",
    "roofs",
]


def tiny_model(root: Path) -> Path:
    """Return a model with random weights from a fixed seed."""
    import torch

    path = root / "tiny"
    if not path.exists():
        torch.manual_seed(3)
        make_tiny(path)
    return path


def rows(count: int, first: int = 0) -> list[dict[str, Any]]:
    """Return rows of different lengths."""
    return [
        {"messages": [
            {"role": "user", "content": f"{n}: " + " ".join(WORDS[: 1 + n * 5 % 11])},
            {"role": "assistant", "content": " ".join(WORDS[n % 5 : n % 5 + 1 + n % 4])},
        ]}
        for n in range(first, first + count)
    ]  # fmt: skip


def train(root: Path, name: str, **settings: Any) -> JobFolder:
    """Train as the worker does, but in this process; return the run's folder."""
    return again(prepare(root, name, **settings))


def prepare(root: Path, name: str, *, samples: dict[str, Any] | None = None, training: int = 16,
          validation: int = 9, model: Path | None = None,
          more: dict[str, dict[str, Any]] | None = None, **recipe: Any) -> JobFolder:  # fmt: skip
    """Create a run that was not started; return its folder.

    ``model``: the base, by default the tiny one; ``more``: further settings by part of the plan.
    """
    more = more or {}
    for file, part in (("train", rows(training)), ("validation", rows(validation, 500))):
        text = "".join(json.dumps(row) + "\n" for row in part)
        (root / f"{file}.jsonl").write_text(text)
    body = {
        "data": {"files": {"train": "train.jsonl", "validation": "validation.jsonl"},
                 **more.get("data", {})},
        "model": {"name": str(model or tiny_model(root))},
        "recipe": {"batch_size": 2, "epochs": 1, "rank": 4, "evaluation_steps": 4,
                   "max_length": 200, "learning_rate": 5e-3, **recipe},
        "finish": {"merge": False, "compare": False, **more.get("finish", {})},
        "budget": more.get("budget", {}),
        "where": more.get("where", {}),
        "evaluate": {"general": False, "safety": False, **more.get("evaluate", {})},
        "gate": more.get("gate", {}),
        **({"samples": samples} if samples is not None else {}),
    }  # fmt: skip
    path = root / f"{name}.yaml"
    path.write_text(json.dumps(body))
    plan = plan_file.load(path, allow=["many-epochs"])
    source = hub.locate(plan.model.name)
    record = JobRecord(kind="train", argv=[], version="0", created=0, inputs={"model": {
        "kind": source.kind, "name": source.name, "fingerprint": "", "said": source.description,
    }})  # fmt: skip
    folder = launch.create(root / name, record, {"plan.yaml": plan_file.dump(plan).encode()})
    write_json(folder.attempt(1), Attempt(number=1, started=0, host="", argv=[]))
    return folder


def again(folder: JobFolder) -> JobFolder:
    """Train the newest attempt in a run's folder."""
    from ftwizard.cli.work import run_training

    with own_signals():
        worker = Worker(folder)
        try:
            result = run_training(worker).result
            write_json(worker.folder.result, result)  # where it is now: tests move it meanwhile
        finally:
            worker.events.close()
            gc.unfreeze()  # what earlier tests left is collected again
    return folder


@contextlib.contextmanager
def own_signals() -> Iterator[None]:
    """Restore the signal handlers that a worker replaces."""
    numbers = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
    handlers = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def losses(folder: JobFolder) -> list[float]:
    """Return the unrounded loss of each step, then of each evaluation."""
    return [e["loss"] for e in events(folder, "log")] + [
        e["eval_loss"] for e in events(folder, "eval")
    ]
