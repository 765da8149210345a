"""The time limit of a draft: applied, undone, and kept apart from the person's own settings."""

from __future__ import annotations

import msgspec
import pytest

from ftwizard.advice import time_cap
from ftwizard.estimate.report import EstimateReport
from ftwizard.plan import schema
from ftwizard.screens.draft import draft_document, setting_values, texts, time_limit
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.wizard import open_points
from tests.helpers.estimates import make_report
from tests.helpers.machines import make_machine
from tests.screens.wizard.data.reports import report

MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"


def make_draft(model: str = MODEL) -> Draft:
    files = schema.Files(train="/data/rows.jsonl")
    draft = Draft(make_machine(extras=("local",))).with_plan(model=schema.Model(name=model))
    return setting_values.apply_advice(draft.with_check(files, report("x")))[0]


def limit(draft: Draft, minutes: float = 60) -> Draft:
    return time_limit.apply(draft, time_limit.find_fit(draft, f"{minutes:g}"))


def test_limit_changes_settings_that_advice_leaves_alone() -> None:
    draft = make_draft()
    limited = limit(draft)
    plan = limited.plan
    assert plan.budget.minutes == 60 and plan.recipe.epochs == 1
    assert plan.data.max_rows and plan.data.max_rows < 1000
    assert setting_values.apply_advice(limited)[0].plan.recipe.epochs == 1
    assert time_limit.is_limited(limited, "epochs") and not time_limit.is_limited(limited, "rank")
    words = time_limit.describe_limit(limited)
    assert words.startswith(f"Within 60 min: {plan.data.max_rows} rows, 1 of 3 epochs")
    assert time_cap.WORSE in texts.format_limit(limited).plain
    assert time_cap.WORSE in open_points.format_open_points(limited).plain
    assert setting_values.count_trained_rows(limited) == plan.data.max_rows


def test_undo_restores_everything_but_what_was_changed_since() -> None:
    draft = make_draft()
    limited = limit(draft)
    back = time_limit.undo(limited)
    assert back.plan == draft.plan and back.touched == draft.touched and back.limit is None
    assert time_limit.undo(draft) is draft
    changed = limited.with_recipe(epochs=2.0, learning_rate=1e-4)
    back = time_limit.undo(changed)
    assert back.plan.recipe.epochs == 2.0 and back.plan.recipe.learning_rate == 1e-4
    assert "epochs" in back.touched and back.plan.data.max_rows is None
    assert back.plan.budget.minutes is None


def test_settings_that_the_person_chose_before_stay_chosen_after_undo() -> None:
    draft = make_draft().with_recipe(epochs=2.0).with_touched("epochs")
    back = time_limit.undo(limit(draft))
    assert back.touched == draft.touched and back.plan.recipe.epochs == 2.0


def test_another_limit_starts_from_the_settings_without_one() -> None:
    draft = make_draft()
    assert limit(limit(draft, 60), 300).plan == limit(draft, 300).plan


def test_longer_exact_estimate_reduces_the_run_further() -> None:
    limited = limit(make_draft())
    assert time_limit.tighten(limited) is None
    assert limited.plan.data.max_rows

    def count(high: float) -> EstimateReport:
        figure = {"value": high / 3, "low": high / 9, "high": high, "unit": "s"}
        steps = {"value": 10, "unit": "steps"}
        run = {"steps": steps, "steps_per_epoch": 10, "evaluations": 1, "tokens": steps,
               "padding": steps, "cut": steps, "memory": None, "time": figure, "parts": {},
               "whole": figure, "cost": None}  # fmt: skip
        return make_report(follows=run)

    assert time_limit.tighten(limited.with_estimate(count(0.8 * 3600))) is None
    tighter = time_limit.tighten(limited.with_estimate(count(1.2 * 3600)))
    assert tighter and tighter.plan.data.max_rows
    assert tighter.plan.data.max_rows < limited.plan.data.max_rows
    assert time_limit.undo(tighter).plan == make_draft().plan


@pytest.mark.parametrize("typed", ["", "0", "-1", "ten", "nan", "inf", "1e9"])
def test_invalid_minutes_are_refused(typed: str) -> None:
    with pytest.raises(ValueError, match="Enter a number of minutes"):
        time_limit.parse_minutes(typed)
    assert time_limit.parse_minutes(" 2,5 ") == 2.5


def test_minutes_that_are_too_few_say_how_long_it_takes() -> None:
    with pytest.raises(ValueError, match=r"Even \d+ steps on \d+ rows take .*would help"):
        time_limit.find_fit(make_draft(), "2")
    with pytest.raises(ValueError, match="No time estimate yet"):
        time_limit.find_fit(make_draft("someone/unknown"), "10")


def test_saved_draft_keeps_the_limit() -> None:
    limited = limit(make_draft())
    document = msgspec.json.decode(
        draft_document.encode(limited), type=draft_document.DraftDocument
    )
    assert document.limit == limited.limit
