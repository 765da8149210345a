"""What still stands before the start: each warning and each overruled advice once, on a line."""

from __future__ import annotations

from typing import Any

import pytest

from ftwizard.plan import schema
from ftwizard.screens.draft import setting_values
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.wizard import open_points
from tests.helpers.estimates import make_report
from tests.helpers.machines import make_machine
from tests.screens.wizard.data.reports import clean, finding, report

FILE = "/data/rows.jsonl"
COLUMNS = 73
"""Width of the page's pane at 80 columns."""
SMALL = "HuggingFaceTB/SmolLM2-135M"


def draft_of(**changes: Any) -> Draft:
    """Return a draft as advised, on a checked file without findings."""
    checked = clean(FILE, tokens=None, **changes)
    draft = Draft(make_machine(extras=("local",))).with_check(schema.Files(train=FILE), checked)
    return setting_values.apply_advice(draft.with_plan(model=schema.Model(name=SMALL)))[0]


def list_texts(draft: Draft) -> list[str]:
    lines = open_points.format_open_points(draft).plain.split("\n")[1:]
    assert all(len(line) <= COLUMNS for line in lines), lines
    return [" ".join(line.split()) for line in lines]


def test_nothing_stands_where_all_was_taken_as_advised() -> None:
    draft = draft_of()
    fine = make_report(parts={"train": {"kept": 3600}, "test": {"kept": 400}})
    assert not open_points.format_open_points(draft)
    assert not open_points.format_open_points(draft.with_estimate(fine))
    settled = draft.with_touched("rank")  # chosen, and equal to what is advised
    assert not open_points.format_open_points(settled)


def test_a_gate_that_the_test_rows_cannot_show_is_told() -> None:
    few = make_report(parts={"train": {"kept": 135}, "test": {"kept": 15}})
    assert list_texts(draft_of().with_estimate(few)) == [
        "· Data 15 test rows can show 40% more right, about 390 the gate’s 5%"
    ]
    alone = draft_of().with_plan(finish=schema.Finish(compare=False))
    assert not list_texts(alone.with_estimate(few))


def test_findings_are_repeated_unless_their_rows_are_left_out() -> None:
    warning = finding("warning", "duplicate", "rows repeat", [3, 4])
    note = finding("info", "personal_data", "an address", [1])
    error = finding("error", "invalid_json", "breaks off", [7])
    assert list_texts(draft_of(findings=[warning, note])) == ["! Data 2 rows: duplicate"]
    assert list_texts(draft_of(findings=[error])) == ["✗ Data 1 row: invalid json"]
    skipped = draft_of(findings=[error, warning], rows=100, usable=99)
    assert list_texts(skipped) == ["· Data 1 row unusable, left out", "! Data 2 rows: duplicate"]
    own = draft_of(validation=report("v", findings=[warning], rows=9, usable=9))
    assert list_texts(own) == ["! Data 2 validation rows: duplicate"]


@pytest.mark.parametrize(
    ("code", "count", "expected"),
    [
        ("changing_facts", 60, ["! Data 60 rows with facts that change: not for fine-tuning"]),
        ("subject_facts", 90, ["! Data 90 rows with facts about one subject: taught poorly"]),
        ("subject_facts", 30, []),  # only a question, which was answered
    ],
)
def test_facts_that_are_trained_on_anyway_are_told_once(
    code: str, count: int, expected: list[str]
) -> None:
    facts = finding("warning", code, "states facts", list(range(1, count + 1)))
    assert list_texts(draft_of(findings=[facts], rows=100, usable=100)) == expected


def test_settings_against_advice_are_told_with_their_consequence() -> None:
    draft = draft_of().with_recipe(learning_rate=0.05, epochs=8.0, rank=64)
    for name in ("learning_rate", "epochs", "rank"):
        draft = draft.with_touched(name)
    assert sorted(list_texts(draft.allowing("many-epochs"))) == [
        "! Recipe epochs 8, advised 3: usually leads to memorization",
        "! Recipe learning rate 0.05, advised 2e-4: training may diverge",
        "· Recipe adapter rank 64, advised 16",
    ]


def test_missing_validation_and_another_provider_are_told() -> None:
    draft = draft_of().with_validation("none").allowing("no-validation")
    draft = draft.with_recommendation("openai").with_provider("local")
    provider, data = list_texts(draft.with_answers({"fit": "facts"}))[1:]
    assert provider.startswith("· Provider Hugging Face") and "although OpenAI" in provider
    assert data == "! Data no validation data: overfitting goes unnoticed"


def test_estimate_warns_of_rows_memory_and_disk() -> None:
    short = {"message": "too little", "hint": "free some", "missing": 3 * 10**9}
    disk = {"needed": {"value": 5e9}, "free": {"value": 2e9}, "short": short}
    peak = {"value": 7e9, "low": 6e9, "high": 9e9}
    rows = {
        "train": {"kept": 80, "cut": 12, "lost": [4, 9], "dropped": {"reasoning": 3}},
        "test": {"kept": 4},
    }
    estimate = make_report(
        parts=rows,
        disk=disk,
        room=8 * 10**9,
        memory={"peak": peak, "parts": {}, "moment": "", "trained": 0},
    )
    assert list_texts(draft_of().with_estimate(estimate)) == [
        "! Data 3 training rows without reasoning: the template drops it",
        "! Data 2 training rows without trainable tokens, left out",
        "! Data 4 test rows: too few for a verdict, about 120 show 10% more",
        "! Recipe 12 training rows truncated",
        "! Recipe memory tight: 6.0–9.0 GB of 8.0 GB",
        "✗ Estimate not enough free disk space: 3.0 GB missing",
    ]
