"""A data set on the Hub, through the wizard."""

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
from tests.screens.frames import drive, frame, says
from tests.screens.wizard.steps import on, to_data


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Let the commands that screens run see a Hub with one data set, and caches of their own."""
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


def test_a_hub_id_is_fetched_and_the_plan_names_the_file(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner/name-of-mine.jsonl").write_text("{}")  # a suggestion that must not be taken
    hub.slow_s = 1.0
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await to_data(pilot)
        recorded.append(frame(pilot.app))
        await pilot.press(*"owner/name", "enter")
        await says(pilot, "Downloading owner/name")
        await says(pilot, "fetching: owner/name")
        hub.slow_s = 0.0
        await says(pilot, "9 rows, Alpaca")
        recorded.append(frame(pilot.app))
        await pilot.press("enter")
        await on(pilot, RecipePage)
        recorded.append(pilot.app.screen._draft.plan.data.files.train)  # type: ignore[attr-defined]
        await pilot.press("escape")
        await on(pilot, DataPage)
        recorded.append(frame(pilot.app))

    drive(FtwizardApp(("new", "")), (100, 30), play)
    assert "a file, or a Hub id" in recorded[0]
    assert "owner/name on the Hugging Face Hub, split train, commit " in recorded[1]
    file = Path(recorded[2])
    assert file.parent == tmp_path / "cache/datasets"
    assert file.name.startswith("owner--name--default--train-") and file.is_file()
    assert "✓ 9 rows, Alpaca" in recorded[3]


@pytest.mark.slow
def test_what_the_hub_refuses_is_a_sentence_and_keeps_what_was_typed(hub: Hub) -> None:
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await to_data(pilot)
        await pilot.press(*"owner/name:dev", "enter")
        await says(pilot, "has no split")
        recorded.append(frame(pilot.app))
        await pilot.press("enter")
        await on(pilot, DataPage)
        await pilot.press(*["backspace"] * 3, *"test", "enter")
        await says(pilot, "split test, commit")

    drive(FtwizardApp(("new", "")), (100, 30), play)
    assert "it has: train, test." in recorded[0]


def test_a_chosen_suggestion_still_goes_before_an_id(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "owner").mkdir()
    (tmp_path / "owner/name-of-mine.jsonl").write_text("{}")

    async def play(pilot: Pilot[Any]) -> None:
        await to_data(pilot)
        await pilot.press(*"owner/name", "down", "enter")
        await says(pilot, "name-of-mine.jsonl")
        await says(pilot, "match no known format")

    drive(FtwizardApp(("new", "")), (100, 30), play)
    assert hub.asked == []
