"""Keys that come faster than they are obeyed: none is lost, and none does what it was not meant for."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.command import CommandPalette
from textual.keys import _character_to_key
from textual.pilot import Pilot
from textual.screen import Screen
from textual.widgets import Input

from ftwizard.plan import schema
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.costs.hour_price import HourPriceDialog
from ftwizard.screens.costs.inputs import build_basis
from ftwizard.screens.costs.page import VolumeDialog
from ftwizard.screens.dialogs.forms import SaveAsDialog
from ftwizard.screens.dialogs.questions import ConfirmDialog
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.widgets.file_input import FileInput
from ftwizard.screens.widgets.menu import Menu
from ftwizard.screens.wizard import review
from ftwizard.screens.wizard.provider.page import ProviderPage
from ftwizard.screens.wizard.recipe.page import RecipePage
from ftwizard.screens.wizard.review import ReviewPage
from tests.screens.costs.helpers import FACTS, TODAY, counted
from tests.screens.frames import drive, until


def burst(pilot: Pilot[Any], *keys: str) -> None:
    """Send keys as a slow line does: all of them before the first is obeyed."""
    for key in keys:
        name = _character_to_key(key) if len(key) == 1 else key
        pilot.app.post_message(events.Key(name, key if len(key) == 1 else None))


def answer(page: Screen[Any], *keys: str) -> Any:
    """Return what a page was left with after keys in one piece."""
    left: list[Any] = []

    async def play(pilot: Pilot[Any]) -> None:
        pilot.app.push_screen(page, left.append)
        await until(pilot, lambda: pilot.app.screen is page and page.focused is not None)
        burst(pilot, *keys)
        await until(pilot, lambda: bool(left))

    drive(FtwizardApp(), (100, 30), play)
    (only,) = left
    return only


def draft() -> Draft:
    return Draft(FACTS).with_plan(
        data=schema.Data(files=schema.Files(train="/data/rows.jsonl")),
        model=schema.Model(name="owner/small"),
    )


def test_an_answer_before_enter_counts() -> None:
    item, other = (
        answer(ProviderPage(Draft(FACTS), TODAY), *keys).draft.answers
        for keys in (("enter",), ("right", "enter"))
    )
    assert item != other, "the first question was answered otherwise"


def test_a_provider_that_is_chosen_after_an_answer_stays_chosen() -> None:
    page = ProviderPage(Draft(FACTS), TODAY)
    chosen: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        pilot.app.push_screen(page)
        await until(pilot, lambda: pilot.app.screen is page and page.focused is not None)
        provider = page.query_one("#provider", Choice)
        advised = provider.value
        with page.prevent(Choice.Changed):  # its message comes behind that of an answer
            provider.action_move(1)
        chosen.append(provider.value)
        assert chosen[0] != advised
        page.query(Choice).first().action_move(1)
        await pilot.pause()
        chosen.append(provider.value)
        chosen.append(str(page.get_draft().chosen_provider))

    drive(FtwizardApp(), (100, 30), play)
    assert chosen == [chosen[0]] * 3


def test_a_setting_before_enter_counts() -> None:
    page = RecipePage(draft())
    left: list[Any] = []

    async def play(pilot: Pilot[Any]) -> None:
        pilot.app.push_screen(page, left.append)
        await until(pilot, lambda: pilot.app.screen is page and page.focused is not None)
        page.query_one("#setting-method Choice", Choice).focus()
        await pilot.pause()
        burst(pilot, "right", "enter")
        await until(pilot, lambda: bool(left))

    drive(FtwizardApp(), (100, 30), play)
    assert left[0].draft.plan.recipe.method == "qlora"


def test_a_name_before_enter_is_whole(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review, "MIN_READ_S", 0.0)
    before = ReviewPage(draft())
    step = answer(before, *"-mine", "enter")
    assert step.draft.name.endswith("-mine")


def test_what_is_typed_into_a_question_before_enter_is_whole(tmp_path: Path) -> None:
    assert float(answer(HourPriceDialog(draft()), *"1.25", "enter").usd) == 1.25
    volume = answer(VolumeDialog(build_basis(counted(), TODAY)), *"12k", "enter")
    assert volume.requests == 12_000
    file = tmp_path / "new"
    names = [("rows", str(file))]
    assert answer(SaveAsDialog("Split?", fields=names, enter="writes it"), *".jsonl", "enter") == [
        f"{file}.jsonl"
    ]


def test_tab_completes_what_is_typed_by_then(tmp_path: Path) -> None:
    """A letter and tab in one piece: the letter is not put behind what tab took over."""
    typed: list[str] = []

    class Page(Screen[None]):
        def compose(self) -> Any:
            names = [(item, item, "") for item in ("alpha", "beta")]
            yield FileInput("", lambda text: [n for n in names if n[0].startswith(text)], hint="")

    async def play(pilot: Pilot[Any]) -> None:
        page = Page()
        pilot.app.push_screen(page)
        await until(pilot, lambda: pilot.app.screen is page and page.focused is not None)
        burst(pilot, "b", "e", "tab")
        await until(pilot, lambda: page.query_one(Input).value == "beta")
        typed.append(page.query_one(Input).value)

    drive(FtwizardApp(), (80, 24), play)
    assert typed == ["beta"]


def test_a_late_list_takes_no_choice_with_it() -> None:
    """Down chose a name of the list of before: Enter takes none that nobody has seen marked."""
    result = {"": ["alpha", "beta"], "z": ["zeta"]}

    class Page(Screen[None]):
        def compose(self) -> Any:
            yield FileInput("", lambda text: [(n, n, "") for n in result.get(text, [])], hint="")

    async def play(pilot: Pilot[Any]) -> None:
        page = Page()
        pilot.app.push_screen(page)
        await until(pilot, lambda: page.is_mounted and page.query_one(Menu).chosen == "alpha")
        line = page.query_one(FileInput)
        line.action_suggest(1)
        assert line._has_chosen
        line._offer("z", [("zeta", "zeta", "")])
        assert not line._has_chosen

    drive(FtwizardApp(), (80, 24), play)


def test_two_enters_begin_one_thing(monkeypatch: pytest.MonkeyPatch) -> None:
    from ftwizard.screens import navigation

    begun: list[str] = []

    async def follow(app: FtwizardApp, _session: object, route: str, argument: str) -> int:
        begun.append(route)
        await asyncio.sleep(0.2)
        return 0

    monkeypatch.setattr(navigation, "follow_route", follow)

    async def play(pilot: Pilot[Any]) -> None:
        app: Any = pilot.app
        app.start_route("new")
        await pilot.pause()
        app.start_route("doctor")
        await until(pilot, lambda: not any(worker.group == "flow" for worker in app.workers))
        assert begun == ["new"]
        app.start_route("doctor")
        await until(pilot, lambda: begun == ["new", "doctor"])

    drive(FtwizardApp(), (80, 24), play)


def test_a_question_is_answered_once_whatever_lies_above_it() -> None:
    heard: list[bool | None] = []

    async def play(pilot: Pilot[Any]) -> None:
        below = pilot.app.screen
        question = ConfirmDialog("Go on?", "", "go on", "stay")
        pilot.app.push_screen(question, heard.append)
        await until(pilot, lambda: pilot.app.screen is question)
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(pilot.app.screen, CommandPalette))
        question.dismiss(True)  # as the end of a command does, which asks nobody
        question.dismiss(False)
        await until(pilot, lambda: pilot.app.screen is below)
        assert heard == [True]

    drive(FtwizardApp(), (80, 24), play)


def test_runs_are_not_removed_by_what_was_typed_for_something_else(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ftwizard.screens.home import remove_runs
    from tests.screens.runs_helpers import make_run

    folder = make_run(home, "kept")
    counting, shown = remove_runs._build_dialog, []

    def slow(folders: Any) -> Any:
        time.sleep(0.5)
        return counting(folders)

    monkeypatch.setattr(remove_runs, "_build_dialog", slow)

    async def play(pilot: Pilot[Any]) -> None:
        app: Any = pilot.app
        home_page = app.screen
        await until(pilot, lambda: app.focused is not None)
        app.start_route("remove", str(folder.path))
        await pilot.press("slash", "y")
        await until(pilot, lambda: not any(worker.group == "flow" for worker in app.workers))
        shown.append(app.screen is home_page)

    drive(FtwizardApp(), (80, 24), play)
    assert shown == [True]
    assert folder.path.exists()
