"""Lines and marks of findings on the monitor's chart, and the findings below it."""

from __future__ import annotations

from typing import Any

import pytest

from ftwizard.runs.progress import Progress
from ftwizard.screens.monitor import readings
from ftwizard.screens.monitor.chart_data import Axis, ChartData, ChartSettings

STEP = 200
"""The step that reports the findings."""


def list_finding_marks(axis: Axis = "step", **text: Any) -> list[tuple[float, str]]:
    """Return the marks of a finding in a run with 100 steps per epoch."""
    events: list[dict[str, Any]] = [
        {"kind": "log", "step": step, "loss": 1.0, "epoch": step / 100} for step in range(1, 201)
    ]
    events.append({"kind": "finding", "step": STEP, **text})
    progress = Progress()
    progress.feed([{"t": 1.0, "attempt": 1, **event} for event in events])
    marks = ChartData(ChartSettings(axis=axis)).marks(progress)
    return [(mark.x, mark.name) for mark in marks if mark.kind == "finding"]


def test_finding_is_marked_at_its_start_or_its_report() -> None:
    assert list_finding_marks(code="overfit", severity="warning", since=160) == [
        (160, "overfitting")
    ]
    assert list_finding_marks(code="overfit", severity="warning", since=None) == [
        (STEP, "overfitting")
    ]
    assert list_finding_marks("epoch", code="overfit", severity="warning", since=50) == [
        (0.5, "overfitting")
    ]
    assert list_finding_marks(code="disk_low", severity="warning") == [(STEP, "disk low")]


@pytest.mark.parametrize("since", [True, -1, 1.5, "160", [160], 10**400])
def test_invalid_start_step_of_a_finding_is_ignored(since: Any) -> None:
    assert list_finding_marks(code="spiky", severity="warning", since=since) == [(STEP, "spiky")]


def test_only_spikes_and_plateaus_are_marked_among_info_findings() -> None:
    assert list_finding_marks(code="spike", severity="info", since=40) == [(40, "spike")]
    assert list_finding_marks(code="plateau", severity="info", since=150) == [(150, "flat")]
    for code in ("healthy", "insufficient", "no_eval", "efficiency"):
        assert list_finding_marks(code=code, severity="info", since=150) == []


def test_warnings_are_kept_before_newer_notes() -> None:
    """The verdict takes a line of its own, and one of the past is no longer true."""
    findings: list[dict[str, Any]] = [
        {"code": "length_only", "severity": "warning", "message": "Length alone."},
        {"code": "overfit", "severity": "warning", "verdict": True, "message": "It overfits."},
        {"code": "target", "severity": "info", "message": "The target."},
        {"code": "power", "severity": "info", "message": "The power."},
        {"code": "healthy", "severity": "info", "verdict": True, "message": "All is well."},
    ]
    progress = Progress()
    progress.feed([{"t": 1.0, "attempt": 1, "kind": "finding", **event} for event in findings])

    def show(max_lines: int) -> list[str]:
        lines = readings.format_findings(progress, max_lines, is_alive=True).plain.splitlines()
        return [line.rpartition("  ")[2].strip("!·✓ ") for line in lines[1:]]

    assert show(1) == []
    assert show(2) == ["Length alone."]
    assert show(3) == ["Length alone.", "The power."]
    assert show(4) == ["Length alone.", "The target.", "The power."]
    assert show(6) == ["Length alone.", "It overfits.", "The target.", "The power."]


def test_smoothed_line_says_so_and_a_schedule_is_drawn_as_it_is() -> None:
    progress = Progress()
    for step, loss, rate in ((1, 4.0, 0.0), (2, 2.0, 5e-4), (3, 1.0, 1e-3)):
        event = {"t": 1.0, "attempt": 1, "kind": "log", "step": step}
        progress.feed([{**event, "loss": loss, "learning_rate": rate}])

    def last_value(name: str, settings: ChartSettings) -> float:
        (line,) = [line for line in ChartData(settings).lines(progress) if line.name == name]
        return line.series[-1][1]

    assert last_value("train, smoothed", ChartSettings()) > 1.0
    assert last_value("train", ChartSettings(smoothing=0.0)) == 1.0
    assert last_value("learning rate", ChartSettings(metric="learning_rate", smoothing=0.9)) == 1e-3


def test_the_reward_is_drawn_first_and_the_loss_on_request() -> None:
    progress, settings = Progress(), ChartSettings(smoothing=0.0)
    event = {"t": 1.0, "attempt": 1, "kind": "log"}
    progress.feed([{**event, "step": step, "reward": step / 10} for step in (1, 2)])
    progress.feed([{**event, "kind": "eval", "step": 2, "eval_reward": 0.3}])
    reward, validation = ChartData(settings).lines(progress)
    assert (reward.name, reward.series[-1][1]) == ("reward", 0.2)
    assert (validation.name, validation.series[-1][1]) == ("validation reward", 0.3)
    progress.feed([{**event, "step": 3, "loss": 1.5}])
    assert ChartData(settings).lines(progress)[0].name == "reward"  # its loss shows nothing
    chosen = ChartSettings(metric="loss", smoothing=0.0)
    assert ChartData(chosen).lines(progress)[0].name == "train"
