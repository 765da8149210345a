"""Hosted runs to test with, as their files are after the end."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.jobs.folder import Attempt, JobFolder, JobRecord, State, write_json
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Data, Files, Model, Plan
from ftwizard.quantity import Figure
from ftwizard.runs import hosted, remote
from ftwizard.runs.prediction import RunFigures, record_prediction
from ftwizard.runs.remote import RemoteCheckpoint, RemoteFile, RemoteJob
from ftwizard.runs.result import RunResult

BASE, TUNED = "gpt-4.1-mini-2025-04-14", "ft:gpt-4.1-mini-2025-04-14:org::Abc"


def dollars(value: float, low: float | None = None, high: float | None = None) -> Figure:
    return Figure(value=value, unit="USD", low=low, high=high, source="a test")


def make_remote(**changes: Any) -> RemoteJob:
    """Return the record of a job that succeeded at OpenAI."""
    record = RemoteJob(
        provider="openai",
        tag="one-tag",
        model=BASE,
        files={
            "train": RemoteFile(
                path="upload/train.jsonl",
                name="one-train.jsonl",
                rows=18,
                size_bytes=900,
                id="file-1",
            )
        },
        request={"model": BASE},
        requested=1_000.0,
        job_id="ftjob-1",
        status="succeeded",
        state="succeeded",
        url="https://platform.openai.com/finetune/ftjob-1",
        tuned_model=TUNED,
        trained_tokens=4_500,
        created=1_000.0,
        finished=1_600.0,
        checkpoints=(
            RemoteCheckpoint(id="ck-1", model=f"{TUNED}:ckpt-step-10", step=10, eval_loss=0.4),
            RemoteCheckpoint(id="ck-2", model=TUNED, step=20, eval_loss=0.6),
        ),
        predicted_cost=dollars(0.12, 0.1, 0.15),
        actual_cost=dollars(0.13),
    )
    return msgspec.structs.replace(record, **changes)


def make_plan(**changes: Any) -> Plan:
    plan = Plan(
        provider="openai",
        data=Data(files=Files(train="/data/train.jsonl", validation="/data/valid.jsonl")),
        model=Model(name=BASE),
    )
    return msgspec.structs.replace(plan, **changes)


def make_ended(
    path: Path,
    record: RemoteJob | None = None,
    *,
    reason: str = "finished",
    plan: Plan | None = None,
) -> JobFolder:
    """Write the folder of a hosted run that has ended; one that finished has a result."""
    folder, record, plan = JobFolder(path), record or make_remote(), plan or make_plan()
    (path / "attempts").mkdir(parents=True)
    job = JobRecord(
        kind="train",
        argv=["none"],
        version="0",
        created=time.time(),
        plan=msgspec.to_builtins(plan),
    )
    write_json(folder.job, job)
    attempt = Attempt(number=1, started=1_000.0, host="", argv=[], plan=msgspec.to_builtins(plan))
    write_json(folder.attempt(1), attempt)
    folder.plan.write_text(plan_file.dump(plan))
    remote.write(folder, record)
    predicted = RunFigures(cost=record.predicted_cost)
    record_prediction(folder, predicted)
    state = State(state="ended", attempt=1, end_reason=reason, started=1_000.0, ended=1_700.0)
    write_json(folder.state, state)
    if reason == "finished":
        write_json(folder.result, make_hosted_result(folder, record))
    return folder


def make_hosted_result(folder: JobFolder, record: RemoteJob) -> RunResult:
    compared = hosted.compare_with_prediction(folder, record)
    return RunResult(
        end_reason="finished", attempt=1, remote=hosted.make_result(record, "supervised"), seconds=9.0,
        **msgspec.structs.asdict(compared),
    )  # fmt: skip
