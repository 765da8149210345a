"""What is read from Together's answers, whatever they lack."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.providers.together import records
from ftwizard.providers.together.request import build_suffix, make_mark

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(
    [
        "id", "status", "model", "token_count", "total_price", "created_at", "updated_at", "progress",
        "events", "error", "type", "level", "message", "hash", "step", "total_steps", "train/loss",
        "training_method", "training_type", "lr_scheduler", "train/global_step", "eval/loss", "timestamp", "checkpoint", "model_output_name", "suffix",
    ]
)  # fmt: skip
RECORD = st.dictionaries(NAMES, JSON, max_size=8)


@given(RECORD)
def test_any_job_is_read(job: dict[str, Any]) -> None:
    status = records.read_job(job)
    assert status.status
    assert status.state in ("pending", "running", "succeeded", "failed", "cancelled")


@given(st.lists(RECORD, max_size=6), st.lists(RECORD, max_size=6))
def test_any_events_are_read(events: list[dict[str, Any]], metrics: list[dict[str, Any]]) -> None:
    merged = records.read_events(events, metrics)
    assert len({event.id for event in merged}) == len(merged) >= len(events)
    records.read_checkpoints("ft-1", events, metrics)


@pytest.mark.parametrize(
    ("nanodollars", "usd"),
    [(0, None), (None, None), (1500, 1.5e-6), (2_160_000_000, 2.16), ("x", None)],
)
def test_a_price_is_in_billionths_of_a_dollar(nanodollars: Any, usd: float | None) -> None:
    price = records.read_job({"id": "ft-1", "total_price": nanodollars}).price
    assert (price.value if price else None) == pytest.approx(usd)


def test_the_settings_of_a_plan_are_read() -> None:
    job = {
        "training_method": {"method": "dpo", "dpo_beta": 0.2},
        "training_type": {"type": "Lora", "lora_r": 8, "lora_alpha": 16},
        "lr_scheduler": {
            "lr_scheduler_type": "cosine",
            "lr_scheduler_args": {"min_lr_ratio": 0.1, "num_cycles": 1.0},
        },
        "n_epochs": 2, "batch_size": "max", "suffix": None, "status": "running",
    }  # fmt: skip
    assert records.read_job(job).planned == {
        "training_method": "dpo", "dpo_beta": 0.2, "lora": True, "lora_r": 8, "lora_alpha": 16,
        "lr_scheduler_type": "cosine", "min_lr_ratio": 0.1, "scheduler_num_cycles": 1.0,
        "n_epochs": 2, "batch_size": "max",
    }  # fmt: skip
    full = records.read_job({"training_type": {"type": "Full"}, "training_method": "sft"})
    assert full.planned == {"lora": False}


def test_values_that_are_no_numbers() -> None:
    rows: list[dict[str, Any]] = [
        {"train/global_step": 1, "train/loss": "NaN", "train/learning_rate": None},
        {"train/global_step": 2, "train/loss": math.nan, "train/rewards/margins": 0.5},
        {"train/global_step": 3, "train/loss": None},
        {"train/loss": 1.0},
    ]
    first, second = records.read_events([], rows)
    assert math.isnan(first.metrics["loss"]) and math.isnan(second.metrics["loss"])
    assert second.metrics["train/rewards/margins"] == 0.5


def test_steps_that_a_restarted_job_logs_again() -> None:
    rows = [{"train/global_step": step, "train/loss": 1.0} for step in (1, 2, 3, 2, 3)]
    events = records.read_events(
        [{"type": "job_restarted", "created_at": "2026-11-01T00:00:00Z"}], rows
    )
    ids = {event.id for event in events if event.metrics}
    assert ids == {"train-1", "train-2", "train-2-2", "train-3", "train-3-2"}
    assert records.find_last_step(ids) == 3


def test_events_without_a_hash_that_say_the_same() -> None:
    event = {
        "type": "warning",
        "message": "Slow",
        "created_at": "2026-11-01T00:00:00.123Z",
        "hash": "",
    }
    events: list[dict[str, Any]] = [event, dict(event)]
    first, second = records.read_events(events, [])
    assert first.id != second.id
    assert (first.level, first.t) == ("warning", 1793491200.123)


@pytest.mark.parametrize(
    ("level", "expected"),
    [
        ("Info", "info"),
        ("legacy_iwarning", "warning"),
        ("legacy_ierror", "error"),
        ("", "info"),
        (None, "info"),
    ],
)
def test_levels_in_every_spelling(level: Any, expected: str) -> None:
    (event,) = records.read_events([{"type": "x", "level": level}], [])
    assert event.level == expected


def test_a_suffix_keeps_its_mark_and_its_limit() -> None:
    mark = make_mark("run-1")
    assert build_suffix(None, "run-1") == mark
    assert build_suffix("x" * 40, "run-1") == f"{'x' * 26}-{mark}"
    assert make_mark("run-2") != mark
