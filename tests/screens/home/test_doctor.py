"""The doctor page: problems first, quick checks at once, trial steps as they finish."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from ftwizard.errors import FtwizardError
from ftwizard.jobs.events import EventWriter
from ftwizard.screens import subprocesses
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.home.doctor import DoctorPage
from tests.screens.frames import assert_frame, drive, frame, until, wait_for_text

QUICK: list[dict[str, str]] = [
    {"name": "Python", "status": "ok", "found": "3.11.7 in /venv", "fix": ""},
    {"name": "GPU", "status": "ok", "found": "NVIDIA L4, 24.0 GB; driver 570.1", "fix": ""},
    {
        "name": "CUDA", "status": "missing",
        "found": "torch 2.13.0 is built for CUDA 13.0; the driver (570.1) supports only 12.8",
        "fix": "Update the driver to 580 or newer, or install torch for CUDA 12.",
    },
    *({"name": f"package {i}", "status": "ok", "found": f"1.{i}", "fix": ""} for i in range(20)),
    {
        "name": "key: huggingface", "status": "warning",
        "found": "none: gated models cannot be fetched", "fix": "hf auth login",
    },
]  # fmt: skip
STEP = {"name": "step: GPU 0", "status": "ok", "found": "forward, backward, optimizer", "fix": ""}


class Command:
    """A fake ``ftwizard doctor`` that reports the quick checks, then ends when released."""

    def __init__(self) -> None:
        self.released = asyncio.Event()
        self.error: FtwizardError | None = None
        self.calls: list[tuple[str, ...]] = []

    async def __call__(self, *argv: str, progress: str | None = None) -> Any:
        self.calls.append(argv)
        if self.error:
            raise self.error
        assert progress is not None
        events = EventWriter(Path(progress), 1)
        events.write("report", report={"checks": QUICK})
        events.write("phase", phase="trying", what="the backward pass on cuda:0")
        events.close()
        await self.released.wait()
        return {"checks": [*QUICK, STEP]}


def show(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    size: tuple[int, int],
    play: Callable[[Pilot[Any]], Awaitable[None]],
) -> str:
    monkeypatch.setattr(subprocesses, "run_command", command)
    return drive(FtwizardApp(("doctor", "")), size, play)


@pytest.mark.parametrize("size", [(80, 24), (60, 16)])
def test_doctor_lists_missing_before_warnings_before_ok(
    size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = Command()
    command.released.set()
    shown = show(
        command, monkeypatch, size, lambda pilot: wait_for_text(pilot, "1 missing, 1 warning")
    )
    assert shown.index("✗ CUDA") < shown.index("! key: huggingface") < shown.index("✓ Python")
    assert_frame(f"doctor-{size[0]}x{size[1]}", shown)


def test_doctor_shows_quick_checks_before_the_trial_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    command = Command()

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "● trying: the backward pass on cuda:0")
        assert "✗ CUDA" in frame(pilot.app) and "step: GPU 0" not in frame(pilot.app)
        command.released.set()
        await wait_for_text(pilot, "1 missing, 1 warning")
        assert "✓ step: GPU 0" in frame(pilot.app)

    show(command, monkeypatch, (80, 50), play)
    assert command.calls == [("doctor",)]


def test_doctor_keys_scroll_and_rerun_the_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    command = Command()
    command.released.set()

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "1 missing")
        assert "package 19" not in frame(pilot.app)
        await pilot.press("end")
        await wait_for_text(pilot, "✓ step: GPU 0")
        assert "1 missing" in frame(pilot.app), "the summary stays visible"
        await pilot.press("home", "pagedown")
        await until(pilot, lambda: "✗ CUDA" not in frame(pilot.app))
        await pilot.press("r")
        await until(pilot, lambda: len(command.calls) == 2)

    show(command, monkeypatch, (60, 16), play)


def test_failed_doctor_command_shows_an_error_dialog(monkeypatch: pytest.MonkeyPatch) -> None:
    command = Command()
    command.error = FtwizardError("The command “doctor” failed.", "Do this.")

    async def play(pilot: Pilot[Any]) -> None:
        await until(pilot, lambda: isinstance(pilot.app.screen, ErrorDialog))
        assert "The command “doctor” failed." in frame(pilot.app)
        await pilot.press("enter")
        await until(pilot, lambda: not isinstance(pilot.app.screen, DoctorPage | ErrorDialog))

    show(command, monkeypatch, (80, 24), play)


def test_doctor_page_runs_the_real_command() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "! GPU")
        await pilot.press("end")
        await wait_for_text(pilot, "✓ trl")
        await pilot.press("escape")  # also cancels the command
        await until(pilot, lambda: not isinstance(pilot.app.screen, DoctorPage))
        await pilot.pause(0.5)

    drive(FtwizardApp(("doctor", "")), (80, 60), play)
