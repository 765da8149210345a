"""The wizard: page by page with the keyboard, answers kept, nothing written before the review."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.dialogs.forms import SaveAsDialog
from ftwizard.screens.dialogs.questions import ChooseDialog, ResultDialog, TypedConfirm
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.wizard.data.page import DataPage
from ftwizard.screens.wizard.provider.page import ProviderPage, UnsupportedProviderPage
from ftwizard.screens.wizard.recipe.page import FoldedSection, RecipePage, SettingRow
from tests.screens.frames import drive, frame, says, until
from tests.screens.wizard.steps import on, to_checked, to_data


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """Return a file of twelve good Alpaca rows."""
    file = tmp_path / "rows.jsonl"
    lines = (
        json.dumps({"instruction": f"Question {n}", "input": "", "output": f"Answer {n}"})
        for n in range(12)
    )
    file.write_text("\n".join(lines))
    return file


def test_each_answer_changes_the_recommendation_at_once() -> None:
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await on(pilot, ProviderPage)
        recorded.append(frame(pilot.app))
        await pilot.press("down", "left", "left")
        recorded.append(frame(pilot.app))

    drive(FtwizardApp(("new", "")), (120, 40), play)
    assert "May the training data leave this machine?" in recorded[0]
    assert "✗ No option is possible" not in recorded[0]
    assert "✗ No option is possible" in recorded[1]
    assert "~ Closest: Hugging Face + QLoRA." in recorded[1]
    assert "‹ No, it stays here ›" in recorded[1]


def test_changing_facts_are_asked_about_twice() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await on(pilot, ProviderPage)
        await pilot.press("right", "right", "enter")
        await says(pilot, "Fine-tune on facts that change?")
        await pilot.press("escape")
        await pilot.pause()

    assert "● Provider" in drive(FtwizardApp(("new", "")), (80, 24), play)


def test_a_provider_without_jobs_ends_in_plain_words_and_offers_this_machine(rows: Path) -> None:
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await on(pilot, ProviderPage)
        pilot.app.screen.query_one("#provider", Choice).value = "openai"
        await pilot.press("enter")
        await on(pilot, DataPage)
        await pilot.press(*str(rows), "enter")
        await says(pilot, "rows, Alpaca")
        recorded.append(frame(pilot.app))
        for page in (ChooseDialog, SaveAsDialog, ResultDialog):  # they are converted first
            await pilot.press("enter")
            await on(pilot, page)
        await pilot.press("enter")
        await says(pilot, "→ Continue with")
        await pilot.press("enter")
        await on(pilot, UnsupportedProviderPage)
        recorded.append(frame(pilot.app))
        await pilot.press("h")  # on other pages of the wizard, the hourly price
        await pilot.pause()
        assert isinstance(pilot.app.screen, UnsupportedProviderPage)
        await pilot.press("q")
        await says(pilot, "Leave the wizard?")
        await pilot.press("escape")
        await on(pilot, UnsupportedProviderPage)
        await pilot.press("enter")
        await on(pilot, RecipePage)

    drive(FtwizardApp(("new", "")), (80, 24), play)
    assert "unusable as is: needs conversion" in " ".join(recorded[0].split())
    assert "OpenAI API" in recorded[1]
    assert "cannot start" in recorded[1]


def test_rows_are_checked_and_shown(home: Path, rows: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await to_checked(pilot, rows)
        await pilot.press("down", "end")
        await says(pilot, "assistant")

    shown = drive(FtwizardApp(("new", "")), (100, 30), play)
    assert "✓ 12 rows, Alpaca" in shown
    assert "(•) 10%" in shown
    assert "Answer 11" in shown, "the last row as a conversation"
    assert not (home / "runs").exists()
    assert not (home / "plans").exists()


def test_a_missing_file_is_a_sentence_and_keeps_what_was_typed(tmp_path: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await to_data(pilot)
        await pilot.press(*str(tmp_path / "none.jsonl"), "enter")
        await says(pilot, "There is no data file")
        await pilot.press("enter")
        await on(pilot, DataPage)

    assert "none.jsonl" in drive(FtwizardApp(("new", "")), (120, 30), play)


def test_problems_are_listed_with_lines_and_left_out_only_when_agreed(
    tmp_path: Path, rows: Path
) -> None:
    file = tmp_path / "rows.jsonl"
    good = {"instruction": "Say hi [bold]x[/]", "input": "", "output": "hi"}
    lines = [json.dumps({**good, "input": str(n)}) for n in range(20)]
    lines[6] = '{"instruction": "Say'
    lines[12] = json.dumps({"instruction": "Say", "input": "", "output": ""})
    file.write_text("\n".join(lines))
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await to_checked(pilot, file)
        recorded.append(frame(pilot.app))
        await pilot.press("down", "down")
        await pilot.pause()
        recorded.append(frame(pilot.app))
        await pilot.press("up", "up", "enter")
        await says(pilot, "Continue without 2 rows?")
        await pilot.press("escape")
        await on(pilot, DataPage)
        await pilot.press("enter")
        await says(pilot, "Continue without 2 rows?")
        await pilot.press("enter")
        await on(pilot, RecipePage)
        recorded.append(str(pilot.app.screen._draft.plan.allow))  # type: ignore[attr-defined]

    drive(FtwizardApp(("new", "")), (100, 30), play)
    assert "✗ 20 rows, Alpaca" in recorded[0]
    assert "; 2 rows unusable" in recorded[0]
    assert "line 7" in recorded[1]
    assert "[bold]x[/]" in recorded[0]
    assert recorded[2] == "('skip-bad-rows',)"


def test_no_validation_is_accepted_only_when_typed(tmp_path: Path, rows: Path) -> None:
    recorded: list[Any] = []

    async def play(pilot: Pilot[Any]) -> None:
        await to_checked(pilot, rows)
        pilot.app.screen.query_one("#share", Choice).value = "none"
        await pilot.press("enter")
        await on(pilot, TypedConfirm)
        await pilot.press("enter")
        await says(pilot, "✗ Type the words above")
        await pilot.press(*"yes", "enter")
        await says(pilot, "✗ No match.")
        assert isinstance(pilot.app.screen, TypedConfirm), "only the phrase will do"
        await pilot.press(*"no validation", "enter")
        await on(pilot, RecipePage)
        recorded.append(pilot.app.screen._draft.plan)  # type: ignore[attr-defined]

    drive(FtwizardApp(("new", "")), (100, 30), play)
    assert recorded[0].allow == ("no-validation",)
    assert recorded[0].validation_share == 0.0


def test_back_keeps_every_answer(rows: Path) -> None:
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await to_checked(pilot, rows)
        await pilot.press("enter")
        await on(pilot, RecipePage)
        await pilot.press(*"owner/mine")
        pilot.app.screen.query_one("#setting-finish Choice", Choice).value = "merge"
        pilot.app.screen.query_one("#setting-epochs Input").focus()
        await pilot.press("backspace", "2", "escape")
        await on(pilot, DataPage)
        recorded.append(frame(pilot.app))
        await pilot.press("enter")
        await on(pilot, RecipePage)
        recorded.append(frame(pilot.app))

    drive(FtwizardApp(("new", "")), (100, 30), play)
    assert "✓ 12 rows, Alpaca" in recorded[0]
    assert "owner/mine" in recorded[1]
    assert "‹ merge only ›" in recorded[1] or "(•) merge only" in recorded[1]
    assert any(
        "Epochs" in line and " 2 " in line and "yours" in line for line in recorded[1].splitlines()
    )


WRONG_VALUES = (
    ("epochs", "many", "“many” is not a number"),
    ("batch_size", "1.5", "“1.5” is not a whole number"),
    ("rank", "0", "✗ Adapter rank is 0"),
    ("epochs", "[red]9\x1b", "9␛” is not a number"),
)


def test_a_wrong_value_is_a_sentence(rows: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await to_checked(pilot, rows)
        await pilot.press("enter")
        await on(pilot, RecipePage)
        page = pilot.app.screen
        await pilot.press(*"owner/mine")
        for setting, typed, sentence in WRONG_VALUES:
            field = page.query_one(f"#setting-{setting} Input", Input)
            before, field.value = field.value, typed
            await pilot.press("enter")
            await says(pilot, sentence)
            assert isinstance(pilot.app.screen, RecipePage)
            field.value = before
            await pilot.pause()

    drive(FtwizardApp(("new", "")), (100, 30), play)


@pytest.mark.slow
def test_more_than_three_epochs_are_accepted_only_when_typed(rows: Path) -> None:
    recorded: list[Any] = []

    async def play(pilot: Pilot[Any]) -> None:
        await to_checked(pilot, rows)
        await pilot.press("enter")
        await on(pilot, RecipePage)
        await pilot.press(*"owner/mine")
        pilot.app.screen.query_one("#setting-epochs Input").value = "5"  # type: ignore[attr-defined]
        await pilot.press("enter")
        await on(pilot, TypedConfirm)
        recorded.append(frame(pilot.app))
        await pilot.press("escape")
        await on(pilot, RecipePage)

    drive(FtwizardApp(("new", "")), (100, 30), play)
    assert "5 epochs usually lead to memorization." in recorded[0]


@pytest.mark.slow
def test_a_model_that_is_not_there_leads_back_to_the_recipe(rows: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await to_checked(pilot, rows)
        await pilot.press("enter")
        await on(pilot, RecipePage)
        await pilot.press(*"/nowhere/at/all", "enter")
        await says(pilot, "Model folder /nowhere/at/all does not exist")
        await pilot.press("enter")
        await on(pilot, RecipePage)

    assert "/nowhere/at/all" in drive(FtwizardApp(("new", "")), (100, 30), play)


@pytest.mark.parametrize("name", ["~nobody-here/rows.jsonl", "/" + "x" * 300, "a\ud800b"])
def test_a_name_that_no_file_can_have_is_a_sentence(name: str) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await to_data(pilot)
        pilot.app.screen.query_one("#train Input", Input).value = name
        await pilot.press("enter")
        await on(pilot, ErrorDialog)
        await pilot.press("enter")
        await on(pilot, DataPage)

    drive(FtwizardApp(("new", "")), (80, 24), play)


@pytest.mark.slow
def test_up_and_down_reach_every_line_unfolded_ones_too(rows: Path) -> None:
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await to_checked(pilot, rows)
        await pilot.press("enter")
        await on(pilot, RecipePage)
        fold = pilot.app.screen.query_one(FoldedSection)
        while not fold.has_focus:
            await pilot.press("tab")
        await says(pilot, "A first run does not need these")
        await pilot.press("right")
        lines = [
            row.setting.name for row in pilot.app.screen.query(SettingRow) if row.setting.advanced
        ]
        for name in lines:
            await pilot.press("down")
            await pilot.pause()
            row = pilot.app.screen.query_one(f"#setting-{name}")
            assert row.has_focus_within, name
            assert pilot.app.screen.query_one("#recipe").region.contains_region(row.region)
        await pilot.press(*["up"] * len(lines))
        assert fold.has_focus
        recorded.append(frame(pilot.app))

    drive(FtwizardApp(("new", "")), (80, 24), play)


@pytest.mark.slow
def test_the_line_that_is_wrong_gets_the_focus_and_an_unusual_value_is_named(rows: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await to_checked(pilot, rows)
        await pilot.press("enter")
        await on(pilot, RecipePage)
        await pilot.press(*"owner/mine")
        pilot.app.screen.query_one("#setting-seed Input", Input).value = "-1"
        pilot.app.screen.query_one("#setting-epochs Input", Input).value = "40"
        await says(pilot, "yours; usually 1 to 3")
        await pilot.press("enter")
        await says(pilot, "✗ Random seed is -1")
        await until(pilot, lambda: pilot.app.screen.query_one("#setting-seed").has_focus_within)

    drive(FtwizardApp(("new", "")), (80, 24), play)


@pytest.mark.slow
def test_typing_replaces_an_advised_value(rows: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await to_checked(pilot, rows)
        await pilot.press("enter")
        await on(pilot, RecipePage)
        await pilot.press(*"owner/mine", "tab", "tab", "1")
        assert pilot.app.screen.query_one("#setting-epochs Input", Input).value == "1"

    drive(FtwizardApp(("new", "")), (80, 24), play)


@pytest.mark.slow
def test_a_suggested_model_is_taken_over_before_it_is_gone_on_with(rows: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await to_checked(pilot, rows)
        await pilot.press("enter")
        await on(pilot, RecipePage)
        await says(pilot, "SmolLM2")
        await pilot.press("enter")
        await pilot.pause(0.2)
        assert isinstance(pilot.app.screen, RecipePage)
        assert "SmolLM2" in pilot.app.screen.query_one("#model-name Input", Input).value

    drive(FtwizardApp(("new", "")), (80, 24), play)


def test_what_was_typed_but_not_read_is_kept_on_the_way_back() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await to_data(pilot)
        await pilot.press(*"half.js", "escape")
        await on(pilot, ProviderPage)
        await pilot.press("enter")
        await on(pilot, DataPage)
        assert pilot.app.screen.query_one("#train Input", Input).value == "half.js"

    drive(FtwizardApp(("new", "")), (80, 24), play)


@pytest.mark.slow
def test_a_window_that_is_too_small_takes_no_keys_and_loses_no_focus(rows: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await to_checked(pilot, rows)
        await pilot.press("enter")
        await on(pilot, RecipePage)
        await pilot.press("tab", "tab")
        focus = pilot.app.focused
        await pilot.resize_terminal(40, 10)
        await says(pilot, "Window too small")
        assert "Model" not in frame(pilot.app)
        await pilot.press("escape", "9", "question_mark")
        await pilot.resize_terminal(80, 24)
        await says(pilot, "Epochs")
        assert pilot.app.focused is focus
        assert isinstance(pilot.app.screen, RecipePage)
        assert pilot.app.screen.query_one("#setting-epochs Input", Input).value == "3"

    drive(FtwizardApp(("new", "")), (80, 24), play)


def test_answers_are_not_dropped_without_a_question() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await to_data(pilot)
        await pilot.press(*"rows", "escape")
        await on(pilot, ProviderPage)
        await pilot.press("escape")
        await says(pilot, "Leave the wizard?")
        await pilot.press("escape")
        await on(pilot, ProviderPage)
        await pilot.press("escape")
        await says(pilot, "Leave the wizard?")
        await pilot.press("enter")
        await pilot.pause(0.2)

    app = FtwizardApp(("new", ""))
    drive(app, (80, 24), play)
    assert app.return_value == 3


@pytest.mark.parametrize("keys", [["right"], ["down", "left"], ["up", "right"]])
def test_answers_of_the_first_page_are_not_dropped_without_a_question(keys: list[str]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await on(pilot, ProviderPage)
        await pilot.press(*keys)
        shown = frame(pilot.app)
        await pilot.press("escape")
        await says(pilot, "Leave the wizard?")
        await pilot.press("escape")
        await on(pilot, ProviderPage)
        answers = [line for line in shown.splitlines() if "‹" in line]
        await until(pilot, lambda: all(line[1:] in frame(pilot.app) for line in answers))
        await pilot.press("escape")
        await says(pilot, "Leave the wizard?")
        await pilot.press("enter")
        await pilot.pause(0.2)

    app = FtwizardApp(("new", ""))
    drive(app, (80, 24), play)
    assert app.return_value == 3


def test_leaving_without_answers_asks_nothing() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await on(pilot, ProviderPage)
        await pilot.press("down", "left", "right", "escape")  # back to what is assumed
        await until(pilot, lambda: not isinstance(pilot.app.screen, ProviderPage))
        await pilot.pause(0.2)

    app = FtwizardApp(("new", ""))
    drive(app, (80, 24), play)
    assert app.return_value == 3


def test_a_paste_that_is_too_long_is_said_and_changes_nothing() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await to_data(pilot)
        await pilot.press(*"rows")
        pilot.app.post_message(events.Paste("x" * 1_000_000))
        await says(pilot, "at most 4,096 characters")
        assert pilot.app.screen.query_one("#train Input", Input).value == "rows"

    drive(FtwizardApp(("new", "")), (80, 24), play)
