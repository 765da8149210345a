"""The wizard and a job at a platform: from a raw file on, with the real commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from ftwizard.hosted_platforms import HostedProvider
from ftwizard.jobs.folder import JobFolder
from ftwizard.runs import remote
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.dialogs.questions import TypedConfirm
from ftwizard.screens.monitor.page import MonitorPage
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.widgets.file_input import FileInput
from ftwizard.screens.wizard.after_training import AfterTrainingPage
from ftwizard.screens.wizard.data.page import DataPage
from ftwizard.screens.wizard.hosted.account import AccountPage
from ftwizard.screens.wizard.hosted.review import HostedReviewPage
from ftwizard.screens.wizard.hosted.settings import HostedSettingsPage
from ftwizard.screens.wizard.provider.page import ProviderPage
from ftwizard.screens.wizard.setting_row import SettingRow
from tests.doubles.aws import SETTINGS as AWS_SETTINGS
from tests.doubles.openai_service import RunningService
from tests.doubles.vertex_service import BUCKET as VERTEX_BUCKET
from tests.helpers.hosted_doubles import serve_double
from tests.helpers.results import read_target
from tests.helpers.rows import write_chats
from tests.screens.frames import drive, frame, until, wait_for_text
from tests.screens.wizard.steps import paste, wait_for_page


async def choose_openai(pilot: Pilot[Any]) -> None:
    await wait_for_page(pilot, ProviderPage)
    pilot.app.screen.query_one("#provider", Choice).value = "openai"
    await pilot.pause()
    await pilot.press("enter")
    await wait_for_page(pilot, AccountPage)


async def walk_to_review(pilot: Pilot[Any], file: Path) -> None:
    await wait_for_text(pilot, "accepts the key")
    await pilot.press("enter")
    await wait_for_page(pilot, DataPage)
    await paste(pilot, file)
    await pilot.press("enter")
    await wait_for_text(pilot, "→ Continue with")
    await pilot.press("enter")
    await wait_for_page(pilot, HostedSettingsPage)
    await pilot.press("down", "2", "enter")  # the number of epochs
    await wait_for_page(pilot, AfterTrainingPage)
    await pilot.press("enter")
    await wait_for_page(pilot, HostedReviewPage)


@pytest.mark.slow
def test_a_raw_file_becomes_a_started_job(
    openai_service: RunningService, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("FTWIZARD_POLL_S", "3")
    file = write_chats(tmp_path / "spiders.jsonl")
    frames: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await choose_openai(pilot)
        await wait_for_text(pilot, "needs a key")
        await pilot.press(*openai_service.key, "enter")
        await walk_to_review(pilot, file)
        await wait_for_text(pilot, "to 127.0.0.1")
        frames.append(frame(pilot.app))
        assert openai_service.control.list_jobs() == []
        await pilot.press("enter")
        await wait_for_page(pilot, TypedConfirm)
        await pilot.press("enter")
        assert isinstance(pilot.app.screen, TypedConfirm), "a stray Enter sends nothing"
        await pilot.press(*"upload", "enter")
        await wait_for_page(pilot, MonitorPage)
        await until(pilot, lambda: bool(openai_service.control.list_jobs()))
        await wait_for_text(pilot, "ftjob-")
        frames.append(frame(pilot.app))
        await pilot.press("s")
        await wait_for_text(pilot, "End the job at OpenAI?")
        frames.append(frame(pilot.app))
        await pilot.press("enter")
        await wait_for_text(pilot, "cancelled")

    drive(FtwizardApp(("new", "")), (100, 30), play)
    (folder,) = (home / "runs").iterdir()
    record = remote.read(JobFolder(folder))
    assert record is not None and record.provider == "openai"
    assert "n_epochs: 2" in (folder / "plan.yaml").read_text()
    (job,) = openai_service.control.list_jobs()
    assert "cancelled" in str(job)
    for path in [*home.rglob("*"), *(tmp_path / "config").rglob("*")]:
        if path.is_file():
            assert openai_service.key.encode() not in path.read_bytes(), path
    assert openai_service.key not in "".join(frames)
    assert "no GPU" not in frames[1] and "OpenAI" in frames[1]


CLOUDS: dict[HostedProvider, tuple[str, dict[str, str]]] = {
    "bedrock": (
        "amazon.nova-lite-v1:0:300k", {"bucket": AWS_SETTINGS["bucket"], "role": AWS_SETTINGS["role"]},
    ),
    "vertex": ("gemini-3.5-flash", {"bucket": VERTEX_BUCKET}),
}  # fmt: skip
"""The model and the settings that a person enters."""


async def set_up(pilot: Pilot[Any], model: str, settings: dict[str, str]) -> None:
    await wait_for_page(pilot, HostedSettingsPage)
    page = pilot.app.screen
    page.query_one("#model-name", FileInput).query_one(Input).value = model
    for name, value in settings.items():
        page.query_one(f"#setting-{name}", SettingRow).query_one(Input).value = value
    await pilot.pause()
    await pilot.press("enter")


@pytest.mark.slow
@pytest.mark.parametrize("service", CLOUDS)
def test_a_raw_file_becomes_a_model_with_its_verdict(
    service: HostedProvider, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FTWIZARD_POLL_S", "0.2")
    file = write_chats(tmp_path / "spiders.jsonl")
    model, settings = CLOUDS[service]

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_page(pilot, ProviderPage)
        pilot.app.screen.query_one("#provider", Choice).value = "cloud"
        pilot.app.screen.query_one("#service", Choice).value = service
        await pilot.pause()
        await pilot.press("enter")
        await wait_for_page(pilot, AccountPage)
        await wait_for_text(pilot, "accepts the login")
        await pilot.press("enter")
        await wait_for_page(pilot, DataPage)
        await paste(pilot, file)
        await pilot.press("enter")
        await wait_for_text(pilot, "→ Continue with")
        await pilot.press("enter")
        await set_up(pilot, model, settings)
        await wait_for_page(pilot, AfterTrainingPage)
        await pilot.press("enter")
        await wait_for_page(pilot, HostedReviewPage)
        await wait_for_text(pilot, "(127.0.0.1")
        await pilot.press("enter")
        await wait_for_page(pilot, TypedConfirm)
        await pilot.press(*"upload", "enter")
        await wait_for_page(pilot, MonitorPage)
        (folder,) = (home / "runs").iterdir()
        await until(pilot, (folder / "result.json").is_file)
        await wait_for_text(pilot, "r results")

    rate = {"requests_per_minute": 60_000} if service == "bedrock" else {}
    with serve_double(service, **rate) as double:
        for name, value in double.environment.items():
            monkeypatch.setenv(name, value)
        drive(FtwizardApp(("new", "")), (100, 30), play)
        (job,) = double.list_jobs()
    (folder,) = (home / "runs").iterdir()
    result = json.loads((folder / "result.json").read_text())
    assert result["remote"]["job_id"] == job["id"] and result["remote"]["provider"] == service
    assert read_target(JobFolder(folder)).n > 0
