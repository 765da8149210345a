"""The monitor of a log of another tool, and of a script that records itself."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from ftwizard.jobs.folder import write_json
from ftwizard.runs import watched
from ftwizard.runs.watched import Script
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.monitor.diagnosis import DiagnosisPage
from ftwizard.screens.monitor.page import MonitorPage
from tests.screens.frames import Scenario, assert_frame, drive, until, wait_for_text
from tests.screens.monitor.timed_runs import NOW, OVERFIT, TimedRun, every_size
from tests.screens.runs_helpers import living

pytestmark = pytest.mark.usefixtures("clock")


def write_state(folder: Path, step: int, total: int = 400, *, age_s: float = 4.0) -> Path:
    """Write a trainer's state at a step of a run that overfits from step 160 on."""
    history: list[dict[str, Any]] = []
    for at in range(1, step + 1):
        noise = 0.04 * math.sin(at * 1.7) * math.cos(at * 0.37)
        row = {"step": at, "loss": 0.4 + 2 * math.exp(-at / 60) + noise, "epoch": at / 133,
               "learning_rate": 2e-4 * (1 - at / total), "grad_norm": 0.8 + noise}  # fmt: skip
        history.append(row)
        if at % 20 == 0:
            rise = max(0, at - 160) / 300
            history.append({"step": at, "eval_loss": 0.7 + 1.6 * math.exp(-at / 60) + rise})
    path = folder / f"checkpoint-{step}" / "trainer_state.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"log_history": history, "global_step": step, "max_steps": total}))
    os.utime(path, (NOW - age_s,) * 2)
    return path


def watch_file(path: Path, size: tuple[int, int], scenario: Scenario | None = None) -> str:
    async def play(pilot: Pilot[Any]) -> None:
        def is_read() -> bool:
            screen = pilot.app.screen
            return isinstance(screen, MonitorPage) and not screen._reading

        await until(pilot, is_read)
        pilot.app.screen._run_view.draw()  # type: ignore[attr-defined]
        await pilot.pause(0.1)
        if scenario is not None:
            await scenario(pilot)

    return drive(FtwizardApp(("curve", str(path))), size, play)


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the output folder of a trainer, in the current folder."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "qwen-lora"
    write_state(folder, 300)
    return folder


@every_size
def test_log_of_another_tool_is_shown_and_diagnosed(output: Path, size: tuple[int, int]) -> None:
    shown = watch_file(output, size)
    assert_frame(f"monitor-curve-{size[0]}x{size[1]}", shown)
    assert "overfitting" in shown and "step 300 of 400" in shown
    assert "s stop" not in shown and "v save" not in shown and "no machine" not in shown


def test_log_that_no_longer_changes_is_not_called_training(output: Path) -> None:
    for path in output.rglob("trainer_state.json"):
        os.utime(path, (NOW - 7200,) * 2)
    shown = watch_file(output, (80, 24))
    assert "not changing" in shown and "Not changed for 2 h" in shown
    assert "training  step" not in shown and "ends " not in shown


def test_log_grows_while_it_is_shown(output: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        write_state(output, 400, age_s=1.0)
        await wait_for_text(pilot, "finished")

    shown = watch_file(output, (80, 24), play)
    assert "✓ finished" in shown and "shows the results" not in shown


def test_diagnosis_of_a_log_offers_no_actions_on_a_run(output: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("d")
        await until(pilot, lambda: isinstance(pilot.app.screen, DiagnosisPage))

    shown = watch_file(output, (120, 40), play)
    assert "overfitting" in shown and "Best:" in shown
    assert "new run from" not in shown and "stop now and keep" not in shown


def test_keys_of_a_run_do_nothing_on_a_log(output: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("s", "v", "e", "r", "b", "o", "enter")

    before = watch_file(output, (80, 24))
    assert watch_file(output, (80, 24), play) == before


def test_deleted_log_is_reported(output: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        for path in output.rglob("trainer_state.json"):
            path.unlink()
        await wait_for_text(pilot, "moved or deleted")

    assert "The file was moved or deleted" in watch_file(output, (80, 24), play)


def make_watched(timed_run: TimedRun) -> None:
    """Turn a run into one of a user's own script."""
    script = Script(
        output_dir="/data/out", trainer="SFTTrainer", model="Qwen/Qwen3-4B", processes=2
    )
    record = timed_run.folder.read_job()
    timed_run.folder.plan.unlink()
    inputs = msgspec.to_builtins(script)
    write_json(
        timed_run.folder.job,
        msgspec.structs.replace(record, kind=watched.KIND, inputs=inputs, plan=None),
    )


def watch_script(size: tuple[int, int]) -> str:
    async def play(pilot: Pilot[Any]) -> None:
        await until(
            pilot,
            lambda: isinstance(pilot.app.screen, MonitorPage) and not pilot.app.screen._reading,
        )
        pilot.app.screen._run_view.draw()  # type: ignore[attr-defined]
        await pilot.pause(0.1)

    return drive(FtwizardApp(("run", "tickets-0921")), size, play)


@every_size
def test_script_that_records_itself_has_the_keys_that_it_obeys(
    timed_run: TimedRun, size: tuple[int, int]
) -> None:
    make_watched(timed_run)
    timed_run.train(260, overfits=True)
    timed_run.write_event("finding", **OVERFIT)
    timed_run.write_reading()
    with living(timed_run.folder):
        shown = watch_script(size)
    assert_frame(f"monitor-script-{size[0]}x{size[1]}", shown)
    assert "s stop" in shown and "v save" in shown and "o output" not in shown


def test_script_that_ended_says_how_to_continue(timed_run: TimedRun) -> None:
    make_watched(timed_run)
    timed_run.train(260)
    timed_run.end("lost")
    shown = watch_script((80, 24))
    assert "✗ lost" in shown and "it was killed" in shown
    assert "resumes the run" not in shown and "ftwizard resume" not in shown
