"""Keys that arrive faster than the app handles them: none is lost, none acts on the wrong page."""

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
from ftwizard.screens.terminal.app import KEY_CHECK_S
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
    """Send keys as a slow connection does: all of them before the first is handled."""
    for key in keys:
        name = _character_to_key(key) if len(key) == 1 else key
        pilot.app.post_message(events.Key(name, key if len(key) == 1 else None))


def get_result(page: Screen[Any], *keys: str) -> Any:
    """Return the result of a page after a burst of keys."""
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


def test_answer_changed_just_before_enter_is_kept() -> None:
    item, other = (
        get_result(ProviderPage(Draft(FACTS), TODAY), *keys).draft.answers
        for keys in (("enter",), ("right", "enter"))
    )
    assert item != other, "the answers to the first question differ"


def test_chosen_provider_survives_a_change_of_answer() -> None:
    page = ProviderPage(Draft(FACTS), TODAY)
    chosen: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        pilot.app.push_screen(page)
        await until(pilot, lambda: pilot.app.screen is page and page.focused is not None)
        provider = page.query_one("#provider", Choice)
        advised = provider.value
        with page.prevent(Choice.Changed):  # its message arrives after that of an answer
            provider.action_move(1)
        chosen.append(provider.value)
        assert chosen[0] != advised
        page.query(Choice).first().action_move(1)
        await pilot.pause()
        chosen.append(provider.value)
        chosen.append(str(page.get_draft().chosen_provider))

    drive(FtwizardApp(), (100, 30), play)
    assert chosen == [chosen[0]] * 3


def test_setting_changed_just_before_enter_is_kept() -> None:
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


def test_keys_wait_until_a_page_is_built() -> None:
    """A key pressed on one page can arrive on the next one before that has its widgets."""
    from ftwizard.screens.wizard.data.page import DataPage

    left: list[Any] = []

    async def play(pilot: Pilot[Any]) -> None:
        key = events.Key("escape", None)
        key._set_forwarded()  # as if the page before did not handle it
        pilot.app.push_screen(DataPage(Draft(FACTS)), left.append)
        await pilot.app.on_event(key)
        await until(pilot, lambda: bool(left))

    drive(FtwizardApp(), (80, 24), play)
    assert left[0].direction == -1


def test_run_name_typed_just_before_enter_is_complete(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "MIN_READ_S", 0.0)
    before = ReviewPage(draft())
    step = get_result(before, *"-mine", "enter")
    assert step.draft.name.endswith("-mine")


def test_dialog_input_typed_just_before_enter_is_complete(tmp_path: Path) -> None:
    assert float(get_result(HourPriceDialog(draft()), *"1.25", "enter").usd) == 1.25
    volume = get_result(VolumeDialog(build_basis(counted(), TODAY)), *"12k", "enter")
    assert volume.requests == 12_000
    file = tmp_path / "new"
    names = [("rows", str(file))]
    assert get_result(
        SaveAsDialog("Split?", fields=names, enter="writes it"), *".jsonl", "enter"
    ) == [f"{file}.jsonl"]


@pytest.mark.parametrize("key", ["down", "tab"])
def test_text_typed_just_after_a_move_is_in_the_next_field(tmp_path: Path, key: str) -> None:
    names = [("Training", str(tmp_path / "one")), ("Test", str(tmp_path / "two"))]
    typed = get_result(SaveAsDialog("Split?", fields=names), "a", key, "b", "enter")
    assert typed == [str(tmp_path / "onea"), str(tmp_path / "twob")]


def test_number_typed_just_after_another_was_deleted_is_in_its_setting() -> None:
    """Backspace and down act before the digits behind them are typed."""
    page = RecipePage(draft())
    left: list[Any] = []

    async def play(pilot: Pilot[Any]) -> None:
        pilot.app.push_screen(page, left.append)
        await until(pilot, lambda: pilot.app.screen is page and page.focused is not None)
        page.query_one("#setting-batch_size Input", Input).focus()
        await pilot.pause()
        burst(pilot, "backspace", "2", "down", "backspace", "8", "enter")
        await until(pilot, lambda: bool(left))

    drive(FtwizardApp(), (100, 30), play)
    recipe = left[0].draft.plan.recipe
    assert (recipe.batch_size, recipe.gradient_accumulation) == (2, 8)


def test_keys_stay_in_order_on_a_busy_page() -> None:
    class Page(Screen[None]):
        def compose(self) -> Any:
            yield Input()

        async def on_key(self) -> None:
            await asyncio.sleep(2 * KEY_CHECK_S)

    async def play(pilot: Pilot[Any]) -> None:
        page = Page()
        pilot.app.push_screen(page)
        await until(pilot, lambda: pilot.app.screen is page and page.focused is not None)
        burst(pilot, "a", "backspace", "b")
        await until(pilot, lambda: page.query_one(Input).value == "b")

    drive(FtwizardApp(), (80, 24), play)


def test_keys_wait_no_longer_for_a_field_that_is_gone() -> None:
    """A field that is removed while a key is on its way never reports it."""

    class Page(Screen[None]):
        def compose(self) -> Any:
            yield Input()

        def on_input_changed(self) -> None:
            self.dismiss()

    async def play(pilot: Pilot[Any]) -> None:
        app = pilot.app
        following, page = SaveAsDialog("Split?", fields=[("rows", "/a")]), Page()
        app.push_screen(following)
        await until(pilot, lambda: following.focused is not None)
        app.push_screen(page)
        await until(pilot, lambda: app.screen is page and page.focused is not None)
        burst(pilot, "x", *"bcd")
        await until(pilot, lambda: app.screen is following)
        burst(pilot, "e")
        await until(pilot, lambda: following.query_one(Input).value.endswith("e"))

    drive(FtwizardApp(), (80, 24), play)


def test_tab_completes_all_text_typed_before_it(tmp_path: Path) -> None:
    """Letters and Tab in one burst: no letter is appended after the completion."""
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


def test_late_suggestions_clear_the_highlighted_choice() -> None:
    """Down highlighted a name in the old list: Enter must not take a name from the new list."""
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


def test_second_enter_starts_no_second_route(monkeypatch: pytest.MonkeyPatch) -> None:
    from ftwizard.screens import navigation

    routes: list[str] = []

    async def follow(app: FtwizardApp, _session: object, route: str, argument: str) -> int:
        routes.append(route)
        await asyncio.sleep(0.2)
        return 0

    monkeypatch.setattr(navigation, "follow_route", follow)

    async def play(pilot: Pilot[Any]) -> None:
        app: Any = pilot.app
        app.start_route("new")
        await pilot.pause()
        app.start_route("doctor")
        await until(pilot, lambda: not any(worker.group == "flow" for worker in app.workers))
        assert routes == ["new"]
        app.start_route("doctor")
        await until(pilot, lambda: routes == ["new", "doctor"])

    drive(FtwizardApp(), (80, 24), play)


def test_covered_dialog_delivers_its_answer_once() -> None:
    answers: list[bool | None] = []

    async def play(pilot: Pilot[Any]) -> None:
        below = pilot.app.screen
        question = ConfirmDialog("Go on?", "", "go on", "stay")
        pilot.app.push_screen(question, answers.append)
        await until(pilot, lambda: pilot.app.screen is question)
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(pilot.app.screen, CommandPalette))
        question.dismiss(True)  # as when a command ends without a key press
        question.dismiss(False)
        await until(pilot, lambda: pilot.app.screen is below)
        assert answers == [True]

    drive(FtwizardApp(), (80, 24), play)


def test_earlier_keys_do_not_confirm_a_deletion(
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
