"""Pages after an estimate from the model configuration alone, without tokenized rows."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from ftwizard.advice.recipe_advice import EarlierRate
from ftwizard.plan import schema
from ftwizard.screens.app import FtwizardApp
from ftwizard.screens.costs import inputs
from ftwizard.screens.draft import setting_values
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.widgets.file_input import FileInput
from ftwizard.screens.wizard.recipe.page import RecipePage
from ftwizard.screens.wizard.setting_row import SettingRow
from tests.helpers.estimates import make_report
from tests.helpers.machines import make_machine
from tests.screens.frames import drive
from tests.screens.wizard.steps import wait_for_page

FACTS = make_machine(extras=("local",))
ESTIMATE: dict[str, Any] = {
    "model": {"name": "meta-llama/Llama-3.1-8B-Instruct", "said": "from its configuration only"},
    "parameters": 8_030_261_248, "trained": 41_943_040, "parts": {}, "tokens": 25_248,
    "costs": [], "by_model": {},
}  # fmt: skip


@pytest.fixture
def draft() -> Draft:
    model = schema.Model(name="meta-llama/Llama-3.1-8B-Instruct")
    return Draft(FACTS).with_plan(model=model).with_estimate(make_report(**ESTIMATE))


def test_advice_uses_the_size_from_the_configuration(draft: Draft) -> None:
    advised, _ = setting_values.apply_advice(draft)
    assert advised.plan.recipe.learning_rate == 2e-4


def test_costs_use_the_tokens_counted_by_the_check(draft: Draft) -> None:
    basis = inputs.build_basis(draft, datetime.date(2026, 11, 25))
    assert basis.load is not None and basis.load.total == 25_248


def test_learning_rate_remembers_the_model_it_was_chosen_for(home: Path) -> None:
    """Both models are named on one visit to the page, and neither has an estimate."""
    drafts: list[Draft] = []

    async def play(pilot: Pilot[Any]) -> None:
        page = RecipePage(Draft(FACTS).with_plan(model=schema.Model(name="Qwen/Qwen3-0.6B")))
        await pilot.app.push_screen(page)
        await wait_for_page(pilot, RecipePage)
        row = page.query_one("#setting-learning_rate", SettingRow)
        row.query_one(Input).value = "3e-4"
        await pilot.pause()
        page.query_one(FileInput).query_one(Input).value = "meta-llama/Llama-3.1-70B"
        await pilot.pause()
        drafts.append(page._read_rows()[0])
        row.field.focus()
        await pilot.pause()
        text = str(page.query_one("#reason", Static).render())
        assert "yours (advised: 1e-4): QLoRA, 2023" in text
        assert "setting: End-to-End Fine-Tuning Pipeline (article), 2026-04" in text

    drive(FtwizardApp(), (100, 30), play)
    assert drafts[0].earlier == EarlierRate(rate=3e-4, parameters=596_049_920)
