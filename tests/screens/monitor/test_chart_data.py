"""Where the monitor's chart marks what was found."""

from __future__ import annotations

from typing import Any

import pytest

from ftwizard.runs.progress import Progress
from ftwizard.screens.monitor.chart_data import Axis, ChartData, ChartSettings

STEP = 200
"""When all of it was said."""


def findings(axis: Axis = "step", **text: Any) -> list[tuple[float, str]]:
    """Return the marks of a finding in a run whose epochs are 100 steps."""
    events: list[dict[str, Any]] = [
        {"kind": "log", "step": step, "loss": 1.0, "epoch": step / 100} for step in range(1, 201)
    ]
    events.append({"kind": "finding", "step": STEP, **text})
    progress = Progress()
    progress.feed([{"t": 1.0, "attempt": 1, **event} for event in events])
    marks = ChartData(ChartSettings(axis=axis)).marks(progress)
    return [(mark.x, mark.name) for mark in marks if mark.kind == "finding"]


def test_where_it_began_else_where_it_was_said() -> None:
    assert findings(code="overfit", severity="warning", since=160) == [(160, "overfitting")]
    assert findings(code="overfit", severity="warning", since=None) == [(STEP, "overfitting")]
    assert findings("epoch", code="overfit", severity="warning", since=50) == [(0.5, "overfitting")]
    assert findings(code="disk_low", severity="warning") == [(STEP, "disk low")]


@pytest.mark.parametrize("since", [True, -1, 1.5, "160", [160], 10**400])
def test_a_beginning_that_is_no_step_is_as_if_it_were_not_there(since: Any) -> None:
    assert findings(code="spiky", severity="warning", since=since) == [(STEP, "spiky")]


def test_a_spike_and_a_flat_stretch_have_a_place_what_is_well_has_none() -> None:
    assert findings(code="spike", severity="info", since=40) == [(40, "one spike")]
    assert findings(code="plateau", severity="info", since=150) == [(150, "flat")]
    for code in ("healthy", "insufficient", "no_eval", "efficiency"):
        assert findings(code=code, severity="info", since=150) == []
