"""Working time of a job, whatever the date does and however long the machine is suspended."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.jobs import clock, events
from ftwizard.jobs.clock import Instant, TimeAlive
from ftwizard.runs.progress import Progress
from ftwizard.train import measure
from tests.helpers.progress import measure_alive

DAY = 86_400.0
DATES = st.floats(0, 4e9)
SECONDS = st.floats(0, 1e5)


@st.composite
def _attempts(draw: st.DrawFn) -> list[list[tuple[float, float, float, bool]]]:
    """Draw attempts of (date, seconds awake and asleep since the last event, has a clock)."""
    event = st.tuples(DATES, SECONDS, SECONDS, st.booleans())
    return draw(st.lists(st.lists(event, min_size=1, max_size=8), max_size=4))


def _write(attempts: list[list[tuple[float, float, float, bool]]]) -> list[dict[str, Any]]:
    lines = []
    for number, attempt in enumerate(attempts, 1):
        m, asleep = 5e4 * (-number % 3), 0.0  # each may begin after a reboot
        for t, awake_s, asleep_s, has_clock in attempt:
            m, asleep = m + awake_s, asleep + asleep_s
            clocks = {"m": m, "asleep": asleep} if has_clock else {}
            lines.append({"kind": "log", "t": t, "attempt": number, **clocks})
    return lines


@given(attempts=_attempts())
def test_only_the_monotonic_clock_counts_where_events_have_it(attempts: Any) -> None:
    attempts = [[(*event[:3], True) for event in attempt] for attempt in attempts]
    alive = measure_alive(_write(attempts))
    later = [event for attempt in attempts for event in attempt[1:]]
    awake_s, asleep_s = (sum(event[part] for event in later) for part in (1, 2))
    assert alive.seconds() == pytest.approx(awake_s, abs=1e-3)
    assert alive.billed_seconds() == pytest.approx(awake_s + asleep_s, abs=1e-3)


@given(attempts=_attempts())
def test_each_attempt_and_each_event_only_adds_time(attempts: Any) -> None:
    lines = _write(attempts)
    alive, totals = TimeAlive(), [(0.0, 0.0)]
    for line in lines:
        now = events.get_instant(line)
        assert now is not None
        alive.record(line["attempt"], now)
        totals.append((alive.seconds(), alive.billed_seconds()))
    for (before, billed_before), (after, billed_after) in itertools.pairwise(totals):
        assert before - 1e-6 <= after <= billed_after and billed_before - 1e-6 <= billed_after
    assert alive == measure_alive(lines)
    parts = sum(measure_alive(_write([attempt])).seconds() for attempt in attempts)
    assert alive.seconds() == pytest.approx(parts, abs=1e-3), "nothing between two attempts counts"


@given(dates=st.lists(DATES, max_size=20))
def test_date_of_old_events_counts_only_where_it_moves_forward(dates: list[float]) -> None:
    alive = measure_alive({"kind": "log", "t": t, "attempt": 1} for t in dates)
    forward = sum(max(0.0, b - a) for a, b in itertools.pairwise(dates))
    assert alive.seconds() == alive.billed_seconds() == pytest.approx(forward)
    if sorted(dates) == dates and dates:
        assert alive.seconds() == pytest.approx(dates[-1] - dates[0])


@pytest.mark.parametrize("jump_s", [3 * DAY, -2 * 365 * DAY])
def test_jump_of_the_date_changes_no_figure_of_the_training(jump_s: float) -> None:
    figures = []
    for shift in (0.0, jump_s):
        progress, lines = Progress(), list[dict[str, Any]]()
        for step in range(21):
            t = 1.7e9 + step + (shift if step >= 10 else 0)
            kind = {"kind": "log", "loss": 1.0} if step else {"kind": "phase", "phase": "training"}
            lines.append({
                "t": t, "m": 500.0 + step, "attempt": 1, "step": step, "tokens": 50 * step,
                "total": 40, **kind,
            })  # fmt: skip
        progress.feed(lines)
        now = Instant(1.0, 523.0)
        figures.append((
            progress.tokens_per_s, progress.eta_s,
            progress.limited_s(now), progress.wait_s(now), progress.alive.billed_seconds(now),
            [progress.times[index] for index in range(len(progress.times))],
            measure.training_seconds(lines),
        ))  # fmt: skip
    assert figures[0] == figures[1]
    assert figures[0][:5] == (50, 20, 23, 3, 23) and figures[0][6] == 20


def test_suspended_time_is_billed_and_is_not_training_time() -> None:
    progress = Progress()
    start = {"kind": "phase", "phase": "training", "step": 0, "total": 9, "t": 0.0, "m": 7.0}
    steps = [
        {"kind": "log", "step": step, "t": 0.0, "m": 7.0 + step, "asleep": 3600.0 * (step > 2)}
        for step in range(1, 5)
    ]
    progress.feed([start, *steps])
    now = Instant(0.0, 12.0, 4000.0)
    assert (progress.eta_s, progress.limited_s(now)) == (5, 5)
    assert progress.alive.seconds(now) == 5 and progress.alive.billed_seconds(now) == 4005


def test_clocks_are_read_at_one_moment() -> None:
    first, second = clock.read(), clock.read()
    assert first.m is not None and second.m is not None and first.m <= second.m
    assert second.asleep == first.asleep


@pytest.mark.parametrize("broken", [{"m": -1}, {"m": "nan"}, {"m": 1e300}, {"m": 2.0, "asleep": "inf"}])  # fmt: skip
def test_broken_clock_of_an_event_falls_back_to_its_date(broken: dict[str, Any]) -> None:
    assert events.get_instant({"t": 5.0, **broken}) == Instant(5.0)
