"""Training further from a run's adapter, with preferences or rewards."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from ftwizard.data.documents import DataReport
from ftwizard.errors import FtwizardError
from ftwizard.plan import changes, schema
from ftwizard.plan.checks import check_plan
from ftwizard.rewards.notation import parse_rewards
from ftwizard.rewards.reward import Reward
from ftwizard.screens import subprocesses
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.dialogs.questions import DestructiveConfirm
from ftwizard.screens.monitor.further import Further, FurtherDialog, make_plan, make_step
from ftwizard.screens.monitor.results import ResultsPage
from tests.helpers.machines import make_machine
from tests.helpers.objective_rows import write_rows
from tests.screens.frames import drive, until, wait_for_text
from tests.screens.runs_helpers import make_run

PARENT = schema.Plan(
    data=schema.Data(
        files=schema.Files(train="/data/rows.jsonl", validation="/data/val.jsonl"), format="alpaca",
        mix=schema.Mix(share=0.1),
    ),
    model=schema.Model(name="owner/model"),
    recipe=schema.Recipe(packing=True, rank=32, learning_rate=2e-4, epochs=3.0),
)  # fmt: skip


def check(file: Path) -> DataReport:
    return msgspec.convert(asyncio.run(subprocesses.run_command("check", str(file))), DataReport)


@pytest.mark.parametrize(
    ("kind", "rewards", "objective"),
    [("pairs", "", "dpo"), ("labels", "", "kto"), ("prompts", "numeric_answer", "grpo"),
     ("chat", "0.5*numeric_answer, length_limit=9", "grpo")],
)  # fmt: skip
def test_other_rows_change_what_depends_on_them(
    kind: str, rewards: str, objective: str, tmp_path: Path
) -> None:
    file = write_rows(tmp_path, kind)
    chosen = Further(str(file), parse_rewards(rewards))
    plan = make_plan(PARENT, chosen, check(file), make_machine())
    recipe = plan.recipe
    assert (recipe.objective, recipe.epochs, recipe.rank) == (objective, 1.0, 32)
    assert plan.data.files == schema.Files(train=str(file)) and not plan.data.mix.share
    answers = recipe.batch_size * recipe.gradient_accumulation
    assert objective != "grpo" or answers % recipe.grpo.num_generations == 0
    assert objective != "kto" or recipe.batch_size >= 2
    # The command that starts it makes the same plan.
    step = make_step(PARENT, plan)
    assert step.command == "branch" and step.does_train
    settings = [word for word in step.options if word != "--set"]
    assert not any("learning_rate" in setting for setting in settings)  # of its objective
    made = changes.set_values(PARENT, settings)
    assert changes.find_changes(made, plan) == {}
    check_plan(made, ("no-validation",))


def test_answers_alone_are_not_for_another_objective(tmp_path: Path) -> None:
    file = write_rows(tmp_path, "chat")
    with pytest.raises(FtwizardError, match="supervised training"):
        make_plan(PARENT, Further(str(file), ()), check(file), make_machine())
    bare = write_rows(tmp_path, "bare")
    with pytest.raises(FtwizardError):
        make_plan(PARENT, Further(str(bare), ()), check(bare), make_machine())
    rewards = (Reward(function="length_limit", options={"max": 5}),)
    assert make_plan(PARENT, Further(str(bare), rewards), check(bare), make_machine())


def test_results_page_asks_for_rows_and_shows_the_command(home: Path, tmp_path: Path) -> None:
    folder = make_run(home, "one")
    folder.adapter.mkdir(parents=True)
    file = write_rows(tmp_path, "pairs")

    async def play(pilot: Pilot[Any]) -> None:
        page = ResultsPage(folder)
        pilot.app.push_screen(page)
        await until(pilot, lambda: pilot.app.screen is page)
        await pilot.press("t")
        await until(pilot, lambda: isinstance(pilot.app.screen, FurtherDialog))
        data, rewards = pilot.app.screen.query(Input)
        await pilot.press("enter")
        await wait_for_text(pilot, "✗ Name a data file.")
        data.value, rewards.value = str(file), "numeric"
        await pilot.press("enter")
        await wait_for_text(pilot, "✗ “numeric” is not a reward function.")
        rewards.value = ""
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(pilot.app.screen, DestructiveConfirm))
        dialog = pilot.app.screen
        assert isinstance(dialog, DestructiveConfirm)
        shown = " ".join(map(str, dialog._lines))
        assert "Train it further with pairs (DPO)?" in shown
        assert "ftwizard branch one --set" in shown and '"dpo"' in shown
        await pilot.press("escape")
        await until(pilot, lambda: pilot.app.screen is page)

    drive(FtwizardApp(), (100, 30), play)
