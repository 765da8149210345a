"""Setting values: formatting, parsing, advice, and the resulting plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis.strategies import floats
from rich.console import Console

from ftwizard.advice import recipe_advice
from ftwizard.advice.recipe_rules import AdvisedValue, setting
from ftwizard.hardware.machine import Gpu, MachineInfo, read_machine_info
from ftwizard.plan.schema import Samples
from ftwizard.screens.draft import texts
from ftwizard.screens.draft.drafts import Draft
from ftwizard.screens.draft.setting_values import (
    AFTER,
    apply_advice,
    find_prompts_problem,
    format_input,
    format_value,
    get_value,
    parse_value,
    resolve_model,
    resolve_prompt_file,
    with_value,
)
from tests.helpers.estimates import make_report


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("learning_rate", 2e-4, "2e-4"),
        ("learning_rate", 1.5e-4, "1.5e-4"),
        ("learning_rate", 0.001, "0.001"),
        ("learning_rate", None, ""),
        ("epochs", 3.0, "3"),
        ("batch_size", 4, "4"),
        ("target_modules", ("q_proj", "v_proj"), "q_proj, v_proj"),
        ("prompts", "my prompts, new.txt", "my prompts, new.txt"),
        ("count", 3, "3"),
    ],
)
def test_formatted_value_parses_back(name: str, value: Any, shown: str) -> None:
    assert format_input(value) == shown
    assert parse_value(setting(name), shown) == value


def test_typed_default_label_parses_as_none() -> None:
    for name, words in (
        ("learning_rate", "auto"),
        ("save_steps", "none"),
        ("prompts", "validation rows"),
    ):
        assert parse_value(setting(name), words) is parse_value(setting(name), "") is None
    assert format_value("prompts", None) == "validation rows"


def test_prompt_file_must_exist_and_gets_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my prompts.txt").write_text("May I send it back?\n")
    draft = Draft(read_machine_info())
    assert find_prompts_problem(draft) == "" and resolve_prompt_file(draft) == draft
    for typed, problem in (("none.txt", "none.txt does not exist."), (".", "a folder")):
        prompts_problem = find_prompts_problem(with_value(draft, setting("prompts"), typed))
        assert prompts_problem.startswith("Sample prompts: ") and problem in prompts_problem
        assert "one prompt per line" in prompts_problem
    named = with_value(draft, setting("prompts"), "my prompts.txt")
    assert find_prompts_problem(named) == ""
    plan = resolve_prompt_file(with_value(named, setting("count"), 5)).plan
    assert plan.samples == Samples(prompts=str(tmp_path / "my prompts.txt"), count=5)
    assert get_value(plan, setting("count")) == 5


@pytest.mark.parametrize(
    ("name", "typed", "message"),
    [
        ("epochs", "many", "Epochs: “many” is not a number."),
        ("batch_size", "1.5", "Batch size: “1.5” is not a whole number."),
        ("epochs", "\x1b[31m", "Epochs: “␛[31m” is not a number."),
    ],
)
def test_invalid_value_raises_a_readable_message(name: str, typed: str, message: str) -> None:
    with pytest.raises(ValueError) as error:
        parse_value(setting(name), typed)
    assert str(error.value) == message


@pytest.mark.parametrize("chosen", [str(option.value) for option in AFTER.options])
def test_finish_choice_round_trips_through_the_plan(chosen: str) -> None:
    assert get_value(with_value(Draft(read_machine_info()), AFTER, chosen).plan, AFTER) == chosen


@given(floats(min_value=1e-9, max_value=100, allow_nan=False))
def test_every_number_is_formatted_exactly(value: float) -> None:
    assert parse_value(setting("learning_rate"), format_input(value)) == value


def advice_of(name: str, **more: Any) -> AdvisedValue:
    advice = recipe_advice.advise("lora", 8 * 10**9, 20_000, read_machine_info(), **more)
    return next(item for item in advice if item.name == name)


@pytest.mark.parametrize(
    ("name", "source", "date"),
    [("learning_rate", "QLoRA, 2023", "2025-09"), ("epochs", "Tülu 3", "2024-11")],
)
def test_advised_value_names_its_own_source_and_date(name: str, source: str, date: str) -> None:
    """The source of the setting's default, the article of 2026-04, is listed separately."""
    item = advice_of(name)
    text = texts.format_reason(setting(name), item, "advised").plain.splitlines()[-1]
    assert text.startswith("advised: ") and f"{item.source}, {date}" in text
    assert source in text.partition("; setting: ")[0]
    assert text.endswith("; setting: End-to-End Fine-Tuning Pipeline (article), 2026-04")


def test_user_value_is_shown_with_the_advised_or_default_value() -> None:
    text = texts.format_reason(setting("learning_rate"), advice_of("learning_rate"), "yours").plain
    assert "yours (advised: 2e-4): QLoRA" in text
    text = texts.format_reason(setting("seed"), None, "yours").plain
    assert text.endswith(f"yours (default: 42): {setting('seed').source}, {setting('seed').as_of}")
    text = texts.format_reason(setting("seed"), None, "default").plain
    assert f"default: {setting('seed').source}" in text


def test_every_reason_fits_six_lines_at_80_columns() -> None:
    """At 80 columns, a line has 76 cells."""
    here = msgspec.structs.replace(
        read_machine_info(), gpus=(Gpu(name="Tesla T4", memory=16 * 10**9),)
    )
    for machine in (read_machine_info(), here):
        for method in ("lora", "full"):
            advice = recipe_advice.advise(method, 70 * 10**9, 370, machine)
            direction = recipe_advice.advise_method(70 * 10**9, machine)
            for item in (direction, *advice):
                for origin in ("advised", "yours"):
                    text = texts.format_reason(setting(item.name), item, origin)
                    assert len(text.wrap(Console(width=76), 76)) <= 6, text.plain


GPU = Gpu(name="one", memory=16_000_000_000)


def draft_on(machine: MachineInfo, parameters: int | None) -> Draft:
    draft, parts = Draft(machine), {"train": {"kept": 5000}}
    report = make_report(parameters=parameters or 1, parts=parts)
    return draft.with_estimate(report) if parameters else draft


def test_advice_for_the_model_size_replaces_untouched_settings() -> None:
    machine = msgspec.structs.replace(read_machine_info(), gpus=(GPU,))
    before = draft_on(machine, None).plan.recipe
    draft, changes = apply_advice(draft_on(machine, 14_000_000_000))
    recipe = draft.plan.recipe
    assert (before.method, recipe.method) == ("lora", "qlora")
    assert recipe.learning_rate == 1e-4
    assert recipe.batch_size == 1
    assert draft.estimate is None, "the estimate is computed again"
    assert "Learning rate: auto → 1e-4" in changes
    assert (
        apply_advice(
            draft.with_estimate(
                make_report(parameters=14_000_000_000, parts={"train": {"kept": 5000}})
            )
        )[1]
        == []
    )


def test_advice_applies_without_token_counts() -> None:
    machine = msgspec.structs.replace(read_machine_info(), gpus=(GPU,))
    draft = Draft(machine).with_estimate(make_report(parameters=14_000_000_000))
    assert apply_advice(draft)[0].plan.recipe.method == "qlora"


def test_advice_keeps_the_settings_chosen_by_the_user() -> None:
    machine = msgspec.structs.replace(read_machine_info(), gpus=(GPU,))
    draft = draft_on(machine, 14_000_000_000).with_touched("learning_rate").with_touched("method")
    kept, changes = apply_advice(draft)
    assert kept.plan.recipe.method == "lora"
    assert kept.plan.recipe.learning_rate == draft.plan.recipe.learning_rate
    assert not [change for change in changes if change.startswith(("Learning rate", "Method"))]


def test_model_folder_resolves_to_an_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner/mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve_model("owner/mine") == str(tmp_path / "owner/mine")
    assert resolve_model("./x") == str(tmp_path / "x")
    assert resolve_model("owner/other") == "owner/other"
