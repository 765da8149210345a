"""The wizard by keyboard: page order, kept answers, confirmations and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual import events
from textual.pilot import Pilot
from textual.widgets import Input

from ftwizard.catalog.account import AccountReport
from ftwizard.credentials import Credential, Service
from ftwizard.hardware import machine
from ftwizard.hardware.machine import Gpu
from ftwizard.plan.checks import check_plan
from ftwizard.screens import subprocesses
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.dialogs.dialog import ErrorDialog
from ftwizard.screens.dialogs.questions import TypedConfirm
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.widgets.folded_section import FoldedSection
from ftwizard.screens.wizard.after_training import AfterTrainingPage
from ftwizard.screens.wizard.data.page import DataPage
from ftwizard.screens.wizard.hosted.account import AccountPage
from ftwizard.screens.wizard.provider.page import ProviderPage
from ftwizard.screens.wizard.recipe.page import RecipePage
from ftwizard.screens.wizard.setting_row import SettingRow
from tests.helpers.machines import make_machine
from tests.screens.frames import drive, frame, until, wait_for_text
from tests.screens.wizard.steps import open_data_page, paste, read_data_file, wait_for_page


def test_each_answer_updates_the_recommendation_at_once() -> None:
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_page(pilot, ProviderPage)
        recorded.append(frame(pilot.app))
        await pilot.press("down", "right", "down", "left", "left")
        recorded.append(frame(pilot.app))
        await pilot.press("down", "down", "right", "right", "right")
        await wait_for_text(pilot, "✗ No option is possible")
        recorded.append(frame(pilot.app))

    drive(FtwizardApp(("new", "")), (120, 40), play)
    assert "May the training data leave this machine?" not in recorded[0]
    assert "Hugging Face + QLoRA on this machine: try this first." in recorded[0]
    assert "May the training data leave this machine?" in recorded[1]
    assert "✗ OpenAI API is ruled out" in recorded[1] and "try this first" in recorded[1]
    assert "✗ No option is possible" in recorded[2]
    assert "~ Closest: Hugging Face + QLoRA." in recorded[2]
    assert "‹ No, it stays here ›" in recorded[1]


def test_changing_facts_require_confirmation() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_page(pilot, ProviderPage)
        await pilot.press("right", "right", "enter")
        await wait_for_text(pilot, "Fine-tune on facts that change?")
        await pilot.press("escape")
        await pilot.pause()

    assert "● Provider" in drive(FtwizardApp(("new", "")), (80, 24), play)


def test_a_cloud_service_leads_to_its_login_before_the_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    report = AccountReport(
        provider="vertex", name="Vertex AI", ready=False, key=None, cause="key",
        error="No Google credentials were found on this machine.",
        hint="Log in: gcloud auth application-default login",
    )  # fmt: skip
    drafts: list[Draft] = []

    async def run_command(*argv: str, **_: Any) -> Any:
        assert argv == ("doctor", "--provider", "vertex")
        return msgspec.to_builtins(report)

    monkeypatch.setattr(subprocesses, "run_command", run_command)

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_page(pilot, ProviderPage)
        pilot.app.screen.query_one("#provider", Choice).value = "cloud"
        await pilot.pause()
        pilot.app.screen.query_one("#service", Choice).value = "vertex"
        await pilot.press("enter")
        await wait_for_page(pilot, AccountPage)
        await wait_for_text(pilot, "needs a login: gcloud auth application-default login")
        drafts.append(pilot.app.screen._draft)  # type: ignore[attr-defined]

    drive(FtwizardApp(("new", "")), (80, 24), play)
    assert (drafts[0].hosted, drafts[0].target) == ("vertex", "vertex-gemini")


def test_enter_leads_to_training_here_whatever_keys_are_found(
    rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = Gpu(name="NVIDIA L4", memory=24 * 10**9)
    services: tuple[Service, ...] = ("openai", "together", "aws", "gcp")
    keys = tuple(Credential(service=service, where="X") for service in services)
    facts = make_machine(gpu, credentials=keys, extras=("local",))
    monkeypatch.setattr(machine, "read_machine_info", lambda: facts)
    pages: list[Draft] = []

    async def play(pilot: Pilot[Any]) -> None:
        await read_data_file(pilot, rows)
        await pilot.press("enter")
        await wait_for_page(pilot, RecipePage)
        await wait_for_text(pilot, "owner/model, or a folder")
        await pilot.press("enter")
        await until(pilot, lambda: bool(pilot.app.screen.get_draft().plan.model.name))  # type: ignore[attr-defined]
        pages.append(pilot.app.screen.get_draft())  # type: ignore[attr-defined]

    drive(FtwizardApp(("new", "")), (80, 24), play)
    draft = pages[0]
    assert (draft.provider, draft.chosen_provider, draft.answers) == ("local", None, {})
    assert draft.checked_for == "trl-sft"
    check_plan(draft.plan)


def test_data_page_checks_and_previews_rows(home: Path, rows: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await read_data_file(pilot, rows)
        await pilot.press("down", "end")
        await wait_for_text(pilot, "assistant")

    shown = drive(FtwizardApp(("new", "")), (100, 30), play)
    assert "✓ 12 rows, Alpaca" in shown
    assert "(•) 10%" in shown
    assert "Answer 11" in shown, "the last row as a conversation"
    assert not (home / "runs").exists()
    assert not (home / "plans").exists()


def test_missing_file_shows_an_error_and_keeps_the_input(tmp_path: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await open_data_page(pilot)
        await paste(pilot, tmp_path / "none.jsonl")
        await pilot.press("enter")
        await wait_for_text(pilot, "does not exist")
        await pilot.press("enter")
        await wait_for_page(pilot, DataPage)

    assert "none.jsonl" in drive(FtwizardApp(("new", "")), (120, 30), play)


def test_bad_rows_are_listed_and_skipped_only_after_confirmation(
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
        await read_data_file(pilot, file)
        recorded.append(frame(pilot.app))
        await pilot.press("down", "down")
        await pilot.pause()
        recorded.append(frame(pilot.app))
        await pilot.press("up", "up", "enter")
        await wait_for_text(pilot, "Continue without 2 rows?")
        await pilot.press("escape")
        await wait_for_page(pilot, DataPage)
        await pilot.press("enter")
        await wait_for_text(pilot, "Continue without 2 rows?")
        await pilot.press("enter")
        await wait_for_page(pilot, RecipePage)
        recorded.append(str(pilot.app.screen._draft.plan.allow))  # type: ignore[attr-defined]

    drive(FtwizardApp(("new", "")), (100, 30), play)
    assert "✗ 20 rows, Alpaca" in recorded[0]
    assert "; 2 rows unusable" in recorded[0]
    assert "line 7" in recorded[1]
    assert "[bold]x[/]" in recorded[0]
    assert recorded[2] == "('skip-bad-rows',)"


def test_no_validation_requires_typing_the_phrase(tmp_path: Path, rows: Path) -> None:
    recorded: list[Any] = []

    async def play(pilot: Pilot[Any]) -> None:
        await read_data_file(pilot, rows)
        pilot.app.screen.query_one("#share", Choice).value = "none"
        await pilot.press("enter")
        await wait_for_page(pilot, TypedConfirm)
        await pilot.press("enter")
        await wait_for_text(pilot, "✗ Type the words above")
        await pilot.press(*"yes", "enter")
        await wait_for_text(pilot, "✗ No match.")
        assert isinstance(pilot.app.screen, TypedConfirm), "only the exact phrase is accepted"
        await pilot.press(*"no validation", "enter")
        await wait_for_page(pilot, RecipePage)
        recorded.append(pilot.app.screen._draft.plan)  # type: ignore[attr-defined]

    drive(FtwizardApp(("new", "")), (100, 30), play)
    assert recorded[0].allow == ("no-validation",)
    assert recorded[0].validation_share == 0.0


def test_back_keeps_every_answer(rows: Path) -> None:
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await read_data_file(pilot, rows)
        await pilot.press("enter")
        await wait_for_page(pilot, RecipePage)
        await pilot.press(*"owner/mine")
        pilot.app.screen.query_one("#setting-epochs Input").focus()
        await pilot.press("backspace", "2", "escape")
        await wait_for_page(pilot, DataPage)
        recorded.append(frame(pilot.app))
        await pilot.press("enter")
        await wait_for_page(pilot, RecipePage)
        recorded.append(frame(pilot.app))

    drive(FtwizardApp(("new", "")), (100, 30), play)
    assert "✓ 12 rows, Alpaca" in recorded[0]
    assert "owner/mine" in recorded[1]
    assert any(
        "Epochs" in line and " 2 " in line and "yours" in line for line in recorded[1].splitlines()
    )


INVALID_VALUES = (
    ("epochs", "many", "“many” is not a number"),
    ("batch_size", "1.5", "“1.5” is not a whole number"),
    ("rank", "0", "✗ Adapter rank is 0"),
    ("epochs", "[red]9\x1b", "9␛” is not a number"),
)


def test_invalid_setting_shows_an_error(rows: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await read_data_file(pilot, rows)
        await pilot.press("enter")
        await wait_for_page(pilot, RecipePage)
        page = pilot.app.screen
        await pilot.press(*"owner/mine")
        for setting, typed, message in INVALID_VALUES:
            field = page.query_one(f"#setting-{setting} Input", Input)
            before, field.value = field.value, typed
            await pilot.press("enter")
            await wait_for_text(pilot, message)
            assert isinstance(pilot.app.screen, RecipePage)
            field.value = before
            await pilot.pause()

    drive(FtwizardApp(("new", "")), (100, 30), play)


@pytest.mark.slow
def test_many_epochs_require_typed_confirmation(rows: Path) -> None:
    recorded: list[Any] = []

    async def play(pilot: Pilot[Any]) -> None:
        await read_data_file(pilot, rows)
        await pilot.press("enter")
        await wait_for_page(pilot, RecipePage)
        await pilot.press(*"owner/mine")
        pilot.app.screen.query_one("#setting-epochs Input").value = "5"  # type: ignore[attr-defined]
        await pilot.press("enter")
        await wait_for_page(pilot, TypedConfirm)
        recorded.append(frame(pilot.app))
        await pilot.press("escape")
        await wait_for_page(pilot, RecipePage)

    drive(FtwizardApp(("new", "")), (100, 30), play)
    assert "5 epochs usually lead to memorization." in recorded[0]


@pytest.mark.slow
def test_missing_model_folder_returns_to_the_recipe_page(rows: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await read_data_file(pilot, rows)
        await pilot.press("enter")
        await wait_for_page(pilot, RecipePage)
        await pilot.press(*"/nowhere/at/all", "enter")
        await wait_for_page(pilot, AfterTrainingPage)
        await pilot.press("enter")
        await wait_for_text(pilot, "Model folder /nowhere/at/all does not exist")
        await pilot.press("enter")
        await wait_for_page(pilot, RecipePage)

    assert "/nowhere/at/all" in drive(FtwizardApp(("new", "")), (100, 30), play)


@pytest.mark.parametrize("name", ["~nobody-here/rows.jsonl", "/" + "x" * 300, "a\ud800b"])
def test_impossible_file_name_shows_an_error(name: str) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await open_data_page(pilot)
        pilot.app.screen.query_one("#train Input", Input).value = name
        await pilot.press("enter")
        await wait_for_page(pilot, ErrorDialog)
        await pilot.press("enter")
        await wait_for_page(pilot, DataPage)

    drive(FtwizardApp(("new", "")), (80, 24), play)


@pytest.mark.slow
def test_arrow_keys_reach_every_advanced_setting(rows: Path) -> None:
    recorded: list[str] = []

    async def play(pilot: Pilot[Any]) -> None:
        await read_data_file(pilot, rows)
        await pilot.press("enter")
        await wait_for_page(pilot, RecipePage)
        fold = pilot.app.screen.query_one(FoldedSection)
        while not fold.has_focus:
            await pilot.press("tab")
        await wait_for_text(pilot, "A first run does not need these")
        await pilot.press("right")
        lines = [
            row.id
            for row in pilot.app.screen.query(SettingRow)
            if row.setting.advanced and not row.has_class("unused")
        ]
        for name in lines:
            await pilot.press("down")
            await pilot.pause()
            row = pilot.app.screen.query_one(f"#{name}")
            assert row.has_focus_within, name
            assert pilot.app.screen.query_one("#recipe").region.contains_region(row.region)
        await pilot.press(*["up"] * len(lines))
        assert fold.has_focus
        recorded.append(frame(pilot.app))

    drive(FtwizardApp(("new", "")), (80, 24), play)


@pytest.mark.slow
def test_invalid_setting_gets_the_focus_and_unusual_value_a_hint(rows: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await read_data_file(pilot, rows)
        await pilot.press("enter")
        await wait_for_page(pilot, RecipePage)
        await pilot.press(*"owner/mine")
        pilot.app.screen.query_one("#setting-seed Input", Input).value = "-1"
        pilot.app.screen.query_one("#setting-epochs Input", Input).value = "40"
        await wait_for_text(pilot, "yours; usually 1 to 3")
        await pilot.press("enter")
        await wait_for_text(pilot, "✗ Random seed is -1")
        await until(pilot, lambda: pilot.app.screen.query_one("#setting-seed").has_focus_within)

    drive(FtwizardApp(("new", "")), (80, 24), play)


@pytest.mark.slow
def test_typing_replaces_an_advised_value(rows: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await read_data_file(pilot, rows)
        await pilot.press("enter")
        await wait_for_page(pilot, RecipePage)
        await pilot.press(*"owner/mine", "tab", "tab", "tab", "1")
        assert pilot.app.screen.query_one("#setting-epochs Input", Input).value == "1"

    drive(FtwizardApp(("new", "")), (80, 24), play)


@pytest.mark.slow
def test_enter_accepts_the_suggested_model_before_continuing(rows: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await read_data_file(pilot, rows)
        await pilot.press("enter")
        await wait_for_page(pilot, RecipePage)
        await wait_for_text(pilot, "SmolLM2")
        await pilot.press("enter")
        await pilot.pause(0.2)
        assert isinstance(pilot.app.screen, RecipePage)
        assert "SmolLM2" in pilot.app.screen.query_one("#model-name Input", Input).value

    drive(FtwizardApp(("new", "")), (80, 24), play)


def test_unread_file_name_is_kept_when_going_back() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await open_data_page(pilot)
        await pilot.press(*"half.js", "escape")
        await wait_for_page(pilot, ProviderPage)
        await pilot.press("enter")
        await wait_for_page(pilot, DataPage)
        assert pilot.app.screen.query_one("#train Input", Input).value == "half.js"

    drive(FtwizardApp(("new", "")), (80, 24), play)


@pytest.mark.slow
def test_too_small_window_ignores_keys_and_keeps_the_focus(rows: Path) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await read_data_file(pilot, rows)
        await pilot.press("enter")
        await wait_for_page(pilot, RecipePage)
        await pilot.press("tab", "tab")
        focus = pilot.app.focused
        await pilot.resize_terminal(40, 10)
        await wait_for_text(pilot, "Window too small")
        assert "Model" not in frame(pilot.app)
        await pilot.press("escape", "9", "question_mark")
        await pilot.resize_terminal(80, 24)
        await wait_for_text(pilot, "Epochs")
        assert pilot.app.focused is focus
        assert isinstance(pilot.app.screen, RecipePage)
        assert pilot.app.screen.query_one("#setting-epochs Input", Input).value == "3"

    drive(FtwizardApp(("new", "")), (80, 24), play)


def test_leaving_the_wizard_requires_confirmation() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await open_data_page(pilot)
        await pilot.press(*"rows", "escape")
        await wait_for_page(pilot, ProviderPage)
        await pilot.press("escape")
        await wait_for_text(pilot, "Leave the wizard?")
        assert "● Provider" in frame(pilot.app), "asked above the page, which stays"
        await pilot.press("escape")
        await wait_for_page(pilot, ProviderPage)
        await pilot.press("escape")
        await wait_for_text(pilot, "Leave the wizard?")
        await pilot.press("enter")
        await pilot.pause(0.2)

    app = FtwizardApp(("new", ""))
    drive(app, (80, 24), play)
    assert app.return_value == 3


@pytest.mark.parametrize("keys", [["right"], ["down", "right", "down", "left"], ["up", "right"]])
def test_leaving_the_first_page_asks_before_dropping_answers(keys: list[str]) -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_page(pilot, ProviderPage)
        await pilot.press(*keys)
        shown = frame(pilot.app)
        await pilot.press("escape")
        await wait_for_text(pilot, "Leave the wizard?")
        await pilot.press("escape")
        await wait_for_page(pilot, ProviderPage)
        answers = [line for line in shown.splitlines() if "‹" in line]
        await until(pilot, lambda: all(line[1:] in frame(pilot.app) for line in answers))
        await pilot.press("escape")
        await wait_for_text(pilot, "Leave the wizard?")
        await pilot.press("enter")
        await pilot.pause(0.2)

    app = FtwizardApp(("new", ""))
    drive(app, (80, 24), play)
    assert app.return_value == 3


def test_leaving_without_answers_asks_nothing() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_page(pilot, ProviderPage)
        await pilot.press("down", "right", "down", "left", "right")  # back to the default answer
        await pilot.press("escape")
        await until(pilot, lambda: not isinstance(pilot.app.screen, ProviderPage))
        await pilot.pause(0.2)

    app = FtwizardApp(("new", ""))
    drive(app, (80, 24), play)
    assert app.return_value == 3


def test_too_long_paste_shows_an_error_and_changes_nothing() -> None:
    async def play(pilot: Pilot[Any]) -> None:
        await open_data_page(pilot)
        await pilot.press(*"rows")
        pilot.app.post_message(events.Paste("x" * 1_000_000))
        await wait_for_text(pilot, "at most 4,096 characters")
        assert pilot.app.screen.query_one("#train Input", Input).value == "rows"

    drive(FtwizardApp(("new", "")), (80, 24), play)
