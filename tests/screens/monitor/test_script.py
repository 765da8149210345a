"""The training of a run as a script, from its results page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from ftwizard.screens import subprocesses
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.dialogs.dialog import NoticeDialog
from ftwizard.screens.monitor.results import ResultsPage
from tests.runs.test_ejected_script import REPORT
from tests.screens.frames import drive, until, wait_for_text
from tests.screens.monitor.evaluated_runs import evaluate, open_results, write_evaluation


def test_i_writes_the_script_of_the_run(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_evaluation(home, evaluate([]))
    monkeypatch.chdir(tmp_path)
    asked: list[tuple[str, ...]] = []

    async def run(*argv: str, **options: Any) -> Any:
        asked.append(argv)
        return msgspec.to_builtins(REPORT)

    monkeypatch.setattr(subprocesses, "run_command", run)

    async def play(pilot: Pilot[Any]) -> None:
        await open_results(pilot)
        await pilot.press("i")
        await wait_for_text(pilot, "Write a training script?")
        await until(pilot, lambda: isinstance(pilot.app.focused, Input))
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, NoticeDialog))
        await wait_for_text(pilot, "✓ /data/one-script/train.py")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, ResultsPage))

    drive(FtwizardApp(("run", "one")), (80, 24), play)
    assert asked == [("eject", str(folder.path), "--out", str(tmp_path / "one-script"))]
