"""What is shown of a setting is what was meant; what was typed becomes the plan's own type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis.strategies import floats

from ftwizard.advice.setting import setting
from ftwizard.machine import Facts, Gpu, facts
from ftwizard.plan import Finish
from ftwizard.screens.draft import Draft
from ftwizard.screens.values import (
    AFTER,
    after,
    finishing,
    model_name,
    read_value,
    shown_value,
    suited,
)


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
    ],
)
def test_a_value_is_read_back_as_it_is_shown(name: str, value: Any, shown: str) -> None:
    assert shown_value(value) == shown
    assert read_value(setting(name), shown) == value


@pytest.mark.parametrize(
    ("name", "typed", "says"),
    [
        ("epochs", "many", "Epochs: “many” is not a number."),
        ("batch_size", "1.5", "Batch size: “1.5” is not a whole number."),
        ("epochs", "\x1b[31m", "Epochs: “␛[31m” is not a number."),
    ],
)
def test_a_wrong_value_is_a_sentence(name: str, typed: str, says: str) -> None:
    with pytest.raises(ValueError) as error:
        read_value(setting(name), typed)
    assert str(error.value) == says


@pytest.mark.parametrize("chosen", [str(one.value) for one in AFTER.options])
def test_what_follows_the_training_is_read_back_as_it_was_chosen(chosen: str) -> None:
    assert after(finishing(Finish(), chosen)) == chosen


@given(floats(min_value=1e-9, max_value=100, allow_nan=False))
def test_every_number_is_shown_exactly(value: float) -> None:
    assert read_value(setting("learning_rate"), shown_value(value)) == value


GPU = Gpu(name="one", memory=16_000_000_000)


def draft_on(machine: Facts, parameters: int | None) -> Draft:
    found = {"parameters": parameters, "parts": {"train": {"kept": 5000}}}
    draft = Draft(machine)
    return draft.counted(found) if parameters else draft


def test_what_a_model_of_that_size_needs_replaces_what_nobody_has_chosen() -> None:
    machine = msgspec.structs.replace(facts(), gpus=(GPU,))
    before = draft_on(machine, None).plan.recipe
    draft, changes = suited(draft_on(machine, 14_000_000_000))
    recipe = draft.plan.recipe
    assert (before.method, recipe.method) == ("lora", "qlora")
    assert recipe.learning_rate == 1e-4
    assert recipe.batch_size == 1
    assert draft.estimate is None, "it is counted again"
    assert "Learning rate: automatic → 1e-4" in changes
    assert (
        suited(draft.counted({"parameters": 14_000_000_000, "parts": {"train": {"kept": 5000}}}))[1]
        == []
    )


def test_what_the_person_has_chosen_stays() -> None:
    machine = msgspec.structs.replace(facts(), gpus=(GPU,))
    draft = draft_on(machine, 14_000_000_000).touching("learning_rate").touching("method")
    kept, changes = suited(draft)
    assert kept.plan.recipe.method == "lora"
    assert kept.plan.recipe.learning_rate == draft.plan.recipe.learning_rate
    assert not [one for one in changes if one.startswith(("Learning rate", "Method"))]


def test_a_folder_is_named_by_its_whole_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "owner/mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert model_name("owner/mine") == str(tmp_path / "owner/mine")
    assert model_name("./x") == str(tmp_path / "x")
    assert model_name("owner/other") == "owner/other"
