"""Rewards as text: what is typed, what is shown, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ftwizard.errors import FtwizardError
from ftwizard.rewards.notation import format_rewards, keep_limits, parse_rewards
from ftwizard.rewards.reward import Reward


@pytest.mark.parametrize(
    ("text", "rewards"),
    [
        ("", ()),
        ("numeric_answer", (Reward(function="numeric_answer"),)),
        (
            " numeric_answer ,0.2 * length_limit=50",
            (
                Reward(function="numeric_answer"),
                Reward(function="length_limit", weight=0.2, options={"max": 50}),
            ),
        ),
        ("-1*exact_answer", (Reward(function="exact_answer", weight=-1),)),
        (
            "length_limit={max: 5, unit: characters}",
            (Reward(function="length_limit", options={"max": 5, "unit": "characters"}),),
        ),
        (
            "regex_format='<a>.*, b</a>', json_valid",
            (
                Reward(function="regex_format", options={"pattern": "<a>.*, b</a>"}),
                Reward(function="json_valid"),
            ),
        ),
    ],
)
def test_text_names_functions_with_weights_and_options(
    text: str, rewards: tuple[Reward, ...]
) -> None:
    assert parse_rewards(text) == rewards
    assert parse_rewards(format_rewards(rewards)) == rewards


def test_own_file_is_named_absolutely_and_shown_as_it_is_wished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rewards = parse_rewards("2*my rewards.py:mine")
    assert rewards == (Reward(function=f"{tmp_path}/my rewards.py:mine", weight=2),)
    assert format_rewards(rewards, lambda path: Path(path).name) == "2*my rewards.py:mine"


@given(
    st.dictionaries(
        st.text(max_size=5), st.none() | st.booleans() | st.integers() | st.text(), max_size=3
    ).map(lambda value: {"type": "object", "extra": value}),
    st.floats(-10, 10),
)
@example({"%": "%0¹", "...": "0x_"}, 1.0)
def test_any_schema_and_weight_are_read_back(schema: dict[str, Any], weight: float) -> None:
    rewards = (Reward(function="json_valid", weight=weight, options={"schema": schema}),)
    assert parse_rewards(format_rewards(rewards)) == rewards


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("numeric_anser", "Did you mean numeric_answer?"),
        ("length_limit", "needs the option max"),
        ("length_limit=many", "max must be a whole number"),
        ("numeric_answer=1", "not a mapping"),
        ("length_limit={max: 5", "not valid YAML"),
        ("numeric_answer={tol: 1}", "Its options: tolerance"),
        ("regex_format='('", "is not a regular expression"),
        (", ".join(["exact_answer"] * 21), "21 rewards are too many"),
    ],
)
def test_what_is_wrong_is_named(text: str, problem: str) -> None:
    with pytest.raises(FtwizardError) as caught:
        parse_rewards(text)
    assert problem in caught.value.text


def test_limits_of_a_function_outlive_another_weight() -> None:
    before = (Reward(function="/x/a.py:f", time_limit_s=300, memory_gb=1),)
    after = keep_limits(parse_rewards("0.5*/x/a.py:f, exact_answer"), before)
    assert after[0] == Reward(function="/x/a.py:f", weight=0.5, time_limit_s=300, memory_gb=1)
    assert after[1] == Reward(function="exact_answer")
