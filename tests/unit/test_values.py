"""What is shown of a setting is what was meant; what was typed becomes the plan's own type."""

from __future__ import annotations

from typing import Any

import pytest

from ftwizard.advice.setting import setting
from ftwizard.plan import Finish
from ftwizard.screens.values import AFTER, after, finishing, read_value, shown_value


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
