"""Hugging Face Hub data sets in the wizard."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot

from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.wizard.data.page import DataPage
from ftwizard.screens.wizard.recipe.page import RecipePage
from tests.doubles import hub_datasets
from tests.doubles.hub_datasets import Hub
from tests.screens.frames import drive, frame, wait_for_text
from tests.screens.wizard.steps import open_data_page, wait_for_page


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Point the commands that screens run to a fake Hub with one data set and empty caches."""
    rows = [
        {"instruction": f"Question {n}", "input": "", "output": f"Answer {n}"} for n in range(9)
    ]
    data = "\n".join(map(json.dumps, rows)).encode()
    with hub_datasets.serve() as server:
        server.add("owner/name", {"train.jsonl": data, "test.jsonl": data})
        for name, value in (
            ("HF_ENDPOINT", server.url), ("HF_HUB_OFFLINE", "0"), ("HF_TOKEN", ""),
            ("HF_HOME", str(tmp_path / "hf")), ("FTWIZARD_CACHE", str(tmp_path / "cache")),
        ):  # fmt: skip
            monkeypatch.setenv(name, value)
        monkeypatch.chdir(tmp_path)
        yield server


def test_hub_id_is_downloaded_and_the_plan_names_the_file(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner/name-of-mine.jsonl").write_text("{}")  # a suggestion that must not be taken
    hub.is_open.clear()
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await open_data_page(pilot)
        recorded.append(frame(pilot.app))
        await pilot.press(*"owner/name", "enter")
        await wait_for_text(pilot, "fetching: owner/name")
        hub.is_open.set()
        await wait_for_text(pilot, "9 rows, Alpaca")
        recorded.append(frame(pilot.app))
        await pilot.press("enter")
        await wait_for_page(pilot, RecipePage)
        recorded.append(pilot.app.screen._draft.plan.data.files.train)  # type: ignore[attr-defined]
        await pilot.press("escape")
        await wait_for_page(pilot, DataPage)
        recorded.append(frame(pilot.app))

    drive(FtwizardApp(("new", "")), (100, 30), play)
    assert "a file, or a Hub id" in recorded[0]
    assert "owner/name on the Hugging Face Hub, split train, commit " in recorded[1]
    file = Path(recorded[2])
    assert file.parent == tmp_path / "cache/datasets"
    assert file.name.startswith("owner--name--default--train-") and file.is_file()
    assert "✓ 9 rows, Alpaca" in recorded[3]


@pytest.mark.slow
def test_missing_hub_split_shows_an_error_and_keeps_the_input(hub: Hub) -> None:
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await open_data_page(pilot)
        await pilot.press(*"owner/name:dev", "enter")
        await wait_for_text(pilot, "has no split")
        recorded.append(frame(pilot.app))
        await pilot.press("enter")
        await wait_for_page(pilot, DataPage)
        await pilot.press(*["backspace"] * 3, *"test", "enter")
        await wait_for_text(pilot, "split test, commit")

    drive(FtwizardApp(("new", "")), (100, 30), play)
    assert "it has: train, test." in recorded[0]


def test_chosen_file_suggestion_takes_precedence_over_a_hub_id(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner/name-of-mine.jsonl").write_text("{}")

    async def play(pilot: Pilot[Any]) -> None:
        await open_data_page(pilot)
        await pilot.press(*"owner/name")
        await wait_for_text(pilot, "name-of-mine.jsonl")
        await pilot.press("down", "enter")
        await wait_for_text(pilot, "match no known format")

    drive(FtwizardApp(("new", "")), (100, 30), play)
    assert hub.asked == []
