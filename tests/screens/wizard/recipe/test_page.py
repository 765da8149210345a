"""The recipe page: hints and cautions for settings, and invalid values."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from ftwizard.advice.recipe_rules import settings
from ftwizard.plan import schema
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.draft.drafts import Draft, PageOutcome
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.widgets.folded_section import FoldedSection
from ftwizard.screens.wizard.recipe.page import RecipePage
from ftwizard.screens.wizard.setting_row import SettingRow
from tests.advice.test_run_history import FALLING, write_run
from tests.helpers.machines import make_machine
from tests.screens.frames import drive, frame, until, wait_for_text
from tests.screens.wizard.data.reports import report

FACTS = make_machine(extras=("local",))
START = Draft(FACTS)
MODEL = "Qwen/Qwen3-0.6B"
Play = Callable[[Pilot[Any], RecipePage], Any]


def on_page(
    play: Play,
    model: str = MODEL,
    size: tuple[int, int] = (80, 24),
    file: str = "/data/rows.jsonl",
    left: Callable[[PageOutcome | None], None] | None = None,
    start: Draft = START,
) -> str:
    """Show the page alone, play, and return the last frame; ``left`` receives the result."""
    files = schema.Files(train=file)
    draft = start.with_plan(model=schema.Model(name=model)).with_check(files, report("x"))

    async def whole(pilot: Pilot[Any]) -> None:
        page = RecipePage(draft)
        pilot.app.push_screen(page, left)
        await until(pilot, lambda: pilot.app.screen is page and page.is_mounted)
        await pilot.pause()
        await play(pilot, page)

    return drive(FtwizardApp(), size, whole)


def focus(page: RecipePage, name: str) -> Input:
    line = page.query_one(f"#setting-{name} Input", Input)
    line.focus()
    return line


@pytest.mark.parametrize("before", ["the advice", "Enter"])
def test_choice_is_kept_before_its_change_message_arrives(before: str) -> None:
    """A key can be handled between a change and the message that reports the change."""
    steps: list[PageOutcome | None] = []

    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        method = page.query_one("#setting-method Choice", Choice)
        rate = page.query_one("#setting-learning_rate Input", Input)
        with page.prevent(Choice.Changed, Input.Changed):
            method.value, rate.value = "qlora", "3e-4"
        if before == "the advice":
            page.on_file_input_edited()
        await pilot.pause()
        assert (method.value, rate.value) == ("qlora", "3e-4")
        await pilot.press("enter")
        await until(pilot, lambda: bool(steps))

    on_page(play, left=steps.append)
    (step,) = steps
    assert step is not None
    assert {"method", "learning_rate"} <= step.draft.touched
    assert (step.draft.plan.recipe.method, step.draft.plan.recipe.learning_rate) == ("qlora", 3e-4)


def test_settings_of_a_platform_that_was_left_do_not_count() -> None:
    steps: list[PageOutcome | None] = []

    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        await pilot.press("enter")
        await until(pilot, lambda: bool(steps))

    start = START.with_plan(openai=schema.OpenAI(n_epochs=2))
    on_page(play, left=steps.append, start=start)
    assert steps[0] is not None and steps[0].direction == 1


def test_settings_without_effect_are_hidden_and_not_counted() -> None:
    """Those of supervised training, with pairs; an invalid value in one does not matter then."""

    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        hidden = {row.setting.key for row in page.query(SettingRow) if row.has_class("unused")}
        assert {"dropout", "packing"} <= hidden and "rank" not in hidden
        shown = sum(
            row.setting.advanced and row.setting.key not in hidden for row in page.query(SettingRow)
        )
        assert page.query_one(FoldedSection).label == f"advanced: {shown} more settings"
        with page.prevent(Input.Changed):
            page.query_one("#setting-dropout Input", Input).value = "much"
        assert page._read_rows()[1] is None
        with page.prevent(Input.Changed):
            page.query_one("#setting-rank Input", Input).value = "much"
        problem = page._read_rows()[1]
        assert problem is not None and problem.row is not None
        assert problem.row.setting.key == "rank"

    on_page(play, start=START.with_recipe(objective="dpo").with_touched("objective"))


def test_invalid_value_hides_the_previous_estimate() -> None:
    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        await wait_for_text(pilot, "steps  ·")
        focus(page, "batch_size").value = "x"
        await wait_for_text(pilot, "→ Batch size: “x” is not a whole number.")
        assert "steps  ·" not in frame(pilot.app)
        page.query_one("#setting-batch_size Input", Input).value = "2"
        await wait_for_text(pilot, "steps  ·")

    on_page(play)


@pytest.mark.parametrize(
    ("name", "value", "caution"),
    [
        ("learning_rate", "0.1", "! 0.1 is far above the usual 2e-4 for LoRA"),
        ("epochs", "9", "! 9 epochs usually lead to memorization"),
    ],
)
def test_caution_is_shown_only_on_its_setting(name: str, value: str, caution: str) -> None:
    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        focus(page, name).value = value
        await wait_for_text(pilot, caution)
        focus(page, "batch_size")
        await until(pilot, lambda: caution not in frame(pilot.app))

    on_page(play)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("max_length", "1", "→ Max length (tokens) is 1. It must be at least 8."),
        ("batch_size", "0", "→ Batch size is 0. It must be at least 1."),
        ("learning_rate", "0", "→ Learning rate is 0. It must be above 0 and at most 1."),
    ],
)
def test_live_estimate_shows_the_error_that_enter_reports(
    name: str, value: str, problem: str
) -> None:
    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        await wait_for_text(pilot, "steps  ·")
        focus(page, name).value = value
        await wait_for_text(pilot, problem)
        assert "fits" not in frame(pilot.app) and "far below" not in frame(pilot.app)
        await pilot.press("enter")
        await wait_for_text(pilot, problem.replace("→", "✗"))
        assert problem not in frame(pilot.app)

    on_page(play)


def test_earlier_run_that_improved_replaces_the_epochs_caution(home: Path, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"prompt": "a", "completion": "b"}\n')
    write_run(home, "one", rows, FALLING)

    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        focus(page, "epochs").value = "5"
        await wait_for_text(pilot, "✓ 5 epochs: On the same data, the validation")
        assert "5 epochs usually" not in frame(pilot.app)
        page.query_one("#setting-epochs Input", Input).value = "3"
        await until(pilot, lambda: "of run one" not in frame(pilot.app))

    on_page(play, file=str(rows))


def test_advice_names_its_source_for_advised_and_user_values() -> None:
    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        line = focus(page, "learning_rate")
        await wait_for_text(
            pilot, "advised: QLoRA, 2023 (2e-4; 1e-4 above 13B); ten times: LoRA Without Regret"
        )
        line.value = "1e-4"
        await wait_for_text(pilot, "yours (advised: 2e-4): QLoRA, 2023")

    on_page(play)


@pytest.mark.parametrize(
    ("name", "typed", "advised", "source"),
    [
        ("learning_rate", "7e-4", "2e-4", "advised: QLoRA, 2023"),
        ("batch_size", "3", "1", "advised: "),
        ("max_rows", "5", "", "default: ftwizard"),  # nothing is advised: all rows
    ],
)
def test_an_emptied_field_follows_the_advice_again(
    name: str, typed: str, advised: str, source: str
) -> None:
    draft = START.with_touched(name).with_recipe(learning_rate=7e-4, batch_size=3)
    draft = draft.with_data(max_rows=5)

    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        page.query_one(FoldedSection).action_turn(True)
        line = focus(page, name)
        row = page.query_one(f"#setting-{name}", SettingRow)
        await wait_for_text(pilot, "yours (")
        assert line.value == typed
        await pilot.press("ctrl+u", "1", "backspace")
        await wait_for_text(pilot, source)
        assert line.value == "" and line.placeholder == (advised or row.setting.empty)
        assert row.origin in ("advised", "default") and not row.edited
        await pilot.press("9")  # what is typed next replaces it
        await wait_for_text(pilot, "yours (")
        assert line.value == "9" and name in page.get_draft().touched
        await pilot.press("backspace")
        await wait_for_text(pilot, source)
        left = page.get_draft()
        await pilot.press("down")
        assert line.value == advised
        assert page.get_draft() == left and name not in left.touched

    on_page(play, start=draft)


def test_a_deleted_advised_value_still_counts() -> None:
    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        line = focus(page, "batch_size")
        await pilot.press("ctrl+u")
        await until(pilot, lambda: line.placeholder == "1")
        assert line.value == "" and page.get_draft().plan.recipe.batch_size == 1
        await wait_for_text(pilot, "steps  ·")
        await pilot.press("down")
        assert line.value == "1"

    on_page(play)


def test_automatic_values_that_were_chosen_stay() -> None:
    names = [setting.key for setting in settings()]
    draft = START
    for name in names:
        draft = draft.with_touched(name)

    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        shown = page.get_draft()
        assert shown.touched == frozenset(names)
        assert (shown.plan.recipe, shown.plan.slurm) == (draft.plan.recipe, draft.plan.slurm)

    on_page(play, start=draft)


def test_automatic_against_advice_is_typed_and_stays() -> None:
    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        focus(page, "learning_rate").value = "auto"
        await wait_for_text(pilot, "yours (advised: 2e-4)")
        draft = page.get_draft()
        assert draft.plan.recipe.learning_rate is None and "learning_rate" in draft.touched
        page.query_one("#setting-learning_rate", SettingRow).put(None, "yours")  # the page again
        assert page.get_draft() == draft

    on_page(play)


def test_usual_range_is_not_cut_at_80_columns() -> None:
    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        focus(page, "max_length").value = "100"
        await wait_for_text(pilot, "yours; usually 128 to 8192")

    on_page(play)


def test_unknown_model_size_explains_missing_memory_and_time() -> None:
    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        await wait_for_text(pilot, "Size, memory and time")

    on_page(play, model="owner/mine")


def test_sample_prompts_must_come_from_an_existing_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my prompts.txt").write_text("May I send it back?\n")
    left: list[PageOutcome | None] = []

    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        line = focus(page, "prompts")
        await wait_for_text(pilot, "default: ftwizard's own default")
        assert line.placeholder == "validation rows"
        line.value = "none.txt"
        page.query_one("#setting-epochs Input", Input).focus()
        await pilot.press("enter")
        await wait_for_text(pilot, "✗ Sample prompts: none.txt does not exist.")
        await until(pilot, lambda: page.query_one("#setting-prompts").has_focus_within)
        assert page.query_one(FoldedSection).unfolded
        line.value = "my prompts.txt"
        page.query_one("#setting-count Input", Input).value = "30"
        await pilot.press("enter")
        await wait_for_text(pilot, "✗ Number of samples is 30. It must be 0 to 20; 0: no samples.")
        await until(pilot, lambda: page.query_one("#setting-count").has_focus_within)
        page.query_one("#setting-count Input", Input).value = "5"
        await pilot.press("enter")
        await until(pilot, lambda: bool(left))

    on_page(play, left=left.append)
    step = left[0]
    assert step is not None and step.direction == 1
    wanted = schema.Samples(prompts=str(tmp_path / "my prompts.txt"), count=5)
    assert step.draft.plan.samples == wanted
    assert {"prompts", "count"} <= step.draft.touched


def test_quick_look_reduces_the_run_says_what_it_gives_up_and_is_undone() -> None:
    frames: list[str] = []

    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        before = page.get_draft()
        await pilot.press("ctrl+t")
        await wait_for_text(pilot, "of 1,436 rows, drawn by kind and length")
        frames.append(frame(pilot.app))
        await pilot.press("enter")
        await wait_for_text(pilot, "Within 10 min: 64 rows")
        frames.append(frame(pilot.app))
        limited = page.get_draft().plan
        assert limited.budget.minutes == 10 and limited.data.max_rows == 64
        assert limited.recipe.epochs == 1
        assert str(page.query_one("#setting-epochs Input", Input).value) == "1"
        await pilot.press("ctrl+t")
        await until(pilot, lambda: "Within 10 min" not in frame(pilot.app))
        assert page.get_draft() == before

    on_page(play, model="HuggingFaceTB/SmolLM2-135M-Instruct")
    asked, limited = frames
    assert "Expect a worse" in asked and "enter use it" in asked
    assert "^t undoes it" in limited and "10 min" in limited and "^t quick look" in limited


def test_quick_look_refuses_minutes_that_are_not_enough() -> None:
    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        before = page.get_draft()
        await pilot.press("ctrl+t")
        await wait_for_text(pilot, "Even ")
        await pilot.press("enter")
        await wait_for_text(pilot, "✗ Even ")
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is page)
        assert page.get_draft() == before
        assert "Within" not in frame(pilot.app)

    large = START.with_touched("batch_size").with_touched("gradient_accumulation")
    on_page(play, start=large.with_recipe(batch_size=4, gradient_accumulation=16))


def test_quick_look_needs_a_model_first() -> None:
    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        await pilot.press("ctrl+t")
        await wait_for_text(pilot, "Choose a model first")

    on_page(play, model="")


def test_quick_look_fits_the_smallest_terminal() -> None:
    async def play(pilot: Pilot[Any], page: RecipePage) -> None:
        await pilot.press("ctrl+t")
        await wait_for_text(pilot, "drawn by kind")
        assert "enter use it" in frame(pilot.app)

    shown = on_page(play, model="HuggingFaceTB/SmolLM2-135M-Instruct", size=(60, 16))
    words = " ".join(shown.replace("│", " ").split())
    assert "Minutes" in words and "64 of 1,436 rows" in words
    assert "1 evaluation of 6, on 32 of 179 validation rows" in words
