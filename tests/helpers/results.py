"""Results of runs to test with."""

from __future__ import annotations

from typing import Any

import msgspec

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
