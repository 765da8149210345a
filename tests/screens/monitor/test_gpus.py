"""GPU lines of the monitor, for any reading from a driver or a file."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.jobs.clock import Instant
from ftwizard.runs.progress import Progress
from ftwizard.screens.monitor import gpus, readings
from ftwizard.text import make_visible

_any = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=50)
_values = _any | st.lists(_any, max_size=3) | st.dictionaries(st.text(max_size=3), _any, max_size=2)
_names = (
    "index", "name", "utilisation", "memory_used", "memory_total", "memory_reserved", "temperature",
    "power", "power_limit", "throttled", "mig", "ours", "lost", "error",
)  # fmt: skip
_readings = st.fixed_dictionaries({}, optional=dict.fromkeys(_names, _values))


def card(**more: Any) -> dict[str, Any]:
    return {
        "index": 0, "utilisation": 50, "memory_used": 20e9, "memory_total": 80e9, "power": 100.0,
        "temperature": 50, "ours": None, **more,
    }  # fmt: skip


def show(*readings: dict[str, Any], memory: float | None = None, most: int = 8, **more: Any) -> str:
    progress = Progress()
    progress.gpu_memory = memory
    sample = {"t": 1000.0, "gpus": list(readings)}
    return gpus.build_lines([sample], progress, 156, most, **more).plain


@given(st.lists(_readings | _any, max_size=12), st.integers(1, 20), st.integers(56, 200))
def test_gpu_lines_accept_any_reading(items: list[Any], most: int, width: int) -> None:
    samples = [{"t": 1.0, "gpus": items}]
    shown = gpus.build_lines(samples, Progress(), width, most)
    text = shown.plain
    assert len(text.split("\n")) <= max(most, 2)
    assert all(make_visible(line) == line for line in text.split("\n"))


def test_run_memory_falls_back_to_the_value_the_run_logs() -> None:
    assert "run  5.0  others 15.0  free 60.0 GB" in show(card(), memory=5e9)
    assert "used 20.0  free 60.0 GB" in show(card())
    assert "run  3.0" in show(card(ours=3e9), memory=5e9)
    # A run cannot use more than is in use on the GPU.
    assert "run " not in show(card(), memory=21e9)


@pytest.mark.parametrize(("on_gpu", "shown"), [(True, "run  5.0"), (False, "used"), (None, "used")])
def test_cpu_memory_of_a_run_is_not_shown_on_a_gpu(on_gpu: bool | None, shown: str) -> None:
    log = {"t": 1.0, "kind": "log", "attempt": 1, "step": 1, "memory": 5e9, "memory_on_gpu": on_gpu}
    progress = Progress()
    progress.feed([log])
    assert progress.memory == 5e9
    assert shown in gpus.build_lines([{"t": 1000.0, "gpus": [card()]}], progress, 156, 8).plain


def test_run_memory_is_shown_on_the_planned_gpu() -> None:
    two = card(), card(index=1)
    assert "run " not in show(*two, memory=5e9)
    first, second = show(*two, memory=5e9, planned_gpu=1).split("\n")
    assert "run " not in first and "run  5.0" in second


def test_memory_reserved_by_the_driver_is_not_shown_as_others() -> None:
    assert "run  5.0  others 14.0" in show(card(ours=5e9, memory_reserved=1e9))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"throttled": ["thermal"]}, "! throttled: thermal"),
        ({"throttled": ["thermal", "power cap"]}, "! throttled: thermal"),
        ({"throttled": ["hardware slowdown"]}, "! throttled: hardware slowdown"),
        ({"throttled": ["power cap"]}, "at power cap"),
        ({"power_limit": 450.0}, "100 of 450 W"),
        ({"lost": True}, "! lost: no response from the driver"),
        ({"error": "Insufficient Permissions"}, "! Insufficient Permissions"),
        ({"mig": []}, "MIG: 0 instances"),
    ],
)
def test_gpu_line_describes_each_state(more: dict[str, Any], words: str) -> None:
    assert words in show(card(**more))


def test_gpu_of_the_run_comes_first_then_problems_then_busiest() -> None:
    cards = [card(index=n, utilisation=10 * n, ours=0) for n in range(8)]
    cards[1]["ours"] = 5e9
    cards[2]["throttled"] = ["thermal"]
    lines = show(*cards, most=4).split("\n")
    assert [line[:5] for line in lines] == ["GPU 1", "GPU 2", "GPU 7", "and 5"]
    assert lines[-1] == "and 5 more GPUs, 0–60% utilization  z: GPUs only"
    alone = show(*cards, most=4, alone=True).split("\n")
    assert alone[-1] == "and 5 more GPUs, 0–60% utilization"


def test_gpus_only_view_adds_history_lines_where_they_fit() -> None:
    cards = [card(index=0), card(index=1, lost=True), card(index=2, utilisation=None)]
    first, history, lost, silent = show(*cards, most=6, alone=True).split("\n")
    assert first.startswith("GPU 0  50% ") and "▄" not in first
    assert history.startswith("    10 min ") and history.endswith("▄") and len(history) == 156
    assert lost.startswith("GPU 1 ! lost") and silent.startswith("GPU 2  n/a")
    assert len(show(*cards, most=5, alone=True).split("\n")) == 3


def test_history_averages_fixed_time_spans() -> None:
    span = gpus.HISTORY_S / 4
    samples = [
        {"t": at * span + 1, "gpus": [{"index": 0, "utilisation": use}]}
        for at, use in [(1, 90), (7, 10), (7.5, 30), (9, 50), (10, 100)]
    ]
    assert gpus.build_histories(samples, 4) == {0: [20, None, 50, 100]}
    assert gpus.build_histories(samples[:-1], 4) == {0: [None, 20, None, 50]}
    assert gpus.build_histories([], 4) == {}


@pytest.mark.parametrize("jump_s", [3 * 86_400, -2 * 365 * 86_400])
def test_history_keeps_its_order_when_the_date_jumps(jump_s: float) -> None:
    span = gpus.HISTORY_S / 4

    def sample_at(at: float, use: float, shift_s: float) -> dict[str, Any]:
        m = at * span + 1
        return {
            "t": 1.7e9 + m + shift_s, "m": m, "gpus": [{"index": 0, "utilisation": use}],
        }  # fmt: skip

    samples = [sample_at(1, 90, 0), sample_at(7, 10, 0), sample_at(7.5, 30, 0)]
    samples += [sample_at(9, 50, jump_s), sample_at(10, 100, jump_s)]
    assert gpus.build_histories(samples, 4) == {0: [20, None, 50, 100]}
    for sample in samples[:3]:  # the machine was started again, and its clock begins anew
        sample["m"] += 1e6
        sample["t"] += jump_s
    assert gpus.build_histories(samples, 4) == {0: [20, None, 50, 100]}


def test_history_of_old_readings_keeps_their_order_when_the_date_is_set_back() -> None:
    figures = [(1000.0, 10), (1002.0, 20), (400.0, 60), (402.0, 90)]
    samples = [{"t": t, "gpus": [{"index": 0, "utilisation": use}]} for t, use in figures]
    assert gpus.build_histories(samples, 1) == {0: [45]}


def test_reading_is_recent_by_the_clock_since_boot() -> None:
    sample = [{"t": 1000.0, "m": 50.0}]
    day = 86_400
    for t, m, is_recent in (
        (1000 + 3 * day, 52.0, True), (1000 - 3 * day, 52.0, True), (1000.0, 90.0, False),
        (1000.0, 3.0, False), (1002.0, None, True), (1090.0, None, False),
    ):  # fmt: skip
        assert readings.is_recent(sample, Instant(t, m)) is is_recent


def test_history_ignores_invalid_readings() -> None:
    wrong: list[Any] = [None, 3, "x", {"index": 0}, {"index": [0], "utilisation": 3}]
    wrong += [{"index": "0", "utilisation": 3}, {"index": 0, "utilisation": "NaN"}]
    assert (
        gpus.build_histories([{"t": 5.0, "gpus": wrong}, {"t": "x"}, {"gpus": 3, "t": 6.0}], 4)
        == {}
    )
