"""Run folders on disk without a process."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.evaluate import frozen_items, results
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.run.judgment import list_samples
from ftwizard.jobs import lock
from ftwizard.jobs.events import EventWriter
from ftwizard.jobs.folder import Attempt, JobFolder, JobRecord, State, write_json
from ftwizard.plan.schema import Gate
from ftwizard.runs.evaluation import ItemAnswer, ItemScore
from ftwizard.runs.result import MergedModel
from tests.helpers.results import make_run_result, make_trained

PLAN = """\
data: {files: {train: /data/rows.jsonl}}
model: {name: owner/model}
"""


def make_run(root: Path, name: str, *, steps: int = 40, **more: Any) -> JobFolder:
    """Write a run that ended with ``end_reason``: falling losses, an evaluation every 10 steps."""
    path = root / "runs" / name
    for folder in ("attempts", "requests"):
        (path / folder).mkdir(parents=True, mode=0o700)
    job = JobFolder(path)
    job.plan.write_text(PLAN)
    began = time.time() - 600
    write_json(job.job, JobRecord(kind="train", argv=["none"], version="0", created=began))
    host = os.uname().nodename
    write_json(job.attempt(1), Attempt(number=1, started=began, host=host, argv=["none"]))
    reason = more.pop("end_reason", "finished")
    state = State(state="ended", attempt=1, started=began, ended=began + 100, end_reason=reason)
    write_json(job.state, state)
    write_events(job, steps, reason, **more)
    return job


def write_events(job: JobFolder, steps: int, reason: str, **more: Any) -> None:
    events = EventWriter(job.events, 1)
    scale = more.get("scale", 1.0)
    events.write("phase", phase="training", step=0, total=steps)
    for step in range(1, steps + 1):
        events.write(
            "log", step=step, loss=scale * 4.0 / step, epoch=step / 20, tokens=100 * step,
            learning_rate=1e-4, grad_norm=1.0,
        )  # fmt: skip
        if step % 10 == 0:
            events.write("eval", step=step, eval_loss=scale * 4.2 / step)
            events.write("checkpoint", step=step, path=f"checkpoints/checkpoint-{step}")
    for finding in more.get("findings", []):
        events.write("finding", step=steps, **finding)
    events.write("done", end_reason=reason, **more.get("done", {}))
    events.close()


def make_result(job: JobFolder, answers: list[dict[str, Any]]) -> None:
    """Write the result of a run, with its evaluation if there are ``answers``."""
    (job.path / "adapter").mkdir()
    job.evaluations.mkdir()
    rows = {"train_given": 20, "train_used": 19}
    result = make_run_result(
        training=make_trained(rows=rows, left_out={"train": [7]}),
        merged=MergedModel(folder=str(job.merged), size_bytes=270_000_000, dtype="bfloat16"),
    )
    write_json(job.result, result)
    if not answers:
        return
    items = [
        Item(
            id=str(number), set="target", messages=row["prompt"], scorer="exact",
            expected=[row["expected"]], line=row["line"],
        )
        for number, row in enumerate(answers)
    ]  # fmt: skip
    arms = {
        arm: [_answer(item, row[arm], loss) for item, row in zip(items, answers, strict=True)]
        for arm, loss in (("base", 4.5), ("tuned", 0.25))
    }
    evaluation = results.make_evaluation(items, arms, [], Gate())
    samples = list_samples(items, results.index_answers(arms), 5, None)
    write_json(job.evaluation, msgspec.structs.replace(evaluation, samples=list(samples)))
    frozen_items.freeze(job, items, {}, Gate())


def _answer(item: Item, text: str, loss: float) -> ItemAnswer:
    is_right = text == item.expected[0]
    score = ItemScore(value=float(is_right), passed=is_right)
    return ItemAnswer(item=item.id, text=text, loss=loss, loss_tokens=9, score=score)


def make_hostile(home: Path, text: str, *, reason: str = "", name: str = "one") -> JobFolder:
    """Write a run with ``text`` in every field: phase, finding, log, machine, plan, last event."""
    folder = make_run(home, name)
    folder.events.unlink()
    text = text.encode(errors="replace").decode()  # JSON holds no lone surrogate
    events = EventWriter(folder.events, 1)
    events.write("phase", phase="training", step=0, total=40)
    events.write("log", step=3, loss=1.5, epoch=0.2, tokens=3)
    events.write("finding", step=3, severity=text, message=text)
    events.write("phase", phase=text, what=text, done=1, total=3, unit=text)
    if reason:
        events.write("done", end_reason=text if reason == "text" else reason, message=text, hint="")
    events.close()
    folder.log.write_text(f"{text}\n" * 3, errors="surrogateescape")
    gpu = {"index": text, "name": text, "utilisation": text, "memory_used": 1, "memory_total": 3}
    sample = {"t": time.time(), "cpu": 3.0, "gpus": [gpu, text], "no_gpu": text}
    folder.machine("here").write_text(json.dumps(sample) + "\n")
    short = json.dumps(text[:4000], ensure_ascii=False)
    folder.plan.write_text(f"data: {{files: {{train: {short}}}}}\nmodel: {{name: {short}}}\n")
    return folder


@contextmanager
def living(folder: JobFolder, **state: Any) -> Iterator[None]:
    """Hold a run's lock, as its worker does while alive; ``state`` is what the keeper writes."""
    fields = {"state": "running", "attempt": 1, "started": time.time() - 600, **state}
    write_json(folder.state, State(**fields))
    descriptor = lock.take_exclusive(folder.lock)
    assert descriptor is not None
    lock.downgrade(descriptor)
    yield
    os.close(descriptor)
