"""Fixtures shared by the tests of the screens."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ftwizard.hardware import machine
from ftwizard.screens import subprocesses
from tests.screens.monitor.timed_runs import NOW, TimedRun


@pytest.fixture(autouse=True)
def forget_typed_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocesses, "_session_keys", {})


@pytest.fixture(autouse=True)
def without_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    """Show the same questions on a machine that has Slurm."""
    monkeypatch.setattr(machine, "has_slurm", lambda: False)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Freeze the clock, in UTC."""
    monkeypatch.setattr(time, "time", lambda: NOW)
    with monkeypatch.context() as zone:
        zone.setenv("TZ", "UTC")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def timed_run(home: Path, clock: None) -> TimedRun:
    return TimedRun(home)


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Return a file of twelve valid Alpaca rows."""
    file = tmp_path / "rows.jsonl"
    lines = (
        json.dumps({"instruction": f"Question {n}", "input": "", "output": f"Answer {n}"})
        for n in range(12)
    )
    file.write_text("\n".join(lines))
    return file
