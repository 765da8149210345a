"""Events, metrics and result files of OpenAI."""

from __future__ import annotations

import base64
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.providers.openai.events import (
    arrange_events,
    convert_metrics,
    get_state,
    parse_results,
)
from ftwizard.providers.openai.platform import OpenAIPlatform
from ftwizard.text import make_visible
from tests.providers.openai.script import JOB, make_page
from tests.providers.scripted_service import Reply, ScriptedService


@given(st.text())
def test_an_unknown_status_never_ends_a_job(status: str) -> None:
    named = {
        "succeeded",
        "completed",
        "failed",
        "error",
        "expired",
        "cancelled",
        "canceled",
        "deleted",
    }
    ended = get_state(status) in ("succeeded", "failed", "cancelled")
    assert ended == (status.strip().lower() in named)


def make_event(number: int, **fields: Any) -> dict[str, Any]:
    return {
        "id": f"e{number}", "object": "fine_tuning.job.event", "created_at": 1_000 + number,
        "level": "info", "message": f"m{number}", "type": "message", **fields,
    }  # fmt: skip


def test_only_pages_with_new_events_are_read(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    events = [make_event(number) for number in range(9, -1, -1)]
    route = "GET /fine_tuning/jobs/ftjob-1/events"
    service.on(route, make_page(events[:3], True), make_page(events[3:6], True), Reply(status=500))

    new = platform.list_events("ftjob-1", frozenset(f"e{number}" for number in range(5)))

    assert [event.id for event in new] == ["e5", "e6", "e7", "e8", "e9"]
    assert service.count(route) == 2


def test_metrics_and_unknown_events_are_converted(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    data = {"step": 4, "total_steps": 30, "train_loss": 1.5, "train_mean_token_accuracy": 0.6}
    full = {"step": 8, "valid_loss": 1.1, "full_valid_loss": 1.3, "train_loss": "NaN", "x": [1]}
    events = [
        make_event(5, type="moderation_checks", data={"blocked": False}, level="warn"),
        make_event(4, type="metrics", data=full),
        make_event(3, type="metrics", data=data),
        make_event(2, message="Step 2/30: training loss=1.9, validation loss=2.0", data={}),
        make_event(1, data=None, type=None, message=None),
    ]
    service.on("GET /fine_tuning/jobs/ftjob-1/events", make_page(events))

    e1, e2, e3, e4, e5 = platform.list_events("ftjob-1", frozenset())

    assert (e1.type, e1.message, e1.metrics) == ("message", "", {})
    assert (e2.step, e2.total_steps, e2.metrics) == (2, 30, {"loss": 1.9, "eval_loss": 2.0})
    assert (e3.step, e3.total_steps, e3.metrics) == (4, 30, {"loss": 1.5, "accuracy": 0.6})
    assert e4.metrics["eval_loss"] == 1.3
    assert e4.metrics["valid_loss"] == 1.1
    assert str(e4.metrics["loss"]) == "nan"
    assert (e5.type, e5.level, e5.step) == ("moderation_checks", "warning", None)


@st.composite
def raw_events(draw: st.DrawFn) -> list[Any]:
    """Events as they come: newest first, some twice, some steps in several events."""
    steps = draw(st.lists(st.integers(0, 6), min_size=1, max_size=12))
    events = []
    for number, step in enumerate(steps):
        names = draw(st.sets(st.sampled_from(["train_loss", "valid_loss", "full_valid_loss"])))
        data = {"step": step, **{name: float(number) for name in names}}
        events.append(
            SimpleNamespace(id=f"e{number}", created_at=draw(st.integers(0, 4)), data=data)
        )
    return draw(st.permutations(events + draw(st.lists(st.sampled_from(events), max_size=4))))


@given(raw_events(), st.sets(st.sampled_from([f"e{number}" for number in range(12)])))
def test_events_come_once_in_order_with_one_evaluation_a_step(
    raw: list[Any], ignored: set[str]
) -> None:
    events = arrange_events(raw, frozenset(ignored), str)

    assert sorted(event.id for event in events) == sorted({item.id for item in raw} - ignored)
    steps = [event.step or 0 for event in events]
    assert steps == sorted(steps)
    for step in set(steps):
        values = [
            e.metrics["eval_loss"] for e in events if e.step == step and "eval_loss" in e.metrics
        ]
        full = {
            item.data["full_valid_loss"]
            for item in raw
            if item.id not in ignored
            and item.data["step"] == step
            and "full_valid_loss" in item.data
        }
        assert len(values) <= 1
        assert not full or values[0] in full


@given(
    st.dictionaries(
        st.text(), st.none() | st.booleans() | st.floats() | st.text() | st.lists(st.integers())
    )
)
def test_metrics_of_any_form_are_numbers(data: dict[str, Any]) -> None:
    metrics = convert_metrics(data)
    assert all(
        isinstance(value, float) and name == make_visible(name) for name, value in metrics.items()
    )


def test_minus_one_stands_for_no_value_except_in_rewards() -> None:
    data = {"train_loss": 0.5, "valid_loss": -1, "full_valid_loss": -1.0, "valid_reward_mean": -1.0}
    assert convert_metrics(data) == {"loss": 0.5, "eval_reward": -1.0}


RESULTS = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n1,2.5,0.4,,\n2,2.1,0.5,2.3,0.44\n"


@pytest.mark.parametrize("encode", [bytes, base64.b64encode, lambda data: b"\xef\xbb\xbf" + data])
def test_result_files_are_read(
    service: ScriptedService, platform: OpenAIPlatform, encode: Callable[[bytes], bytes]
) -> None:
    service.on("GET /files/r1/content", Reply(body=encode(RESULTS.encode())))
    service.on("GET /fine_tuning/jobs/ftjob-1", JOB | {"result_files": ["gone", "r1"]})

    first, second = platform.read_results(platform.get_job("ftjob-1"))

    assert (first.step, first.metrics) == (1, {"loss": 2.5, "accuracy": 0.4})
    assert second.metrics == {"loss": 2.1, "accuracy": 0.5, "eval_loss": 2.3, "eval_accuracy": 0.44}


@given(st.binary(max_size=200) | st.text(alphabet='step,1\n"x', max_size=80).map(str.encode))
def test_no_result_file_raises(content: bytes) -> None:
    steps = [event.step or 0 for event in parse_results(content)]
    assert steps == sorted(set(steps))
