"""Results of runs to test with."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec

from ftwizard.jobs.folder import JobFolder, JobRecord, write_json
from ftwizard.runs.evaluation import Evaluation, SetResult
from ftwizard.runs.evaluation_files import read_evaluation
from ftwizard.runs.evaluation_job import Candidate, EvaluationRequest, EvaluationResult
from ftwizard.runs.prediction import RunFigures
from ftwizard.runs.result import RunResult, TrainResult


def make_trained(**changes: Any) -> TrainResult:
    """Return the result of a LoRA training that finished at step 40, the best one."""
    trained = TrainResult(
        method="lora", reason="finished", message="", targets=["q_proj"], step=40, eval_loss=0.5,
        last_step=40, total_steps=40, base="/models/base", base_name="owner/model", end_ids=[2],
        rows={"train_given": 20, "train_used": 20}, tokens=4000, trainable_text=[],
    )  # fmt: skip
    return msgspec.structs.replace(trained, **changes)


def make_run_result(**changes: Any) -> RunResult:
    """Return the result of a first attempt that neither merged nor compared."""
    result = RunResult(
        end_reason="finished", attempt=1, training=make_trained(), seconds=9.0,
        predicted=RunFigures(), actual=RunFigures(), error={},
    )  # fmt: skip
    return msgspec.structs.replace(result, **changes)


def write_judgment(
    folder: JobFolder,
    number: int,
    evaluation: Evaluation,
    candidates: Sequence[Candidate] = (),
    *,
    is_result: bool = False,
    created: float | None = None,
) -> JobFolder:
    """Write the job of an evaluation after the run; by default, of its resulting weights."""
    job = JobFolder(folder.path / "jobs" / f"{number}-eval")
    job.path.mkdir(parents=True, exist_ok=True)
    request = EvaluationRequest(run=str(folder.path), candidates=[], is_result=is_result)
    record = JobRecord(
        kind="eval", argv=["none"], version="0", created=created or time.time(),
        inputs=msgspec.to_builtins(request),
    )  # fmt: skip
    write_json(job.job, record)
    candidates = candidates or [Candidate(name="tuned", verdict=evaluation.verdict, scores={})]
    result = EvaluationResult(
        attempt=1, end_reason="finished", evaluation=evaluation, best=candidates[0].name,
        candidates=list(candidates),
    )  # fmt: skip
    write_json(job.result, result)
    return job


def read_target(folder: JobFolder) -> SetResult:
    """Return the scores of an evaluated run on its test rows."""
    evaluation = read_evaluation(folder)
    assert evaluation is not None
    return evaluation.sets["target"]
