"""Interrupted wizards on the home page: continued, forgotten, and gone once a run is started."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from textual.app import ComposeResult
from textual.pilot import Pilot
from textual.widgets import Input, Static

from ftwizard.plan import schema
from ftwizard.screens import navigation
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.dialogs.questions import ConfirmDialog
from ftwizard.screens.draft import STEPS, draft_document, saved_drafts
from ftwizard.screens.draft.drafts import Draft, PageOutcome
from ftwizard.screens.draft.saved_drafts import DraftFile
from ftwizard.screens.home.page import HomePage
from ftwizard.screens.wizard.data.page import DataPage
from ftwizard.screens.wizard.page import DraftPage
from ftwizard.screens.wizard.recipe.page import RecipePage
from tests.helpers.machines import make_machine
from tests.screens.frames import assert_frame, drive, frame, until, wait_for_text
from tests.screens.wizard.steps import wait_for_page

PAGES = (
    ("provider.page", "ProviderPage"), ("data.page", "DataPage"), ("recipe.page", "RecipePage"),
    ("after_training", "AfterTrainingPage"), ("estimate.page", "EstimatePage"),
    ("review", "ReviewPage"),
)  # fmt: skip
"""Module and name of the wizard's pages."""
STEP_OF_PAGES = [0, 1, 2, 2, 3, 4]


def _leave_at(step: str, file: Path) -> None:
    draft = Draft(make_machine(extras=("local",)))
    files = draft.plan.data.files
    draft = draft.with_check(type(files)(train=str(file)), None).with_recipe(epochs=2.5)
    saved = DraftFile()
    saved.save(str(file), STEPS.index(step), draft_document.encode(draft))
    saved.release()


def test_home_offers_interrupted_drafts_first(rows: Path, clock: None) -> None:
    _leave_at("Recipe", rows)
    assert_frame("home-draft-80x24", drive(FtwizardApp(), (80, 24)))


def test_continue_opens_the_page_that_was_left_with_the_rows_read_again(rows: Path) -> None:
    _leave_at("Recipe", rows)

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "rows.jsonl, recipe page")
        await pilot.press("r")
        await wait_for_page(pilot, RecipePage)
        assert isinstance(pilot.app.screen, RecipePage)
        draft = pilot.app.screen._draft
        assert draft.checked and draft.checked.usable == 12 and not draft.is_stale
        assert draft.plan.recipe.epochs == 2.5

    drive(FtwizardApp(), (80, 24), play)
    assert len(saved_drafts.list_drafts().drafts) == 1, "a quit app leaves its draft"


@pytest.mark.parametrize(("key", "page"), [("enter", RecipePage), ("escape", DataPage)])
def test_a_file_that_was_left_is_named_again(rows: Path, key: str, page: type[DraftPage]) -> None:
    _leave_at("Recipe", rows)

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "Continue with your answers?")
        assert "rows.jsonl, recipe page" in frame(pilot.app)
        await pilot.press(key)
        await wait_for_page(pilot, page)

    drive(FtwizardApp(("file", str(rows))), (80, 24), play)
    _leave_at("Data", rows.with_name("other.jsonl"))

    async def begin(pilot: Pilot[Any]) -> None:
        await wait_for_page(pilot, DataPage)

    other = rows.with_name("other.jsonl")
    other.write_text(rows.read_text())
    drive(FtwizardApp(("file", str(other))), (80, 24), begin)


def test_draft_whose_file_is_gone_continues_at_the_data_page(rows: Path) -> None:
    _leave_at("Review", rows)
    rows.unlink()

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "rows.jsonl, review page")
        await pilot.press("enter")
        await wait_for_text(pilot, "does not exist")
        await pilot.press("enter")
        await wait_for_page(pilot, DataPage)
        assert isinstance(pilot.app.screen, DataPage)
        assert pilot.app.screen._fields.rows.value == str(rows)

    drive(FtwizardApp(), (80, 24), play)


def test_draft_is_forgotten_after_confirmation(rows: Path) -> None:
    _leave_at("Recipe", rows)

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_text(pilot, "rows.jsonl, recipe page")
        await pilot.press("x")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await pilot.press("escape")
        await until(pilot, lambda: isinstance(pilot.app.screen, HomePage))
        assert saved_drafts.list_drafts().drafts
        await pilot.press("x")
        await until(pilot, lambda: isinstance(pilot.app.screen, ConfirmDialog))
        await pilot.press("enter")
        await until(pilot, lambda: "Continue" not in frame(pilot.app))

    drive(FtwizardApp(), (80, 24), play)
    assert not saved_drafts.list_drafts().drafts


def test_answers_are_saved_while_the_person_goes_on(
    rows: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(navigation, "SAVE_S", 0.05)

    def stored() -> list[dict[str, Any]]:
        return [json.loads(path.read_bytes()) for path in (home / "drafts").glob("*.json")]

    async def play(pilot: Pilot[Any]) -> None:
        await pilot.press("n")
        await until(pilot, lambda: isinstance(pilot.app.screen, DraftPage))
        await pilot.pause(0.2)
        assert not stored(), "nothing is answered yet"
        while not isinstance(pilot.app.screen, DataPage):
            await pilot.press("enter")
            await pilot.pause()
        await until(pilot, lambda: isinstance(pilot.app.focused, Input))
        await pilot.press(*str(rows))
        await until(pilot, lambda: bool(stored()) and stored()[0]["data"] == str(rows))
        assert stored()[0]["step"] == STEPS.index("Data")
        assert not saved_drafts.list_drafts().drafts, "its wizard is still open"

    drive(FtwizardApp(), (80, 24), play)
    assert [draft.saved.data for draft in saved_drafts.list_drafts().drafts] == [str(rows)]


def test_started_run_leaves_no_draft(
    rows: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(navigation, "SAVE_S", 0.05)
    seen: list[int] = []
    watched = asyncio.Event()

    class Passed(DraftPage):
        """A page that goes on as soon as its answers were saved."""

        def body(self) -> ComposeResult:
            yield Static("")

        def on_mount(self) -> None:
            self.run_worker(self.go_on())

        async def go_on(self) -> None:
            draft = self._draft.with_data(files=schema.Files(train=str(rows))).named("mine")
            self._draft = draft
            while not list((home / "drafts").glob("*.json")):
                await asyncio.sleep(0.02)
            seen.append(self.STEP or 0)
            self.dismiss(PageOutcome(draft, 1))

    async def start(*arguments: Any, title: str) -> str:
        assert list((home / "drafts").glob("*.json")), "kept until the run is started"
        return "run"

    async def watch(*arguments: Any) -> int:
        watched.set()
        return 0

    for step, (module, name) in zip(STEP_OF_PAGES, PAGES, strict=True):
        page = type(name, (Passed,), {"STEP": step})
        monkeypatch.setattr(f"ftwizard.screens.wizard.{module}.{name}", page)
    monkeypatch.setattr(navigation, "start", start)
    monkeypatch.setattr(navigation, "watch", watch)

    async def play(pilot: Pilot[Any]) -> None:
        await until(pilot, watched.is_set)

    drive(FtwizardApp(("new", "")), (80, 24), play)
    assert seen == STEP_OF_PAGES
    assert not list((home / "drafts").glob("*.json"))
