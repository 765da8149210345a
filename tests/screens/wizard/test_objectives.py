"""Training objectives in the wizard: from the rows to the objective, its settings and its rewards."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from ftwizard.objectives import ObjectiveName
from ftwizard.plan import schema
from ftwizard.rewards.reward import Reward
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.dialogs.questions import ResultDialog
from ftwizard.screens.draft.drafts import Draft, PageOutcome
from ftwizard.screens.widgets.choice import Choice
from ftwizard.screens.wizard.data import data_check
from ftwizard.screens.wizard.data.page import DataPage
from ftwizard.screens.wizard.open_points import list_open_points
from ftwizard.screens.wizard.recipe.page import RecipePage
from ftwizard.screens.wizard.setting_row import SettingRow
from tests.helpers.machines import make_machine
from tests.helpers.objective_rows import write_rows
from tests.screens.frames import (
    assert_frame,
    drive,
    frame,
    show_at_top,
    until,
    wait_for_text,
)
from tests.screens.wizard.steps import wait_for_page

FACTS = make_machine(extras=("local",))
SIZE = (80, 24)
MODEL = "Qwen/Qwen3-0.6B"


def check(file: Path, objective: ObjectiveName = "sft") -> Draft:
    """Return a draft with checked rows."""
    draft = Draft(FACTS).with_recipe(objective=objective)
    draft = draft.with_plan(model=schema.Model(name=MODEL))
    draft = draft.with_data(files=schema.Files(train=str(file)))
    report = asyncio.run(data_check.DataCheck(draft, str(file)).run())
    return draft.with_check(draft.plan.data.files, report)


def get_objective(pilot: Pilot[Any]) -> str:
    page = pilot.app.screen
    assert isinstance(page, DataPage | RecipePage)
    return page.get_draft().plan.recipe.objective


async def wait_for_report(pilot: Pilot[Any]) -> DataPage:
    page = pilot.app.screen
    assert isinstance(page, DataPage)
    await until(pilot, lambda: page._draft.checked is not None and page._check is None)
    return page


def read_text(pilot: Pilot[Any]) -> str:
    """Return the text on the screen without line ends and boxes."""
    return " ".join(frame(pilot.app).replace("│", " ").split())


def list_shown(page: RecipePage) -> list[str]:
    rows = [row for row in page.query(SettingRow) if not row.setting.advanced]
    return [row.setting.key for row in rows if not row.has_class("unused")]


COMMON = ["method", "epochs", "learning_rate", "batch_size", "gradient_accumulation", "max_length"]
OWN = {
    "dpo": ["dpo.beta", "dpo.loss_type"],
    "kto": ["kto.beta", "kto.loss_type", "kto.desirable_weight", "kto.undesirable_weight"],
}


@pytest.mark.parametrize(
    ("kind", "objective", "rate"), [("pairs", "dpo", "5e-6"), ("labels", "kto", "5e-6")]
)
def test_file_of_preferences_leads_to_its_objective(
    kind: str,
    objective: str,
    rate: str,
    tmp_path: Path,
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """``ftwizard FILE`` needs no choice: the rows fit one objective only."""
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path, kind)

    async def play(pilot: Pilot[Any]) -> None:
        await wait_for_page(pilot, DataPage)
        await wait_for_report(pilot)
        assert get_objective(pilot) == objective
        assert_frame(f"objective-data-{objective}-80x24", frame(pilot.app))
        await pilot.press("enter")
        await wait_for_page(pilot, RecipePage)
        page = pilot.app.screen
        assert isinstance(page, RecipePage)
        await until(pilot, lambda: page.is_mounted)
        assert list_shown(page) == ["objective", *COMMON, *OWN[objective]]
        assert page.query_one("#setting-learning_rate Input", Input).value == rate
        assert page.query_one("#setting-epochs Input", Input).value == "1"
        assert get_objective(pilot) == objective

    drive(FtwizardApp(("file", f"{kind}.jsonl")), SIZE, play)


def on_recipe_page(
    draft: Draft, play: Any, size: tuple[int, int] = SIZE
) -> list[PageOutcome | None]:
    """Show the recipe page of a draft and play; return what it was left with."""
    left: list[PageOutcome | None] = []

    async def whole(pilot: Pilot[Any]) -> None:
        page = RecipePage(draft)
        pilot.app.push_screen(page, left.append)
        await until(pilot, lambda: pilot.app.screen is page and page.is_mounted)
        await pilot.pause()
        await play(pilot, page, left)

    drive(FtwizardApp(), size, whole)
    return left


def test_objective_that_needs_other_rows_leads_back_to_the_data_and_on(
    tmp_path: Path, home: Path
) -> None:
    draft = check(write_rows(tmp_path, "pairs"), "dpo")

    async def choose_kto(pilot: Pilot[Any], page: RecipePage, left: list[Any]) -> None:
        page.query_one("#setting-objective Choice", Choice).value = "kto"
        await until(pilot, lambda: "kto.beta" in list_shown(page))
        assert "dpo.beta" not in list_shown(page)
        await pilot.press("enter")
        await until(pilot, lambda: bool(left))

    (outcome,) = on_recipe_page(draft, choose_kto)
    assert outcome is not None and outcome.direction == -1
    chosen = outcome.draft
    assert chosen.plan.recipe.objective == "kto" and "objective" in chosen.touched

    async def correct(pilot: Pilot[Any]) -> None:
        page = DataPage(chosen)
        pilot.app.push_screen(page)
        await until(pilot, lambda: pilot.app.screen is page and page.is_mounted)
        await wait_for_text(pilot, "→ Change the objective to DPO, which trains on these rows")
        assert get_objective(pilot) == "kto"  # what was chosen is not changed unasked
        await pilot.press("enter")
        await wait_for_text(pilot, "→ Continue with all 24 rows")
        assert get_objective(pilot) == "dpo"

    drive(FtwizardApp(), SIZE, correct)


def test_pairs_that_are_all_equal_are_named_and_the_page_stays_usable(
    tmp_path: Path, home: Path
) -> None:
    file, other = write_rows(tmp_path, "equal"), write_rows(tmp_path, "pairs")

    async def play(pilot: Pilot[Any]) -> None:
        draft = Draft(FACTS).with_data(files=schema.Files(train=str(file)))
        page = DataPage(draft)
        pilot.app.push_screen(page)
        await until(pilot, lambda: pilot.app.screen is page and page.is_mounted)
        await wait_for_report(pilot)
        await wait_for_text(pilot, "24 rows unusable")
        assert "by hand identical pair (24 rows: neither answer is better)" in read_text(pilot)
        await pilot.press("enter")  # reads it again: nothing leads on
        await wait_for_text(pilot, "→ Read it again once it is fixed")
        assert pilot.app.screen is page and get_objective(pilot) == "dpo"
        field = page.query_one("#train Input", Input)
        field.value = str(other)
        field.focus()
        await pilot.press("enter")
        await wait_for_text(pilot, "→ Continue with all 24 rows")

    drive(FtwizardApp(), SIZE, play)


def test_another_file_changes_an_objective_that_nobody_chose(tmp_path: Path, home: Path) -> None:
    draft = check(write_rows(tmp_path, "pairs"), "dpo")
    other = write_rows(tmp_path, "chat")

    async def play(pilot: Pilot[Any]) -> None:
        page = DataPage(draft)
        pilot.app.push_screen(page)
        await until(pilot, lambda: pilot.app.screen is page and page.is_mounted)
        page.query_one("#train Input", Input).value = str(other)
        await until(pilot, lambda: page._draft.checked is None)
        page.query_one("#train Input", Input).focus()
        await pilot.press("enter")
        await wait_for_text(pilot, "→ Continue with all 24 rows")
        assert get_objective(pilot) == "sft"

    drive(FtwizardApp(), SIZE, play)


def test_answers_that_can_be_verified_suggest_rewards(tmp_path: Path, home: Path) -> None:
    draft = check(write_rows(tmp_path, "chat"))

    async def play(pilot: Pilot[Any], page: RecipePage, left: list[Any]) -> None:
        choice = page.query_one("#setting-objective Choice", Choice)
        choice.focus()
        await wait_for_text(pilot, "end in a number")  # says that GRPO can follow
        assert choice.value == "sft" and "grpo.rewards" not in list_shown(page)
        choice.value = "grpo"
        await until(pilot, lambda: "grpo.rewards" in list_shown(page))
        field = page.query_one("#setting-grpo-rewards Input", Input)
        assert field.value == "numeric_answer"
        assert field.size.width > len("numeric_answer, length_limit=50")
        batch = page.query_one("#setting-batch_size Input", Input).value
        accumulation = page.query_one("#setting-gradient_accumulation Input", Input).value
        assert int(batch) * int(accumulation) % 8 == 0
        assert_frame("objective-grpo-80x24", frame(pilot.app))
        await pilot.resize_terminal(160, 50)  # there, rewards with options are in full
        await until(
            pilot, lambda: field.size.width > len("a.py:brief, exact_answer={ignore_case: true}")
        )
        await pilot.press("enter")
        await until(pilot, lambda: bool(left))

    (outcome,) = on_recipe_page(draft, play)
    assert outcome is not None and outcome.direction == 1  # the same rows: no way back
    plan = outcome.draft.final_plan
    assert plan.recipe.grpo.rewards == (Reward(function="numeric_answer"),)


def write_function(body: str) -> str:
    return f"def mine(completions, **kwargs):\n    {body}\n"


FAULTS = {
    write_function("raise ValueError('no such column')"): "no such column",
    write_function("return [float('nan')] * len(completions)"): "returned nan",
    write_function("return [0.5] * len(completions)"): "nothing to learn",
    write_function("return [1.0]"): "returned 1 reward for 10 completions",
    write_function("import time; time.sleep(60)"): "no rewards for 10 completions after 1 s",
    "import not_installed_here\n" + write_function("return [1.0]"): "named 'not_installed_here'",
    "def theirs(completions): ...\n": "is not a function of that file",
}
"""What is wrong with a file of rewards, by its content."""


@pytest.mark.slow
@pytest.mark.parametrize("content", FAULTS, ids=FAULTS.values())
def test_reward_that_fails_is_a_sentence_and_nothing_is_lost(
    content: str, tmp_path: Path, home: Path
) -> None:
    draft = check(write_rows(tmp_path, "chat"), "grpo")
    file = tmp_path / "rewards.py"
    file.write_text(content)
    reward = Reward(function=f"{file}:mine", time_limit_s=1)
    recipe = draft.plan.recipe
    grpo = msgspec.structs.replace(recipe.grpo, rewards=(reward,))
    draft = draft.with_recipe(grpo=grpo).with_touched("objective").with_touched("grpo.rewards")

    async def play(pilot: Pilot[Any], page: RecipePage, left: list[Any]) -> None:
        await pilot.press("enter")
        await wait_for_page(pilot, ResultDialog)
        dialog = pilot.app.screen
        assert isinstance(dialog, ResultDialog)
        assert FAULTS[content] in dialog._account.plain
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is page)
        assert not left
        field = page.query_one("#setting-grpo-rewards Input", Input)
        assert field.has_focus and field.value.endswith("rewards.py:mine")
        field.value = "numeric_answer"
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: bool(left))

    (outcome,) = on_recipe_page(draft, play)
    assert outcome is not None and outcome.direction == 1
    assert "weak-grader" not in outcome.draft.plan.allow


@pytest.mark.parametrize(
    ("typed", "problem"),
    [
        ("numeric_anser", "Did you mean numeric_answer?"),
        ("length_limit", "length_limit needs the option max"),
        ("missing.py:mine", "missing.py"),
        ("", "name what scores an answer"),
    ],
)
def test_rewards_that_cannot_be_used_are_named_where_they_are_typed(
    typed: str, problem: str, tmp_path: Path, home: Path
) -> None:
    draft = check(write_rows(tmp_path, "bare"), "grpo").with_touched("grpo.rewards")

    async def play(pilot: Pilot[Any], page: RecipePage, left: list[Any]) -> None:
        field = page.query_one("#setting-grpo-rewards Input", Input)
        field.value = typed
        await pilot.pause()
        await pilot.press("enter")
        await wait_for_text(pilot, "✗ Rewards: ")
        await until(pilot, lambda: problem in read_text(pilot))
        assert field.has_focus and not left

    on_recipe_page(draft, play)


@pytest.mark.parametrize("size", [(80, 24), (160, 50)])
@pytest.mark.parametrize(("kind", "objective"), [("pairs", "dpo"), ("labels", "kto")])
def test_frames_of_preferences(
    kind: str, objective: ObjectiveName, size: tuple[int, int], tmp_path: Path, home: Path
) -> None:
    draft = check(write_rows(tmp_path, kind), objective)

    async def play(pilot: Pilot[Any], page: RecipePage, left: list[Any]) -> None:
        row = page.query_one(f"#setting-{objective}-loss_type", SettingRow)
        name = f"recipe-{objective}-{size[0]}x{size[1]}"
        assert_frame(name, await show_at_top(pilot, row.field))

    on_recipe_page(draft, play, size)


def test_general_examples_that_an_objective_cannot_take_are_left_out_and_named(
    tmp_path: Path, home: Path
) -> None:
    draft = check(write_rows(tmp_path, "chat")).with_data(mix=schema.Mix(share=0.2))
    assert draft.final_plan.data.mix.share == 0.2
    grpo = draft.with_recipe(objective="grpo")
    assert grpo.final_plan.data.mix == schema.Mix() and grpo.plan.data.mix.share == 0.2
    (point,) = [each for each in list_open_points(grpo) if "general" in each.text]
    assert point.text == "the general examples are left out: GRPO takes none"
    own = draft.with_recipe(objective="dpo").with_data(mix=schema.Mix(share=0.2, rows="a.jsonl"))
    assert own.final_plan.data.mix.share == 0.2
    assert not [each for each in list_open_points(own) if "general" in each.text]
