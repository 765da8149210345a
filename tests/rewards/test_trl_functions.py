"""Reward functions as TRL calls them: the same rewards as in the processes of a run."""

from __future__ import annotations

import asyncio
import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from ftwizard.rewards import answer_scores, trl_functions
from ftwizard.rewards.reward import Reward
from ftwizard.rewards.rows import PromptRow, make_batch
from ftwizard.rewards.scoring import Scorer

DOCUMENT = Path(__file__).parents[2] / "docs" / "rewards.md"
ROWS: list[dict[str, Any]] = [
    {
        "prompt": [{"role": "user", "content": "Which color has grass?"}],
        "reference_answer": "green",
    },
    {"prompt": [{"role": "user", "content": "What is 2 + 3?"}], "reference_answer": "It is 5."},
    {"prompt": [{"role": "user", "content": "Say it"}], "reference_answer": None, "level": 2},
]
ANSWERS = ["It is green.", "5", "anything"]


class Decoder:
    """A tokenizer whose tokens are indices of answers."""

    def batch_decode(self, ids: list[list[int]], *, skip_special_tokens: bool) -> list[str]:
        assert skip_special_tokens
        return [ANSWERS[row[0]] for row in ids]


def call(function: Any, count: int = 3) -> Any:
    rows = [json.dumps(row) for row in ROWS[:count]]
    return function(
        completion_ids=[[n] for n in range(count)], row=rows, prompts=[], trainer_state=None
    )


def test_the_file_of_the_documentation_scores_in_a_run_and_in_bare_trl(tmp_path: Path) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    path = tmp_path / "rewards.py"
    path.write_text(source)
    rows = [
        PromptRow(line=n, prompt=row["prompt"], reference=row["reference_answer"])
        for n, row in enumerate(ROWS[:2], 1)
    ]
    with Scorer(Reward(function=f"{path}:my_reward")) as scorer:
        assert scorer.score(make_batch(rows, ANSWERS[:2])) == [1.0, 1.0]
        assert scorer.score(make_batch(rows, ["It is red.", ""])) == [0.0, 0.0]
    function = runpy.run_path(str(path))["my_reward"]
    assert call(trl_functions.from_function("my_reward", function, Decoder()), 2) == [1.0, 1.0]


def test_a_packaged_function_has_no_reward_without_a_reference() -> None:
    reward = trl_functions.from_score("n", answer_scores.numeric_answer, {}, Decoder())
    assert call(reward) == [None, 1.0, None]
    assert reward.__name__ == "n"


def test_a_function_gets_the_arguments_that_it_names() -> None:
    def levels(level: list[int | None]) -> list[float]:
        return [float(value or 0) for value in level]

    async def later(**columns: Any) -> tuple[float, ...]:
        assert columns.keys() == {"prompts", "completions", "reference_answer", "level"}
        assert columns["prompts"][0] == ROWS[0]["prompt"]
        return (1.0, 2.0, 3.0)

    assert call(trl_functions.from_function("levels", levels, Decoder())) == [0.0, 0.0, 2.0]
    assert call(trl_functions.from_function("later", later, Decoder())) == [1.0, 2.0, 3.0]


def test_an_async_function_shares_its_semaphore_between_batches() -> None:
    free = asyncio.Semaphore(1)

    async def level_of(level: int | None) -> float:
        async with free:
            await asyncio.sleep(0)
            return float(level or 0)

    async def levels(level: list[int | None]) -> list[float]:
        return await asyncio.gather(*map(level_of, level))

    reward = trl_functions.from_function("levels", levels, Decoder())
    assert call(reward) == call(reward) == [0.0, 0.0, 2.0]


def test_an_error_of_a_function_ends_the_training() -> None:
    def broken(completions: list[Any]) -> list[float]:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        call(trl_functions.from_function("broken", broken, Decoder()))
