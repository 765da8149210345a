"""The monitor's keys on a live run: stop, save, evaluate, output, leave."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot

from ftwizard.jobs import lock, requests
from ftwizard.jobs.folder import JobFolder
from ftwizard.jobs.status import observe
from ftwizard.screens import subprocesses
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.monitor.page import MonitorPage
from tests.helpers.jobs import make, start, until_ended, until_step
from tests.screens.frames import drive, frame, until, wait_for_text


def start_long_run(home: Path, **inputs: Any) -> JobFolder:
    """Start a long run of the dummy command."""
    folder = start(make(home / "runs" / "alive", steps=5000, step_s=0.05, **inputs))
    until_step(folder, 2)
    return folder


def test_stop_asks_then_saves_and_ends_the_run(home: Path) -> None:
    folder = start_long_run(home)

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "loss")
        await pilot.press("s")
        await wait_for_text(pilot, "Stop this run?")
        await pilot.press("escape")
        await pilot.pause(0.3)
        assert observe(folder).state == "running", "Esc leaves the run alone"
        await pilot.press("s")
        await wait_for_text(pilot, "Stop this run?")
        await pilot.press("enter")
        await wait_for_text(pilot, "■ stopped")

    shown = drive(FtwizardApp(("run", "alive")), (80, 24), play)
    assert "ftwizard resume alive" in shown
    assert until_ended(folder).end_reason == "stopped"
    assert (folder.path / "counter.json").exists(), "the run saved its state"


@pytest.mark.slow
def test_second_stop_kills_the_run(home: Path) -> None:
    folder = start_long_run(home, mode="deaf")

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "loss")
        await pilot.press("s")
        await wait_for_text(pilot, "Stop this run?")
        await pilot.press("enter")
        await wait_for_text(pilot, "stopping")
        await pilot.press("s")
        await wait_for_text(pilot, "Kill it now?")
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, MonitorPage))
        assert requests.read_pending(folder, "kill", 1) is None, "Enter never kills"
        await pilot.press("s")
        await wait_for_text(pilot, "Kill it now?")
        await pilot.press("y")
        await until(pilot, lambda: observe(folder).state == "ended")

    drive(FtwizardApp(("run", "alive")), (80, 24), play)
    assert until_ended(folder).end_reason == "killed"


def test_save_and_evaluate_write_request_files(home: Path) -> None:
    folder = start_long_run(home)

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "loss")
        await pilot.press("v")
        await wait_for_text(pilot, "Saving a checkpoint after this step.")
        await pilot.press("e")
        await wait_for_text(pilot, "Evaluating after this step")

    drive(FtwizardApp(("run", "alive")), (80, 24), play)
    assert requests.read_pending(folder, "save", 1)
    assert requests.read_pending(folder, "evaluate", 1)
    assert lock.is_held(folder.lock)


def test_output_shows_control_sequences_as_text(home: Path) -> None:
    folder = start_long_run(home)
    with folder.log.open("a") as log:
        log.write("plain\n[red]markup[/] \x1b]52;c;QQ==\x07\n" + "x" * 5000 + "\n")

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "loss")
        await pilot.press("o")
        await wait_for_text(pilot, "[red]markup[/] ␛]52;c;QQ==␇")

    drive(FtwizardApp(("run", "alive")), (80, 24), play)


def test_leaving_prints_the_watch_command_and_keeps_the_run(home: Path) -> None:
    folder = start_long_run(home)
    app = FtwizardApp(("run", "alive"))

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "loss")
        await pilot.press("escape")
        await pilot.pause(0.2)

    drive(app, (80, 24), play)
    assert app.session.farewell == ["Run alive keeps running. Come back with: ftwizard watch alive"]
    assert observe(folder).state == "running"


def test_stop_is_requested_even_if_the_screen_closes_at_once(home: Path) -> None:
    folder = start_long_run(home)

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "loss")
        await pilot.press("s")
        await wait_for_text(pilot, "Stop this run?")
        await pilot.press("enter", "escape")

    drive(FtwizardApp(("run", "alive")), (80, 24), play)
    assert until_ended(folder).end_reason == "stopped"


def test_resume_completes_even_if_the_screen_closes_at_once(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = start_long_run(home)
    requests.request_stop(folder, 1)
    until_ended(folder)
    ran: list[tuple[str, ...]] = []

    def run(*argv: str, **_: Any) -> None:
        time.sleep(1.0)
        ran.append(argv)

    monkeypatch.setattr(subprocesses, "run_blocking", run)

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "■ stopped")
        await pilot.press("r", "escape")
        await until(pilot, lambda: bool(ran))

    drive(FtwizardApp(("run", "alive")), (80, 24), play)
    assert ran == [("resume", str(folder.path))]


def test_failed_resume_shows_an_error(home: Path) -> None:
    folder = start_long_run(home)
    requests.request_stop(folder, 1)
    until_ended(folder)

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "■ stopped")
        kept = lock.take_exclusive(folder.lock)
        assert kept is not None
        await pilot.press("r")
        await wait_for_text(pilot, "✗")
        os.close(kept)

    assert "alive" in drive(FtwizardApp(("run", "alive")), (80, 24), play)


def test_evaluate_key_is_hidden_without_validation_data(home: Path) -> None:
    folder = start_long_run(home)
    shown: list[str] = []
    for split in ("{validation: 0.1}", "{validation: 0}"):
        folder.plan.write_text(
            f"data: {{files: {{train: /rows.jsonl}}, split: {split}}}\nmodel: {{name: owner/name}}\n"
            "allow: [no-validation]\n"
        )

        async def play(pilot: Pilot[Any]) -> None:
            await until(pilot, lambda: pilot.app.screen._run_view.plan is not None)  # type: ignore[attr-defined]
            await pilot.press("e")

        shown.append(drive(FtwizardApp(("run", "alive")), (100, 30), play))
    assert "e eval" in shown[0]
    assert "e eval" not in shown[1]


def test_output_follows_new_lines_unless_scrolled_up(home: Path) -> None:
    folder = start_long_run(home)
    with folder.log.open("a") as log:
        log.writelines(f"line {n}\n" for n in range(200))
    shown: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "loss")
        await pilot.press("o")
        await wait_for_text(pilot, "line 199")
        await pilot.press("pageup", "pageup")
        await pilot.pause(0.1)
        shown.append(frame(pilot.app))
        with folder.log.open("a") as log:
            log.write("brand new\n")
        await pilot.pause(1.2)
        shown.append(frame(pilot.app))
        await pilot.press("end")
        await wait_for_text(pilot, "brand new")

    drive(FtwizardApp(("run", "alive")), (80, 24), play)
    assert "line 199" not in shown[0]
    assert "line 150" in shown[0]
    assert "brand new" not in shown[1], "the view stays where it was scrolled to"


def test_command_palette_lists_the_key_actions(home: Path) -> None:
    start_long_run(home)
    offered: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "loss")
        offered.extend(command.title for command in pilot.app.get_system_commands(pilot.app.screen))

    drive(FtwizardApp(("run", "alive")), (80, 24), play)
    assert {"Stop", "Save", "Output", "Leave", "Help"} <= set(offered)
    assert not {"Theme", "Screenshot"} & set(offered)


# ---------------------------------------------------------------------- chart and diagnosis


def test_z_switches_to_the_chart_only_view_and_back(home: Path) -> None:
    start_long_run(home)

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "loss")
        await pilot.press("z")
        await wait_for_text(pilot, "z all")
        assert "── train" in frame(pilot.app) and "no GPU" not in frame(pilot.app)
        await pilot.press("z")
        await wait_for_text(pilot, "no GPU")

    drive(FtwizardApp(("run", "alive")), (100, 30), play)


def test_diagnosis_asks_before_stopping_the_run(home: Path) -> None:
    folder = start_long_run(home)
    with folder.events.open("ab") as file:
        file.write(msgspec.json.encode({
            "v": 1, "t": time.time(), "kind": "finding", "attempt": 1, "step": 3, "code": "overfit",
            "severity": "warning", "message": "It rises.", "action": "Stop now.", "verdict": True,
            "actions": ["stop_keep_best", "again_half_rate", "evaluate"], "confidence": 0.9,
            "evidence": {},
        }) + b"\n")  # fmt: skip

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "! overfitting")
        await pilot.press("d")
        await wait_for_text(pilot, "new run from the start: half the learning rate")
        await pilot.press("down", "enter")
        await wait_for_text(pilot, "This run is still training. Stop it first?")
        await pilot.press("escape")
        await pilot.press("down", "enter")
        await wait_for_text(pilot, "Evaluating after this step.")
        await pilot.press("up", "up", "enter")
        await wait_for_text(pilot, "Stop this run?")
        assert observe(folder).state == "running"
        await pilot.press("enter")
        await until(pilot, lambda: observe(folder).state == "ended")

    drive(FtwizardApp(("run", "alive")), (80, 24), play)
    assert until_ended(folder).end_reason == "stopped"
