"""Predicted and actual figures of runs: records, errors and damaged files."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.jobs.clock import Instant
from ftwizard.jobs.folder import JobFolder
from ftwizard.pricing import machine_rate
from ftwizard.quantity import Figure
from ftwizard.runs import describe, prediction, store
from ftwizard.runs.prediction import NAMES, RunFigures
from ftwizard.runs.result import RunResult
from ftwizard.train import measure
from tests.helpers.results import make_run_result


def figure(
    value: float, unit: str = "s", *, low: float | None = None, high: float | None = None
) -> Figure:
    return Figure(value=value, unit=unit, low=low, high=high, source="made up")


def event(kind: str, t: float, attempt: int = 1, **fields: Any) -> dict[str, Any]:
    return {"v": 1, "t": t, "kind": kind, "attempt": attempt, **fields}


def training(t: float, attempt: int = 1) -> dict[str, Any]:
    return event("phase", t, attempt, phase="training", step=0, total=9)


def test_error_is_relative_to_the_actual_value() -> None:
    comparison = prediction.compare_prediction(
        RunFigures(seconds=figure(60), disk=figure(0.5), peak_memory=figure(9)),
        RunFigures(seconds=figure(50), disk=figure(1), tokens_per_s=figure(7)),
    )
    assert comparison.error == {
        "seconds": 0.2, "disk": -0.5, "peak_memory": None, "tokens_per_s": None, "cost": None
    }  # fmt: skip


def test_early_end_scales_predicted_time_and_cost() -> None:
    predicted = RunFigures(seconds=figure(100), disk=figure(8), cost=figure(4))
    measured = RunFigures(seconds=figure(50), disk=figure(8), cost=figure(2))
    comparison = prediction.compare_prediction(predicted, measured, share=0.5)
    assert comparison.error["seconds"] == comparison.error["disk"] == comparison.error["cost"] == 0
    assert comparison.predicted.seconds == predicted.seconds, "the recorded prediction is unchanged"


def test_first_recorded_prediction_is_kept(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    assert prediction.read_prediction(folder) is None
    prediction.record_prediction(folder, RunFigures(seconds=figure(10, low=5, high=20)))
    prediction.record_prediction(folder, RunFigures(seconds=figure(99)))
    result = prediction.read_prediction(folder)
    assert result and result.seconds == figure(10, low=5, high=20)


def test_training_time_sums_attempts_without_the_gaps() -> None:
    assert measure.training_seconds([]) == 0
    assert measure.training_seconds([
        event("phase", 0, phase="loading"),
        event("log", 1, step=1),  # from a file whose start was lost
        training(10),
        event("log", 14, step=1),
        event("eval", 15, step=1),
        event("checkpoint", 17, step=1),
        event("phase", 90, phase="merging"),
        event("done", 99),
        event("phase", 500, 2, phase="loading"),
        training(520, 2),
        event("log", 523, 2, step=2),
    ]) == 10  # fmt: skip


def test_measured_run_reports_peaks_over_all_attempts(tmp_path: Path) -> None:
    folder = JobFolder(tmp_path)
    (folder.checkpoints / "checkpoint-2").mkdir(parents=True)
    (folder.checkpoints / "checkpoint-2" / "weights").write_bytes(b"x" * 3000)
    folder.adapter.mkdir()
    (folder.adapter / "weights").write_bytes(b"x" * 1000)
    lines = [
        training(0), event("log", 4, step=1, memory=700), event("log", 8, step=2, memory=900),
        event("checkpoint", 10, step=2, memory=950, disk=3500), training(20, 2),
        event("log", 30, 2, step=3, memory=800),
    ]  # fmt: skip
    folder.events.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = measure.measure_run(folder, tokens=400)
    assert {name: item.value for name in NAMES if (item := getattr(run, name))} == {
        "peak_memory": 950, "seconds": 20, "tokens_per_s": 20, "disk": 4000,
    }  # fmt: skip
    assert run.peak_memory and "resident" in run.peak_memory.source
    assert run.cost is None, "no hourly price is set"
    hour = machine_rate.parse_typed_price("3.60")
    priced = measure.measure_run(folder, 400, hour)
    assert priced.cost and (priced.cost.value, priced.cost.unit) == (0.02, "USD")
    later = measure.measure_run(folder, 400, hour, now=Instant(40.0))
    assert later.cost and later.cost.value == 0.03, "time after the training counts too"
    (folder.adapter / "weights").unlink()
    smaller = measure.measure_run(folder, tokens=400)
    assert smaller.disk and smaller.disk.value == 3500, "disk use during the training"


def test_run_without_steps_has_no_time_or_memory(tmp_path: Path) -> None:
    run = measure.measure_run(JobFolder(tmp_path), tokens=0)
    assert run.seconds is run.tokens_per_s is run.peak_memory is None


_junk = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=3) | st.just(10**400),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner),
    max_leaves=5,
)
_figure = st.fixed_dictionaries(
    {"value": st.floats() | _junk, "unit": st.text(max_size=3), "source": st.just("s")},
    optional={"low": st.floats(), "high": st.floats() | _junk},
)
_expected = st.dictionaries(st.sampled_from(NAMES), _figure | _junk)


@given(
    st.dictionaries(
        st.sampled_from(["predicted", "actual", "error"]),
        _expected | _junk | st.dictionaries(st.sampled_from(NAMES), st.floats(-1, 9)),
    )
)
def test_any_stored_result_is_described_or_ignored(result: dict[str, Any]) -> None:
    try:
        document = msgspec.convert(msgspec.to_builtins(make_run_result()) | result, RunResult)
    except msgspec.ValidationError:
        return
    comparison = document.prediction
    if comparison:
        describe.describe_prediction(comparison)
        json.loads(msgspec.json.encode(comparison))
        for name in NAMES:
            for item in (getattr(comparison.predicted, name), getattr(comparison.actual, name)):
                assert item is None or math.isfinite(item.value)


def test_description_gives_actual_predicted_and_error() -> None:
    comparison = prediction.compare_prediction(
        RunFigures(seconds=figure(70, low=60, high=180), peak_memory=figure(2e9, "bytes")),
        RunFigures(seconds=figure(100), peak_memory=figure(2e9, "bytes"), disk=figure(5, "bytes")),
    )
    assert describe.describe_prediction(comparison) == [
        ("training", "1 min 40 s (predicted 1 min – 3 min, 30% too low)"),
        ("memory", "2.0 GB (predicted 2.0 GB, exact)"),
        ("cost", describe.COST_UNKNOWN),
    ]
    alone = prediction.compare_prediction(RunFigures(), comparison.actual)
    assert describe.describe_prediction(alone)[:2] == [
        ("training", "1 min 40 s"),
        ("memory", "2.0 GB"),
    ]
    priced = prediction.compare_prediction(
        RunFigures(cost=figure(0.3, "USD", low=0.2, high=0.5)),
        RunFigures(seconds=figure(100), cost=figure(0.4, "USD")),
    )
    assert describe.describe_prediction(priced)[-1] == (
        "cost",
        "$0.40 (predicted $0.20 – $0.50, 25% too low)",
    )


def test_description_of_a_stopped_run_predicts_the_completed_steps() -> None:
    comparison = prediction.compare_prediction(
        RunFigures(seconds=figure(180, low=60, high=540), peak_memory=figure(2e9, "bytes")),
        RunFigures(seconds=figure(100), peak_memory=figure(2e9, "bytes")),
        share=0.25,
    )
    assert describe.describe_prediction(comparison, 0.25)[:2] == [
        ("training", "1 min 40 s (predicted 15 s – 2 min 15 s for these steps, 55% too low)"),
        ("memory", "2.0 GB (predicted 2.0 GB, exact)"),
    ]


@pytest.mark.parametrize(
    "damage", ["", "{", "[]", '{"seconds": 3}', '{"seconds": {"value": 1e999}}']
)
def test_damaged_prediction_is_ignored(damage: str, home: Path) -> None:
    folder = JobFolder(home / "runs" / "one")
    folder.path.mkdir(parents=True)
    folder.job.write_text("{}")
    folder.prediction.write_text(damage)
    [result] = store.iterate_records()
    assert (result.predicted, result.actual, result.error) == (None, None, None)
