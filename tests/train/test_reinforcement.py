"""Reinforcement with rewards, on a tiny model inside the test process."""

from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import psutil
import pytest

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import Attempt, JobFolder, write_json
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Recipe
from ftwizard.rewards.reward import Reward, RewardError
from ftwizard.runs import checkpoints
from ftwizard.train import prompt_rows
from tests.helpers.jobs import events
from tests.helpers.training import again, prepare

SHORT = """\
def short(completions, reference_answer, **kwargs):
    return [1 / (1 + len(c[0]["content"])) for c in completions]
"""


def make_run(root: Path, name: str, rewards: list[dict[str, Any]], **recipe: Any) -> JobFolder:
    grpo = {"num_generations": 4, "max_completion_length": 6, **recipe.pop("grpo", {})}
    return prepare(
        root, name, objective="grpo", batch_size=4, gradient_accumulation=2,
        grpo={"rewards": rewards, **grpo}, **recipe,
    )  # fmt: skip


def test_a_run_logs_rewards_and_keeps_the_best_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(SHORT)
    rewards: list[dict[str, Any]] = [
        {"function": "own.py:short"},
        {"function": "length_limit", "weight": 0.5, "options": {"max": 40, "unit": "characters"}},
    ]
    folder = again(make_run(tmp_path, "grpo", rewards, grpo={"beta": 0.05}))

    logs, evaluations = events(folder, "log"), events(folder, "eval")
    assert [event["step"] for event in logs] == list(range(1, 9))  # 16 prompts, 2 in a step
    for name in ("reward", "reward_std", "frac_reward_zero_std", "kl", "entropy",
                 "rewards_short_mean", "rewards_length_limit_mean",
                 "completions_mean_length", "completions_clipped_ratio",
                 "clip_ratio_region_mean"):  # fmt: skip
        assert isinstance(logs[0][name], float), name
    total = logs[0]["rewards_short_mean"] + 0.5 * logs[0]["rewards_length_limit_mean"]
    assert logs[0]["reward"] == pytest.approx(total)
    assert logs[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert [event["step"] for event in evaluations] == [4, 8]
    assert all("eval_loss" not in event for event in evaluations)
    rewards_by_step = {event["step"]: event["eval_reward"] for event in evaluations}
    best = checkpoints.find_best(checkpoints.all_complete(folder.checkpoints))
    assert best is not None
    assert best.eval_reward == max(rewards_by_step.values()) == rewards_by_step[best.step]
    result = json.loads(folder.trained.read_bytes())
    assert (result["step"], result["eval_reward"]) == (best.step, best.eval_reward)
    begun = next(e for e in events(folder, "phase") if e["phase"] == "training")
    assert (begun["objective"], begun["total"], begun["rows_per_step"]) == ("grpo", 8, 2)
    samples = events(folder, "sample")
    assert set(samples[0]["rewards"]) == {"short", "length_limit"}
    assert samples[0]["reward"] == pytest.approx(
        samples[0]["rewards"]["short"] + 0.5 * samples[0]["rewards"]["length_limit"]
    )
    assert not [f for f in events(folder, "finding") if f["code"] in ("samples_failed", "nan")]
    assert not [p for p in psutil.Process().children() if "own.py" in " ".join(p.cmdline())]


def test_a_reward_that_fails_saves_the_steps_before_and_the_run_resumes(tmp_path: Path) -> None:
    path = tmp_path / "own.py"
    head = "calls = 0\n"
    broken = SHORT.replace(
        "    return", "    global calls\n    calls += 1\n    assert calls < 7, 'seven'\n    return"
    )
    path.write_text(head + broken)
    folder = make_run(
        tmp_path, "broken", [{"function": "own.py:short"}], evaluation_steps=100, save_steps=100
    )
    with pytest.raises(FtwizardError, match=r"short \(own.py\) raised AssertionError: seven"):
        again(folder)
    steps = [event["step"] for event in events(folder, "log")]
    saved = checkpoints.all_complete(folder.checkpoints)
    assert steps and [checkpoint.step for checkpoint in saved] == [steps[-1]]

    path.write_text(SHORT)
    write_json(
        folder.attempt(2),
        Attempt(number=2, started=0, host="", argv=[], checkpoint=f"checkpoints/{saved[0].name}"),
    )
    again(folder)
    resumed = [event["step"] for event in events(folder, "log")]
    assert resumed == list(range(1, 9))
    tokens = [event["tokens"] for event in events(folder, "log")]
    assert tokens == sorted(tokens)
    per_step = [b - a for a, b in itertools.pairwise(tokens)]
    assert max(per_step) < 4 * min(per_step)  # counted once, over both attempts
    assert json.loads(folder.trained.read_bytes())["last_step"] == 8


def test_a_reward_that_fails_in_an_evaluation_loses_no_step(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "def short(prompts, completions, **kwargs):\n"
        "    assert not any(p[-1]['content'].startswith('50') for p in prompts), 'validation'\n"
        "    return [1 / (1 + len(c[0]['content'])) for c in completions]\n"
    )
    folder = make_run(
        tmp_path, "broken", [{"function": "own.py:short"}], evaluation_steps=3, save_steps=100
    )
    with pytest.raises(FtwizardError, match=r"short \(own.py\) raised AssertionError: validation"):
        again(folder)
    assert [event["step"] for event in events(folder, "log")] == [1, 2, 3]
    assert [saved.step for saved in checkpoints.all_complete(folder.checkpoints)] == [3]


def test_training_raises_the_reward(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(
        "def letters(completions, **kwargs):\n"
        "    texts = [c[0]['content'] for c in completions]\n"
        "    return [sum(x.isascii() and x.isalpha() for x in text) / 8 for text in texts]\n"
    )
    folder = again(
        make_run(
            tmp_path,
            "rises",
            [{"function": "own.py:letters"}],
            method="full",
            epochs=5,
            learning_rate=2e-2,
            evaluation_steps=100,
            grpo={"max_completion_length": 8},
        )
    )
    rewards = [event["reward"] for event in events(folder, "log")]
    quarter = len(rewards) // 4
    assert sum(rewards[-quarter:]) > 1.3 * sum(rewards[:quarter])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"grpo": {"num_generations": 3}}, "a step has 8 answers"),
        ({"grpo": {"num_generations": 1}}, "A group needs 2 answers"),
        ({"grpo": {"temperature": 0.0}}, "temperature is 0"),
        ({"grpo": {"answer_template": "<a>"}}, "does not contain {answer}"),
        ({"grpo": {"rewards": []}}, "has 0 reward functions"),
        ({"grpo": {"rewards": [{"function": "numeric"}]}}, "Did you mean numeric_answer?"),
        ({"grpo": {"rewards": [{"function": "length_limit"}]}}, "needs the option max"),
        ({"grpo": {"rewards": [{"function": "json_valid", "weight": 0}]}}, "the weight 0"),
        ({"grpo": {"rewards": [{"function": "a.py:f", "options": {"x": 1}}]}}, "only packaged"),
        ({"packing": True}, "packs only supervised rows"),
        ({"more": {"data": {"mix": {"share": 0.1}}}}, "general rows have no reward"),
    ],
)
def test_settings_that_cannot_be_trained_with_are_named(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(FtwizardError) as caught:
        make_run(tmp_path, "refused", [{"function": "exact_answer"}], **changes)
    assert message in caught.value.text


def test_settings_of_rewards_need_the_objective(tmp_path: Path) -> None:
    with pytest.raises(FtwizardError, match=r"recipe\.grpo is set, but recipe\.objective is sft"):
        prepare(tmp_path, "refused", grpo={"rewards": [{"function": "exact_answer"}]})


def test_a_file_of_the_user_is_found_next_to_the_plan(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text(SHORT)
    folder = make_run(tmp_path, "here", [{"function": "own.py:short"}])
    (reward,) = plan_file.read_run(folder).recipe.grpo.rewards
    assert reward.function == f"{tmp_path}/own.py:short"


def test_failed_reward_reaches_another_process_as_it_was() -> None:
    reward = Reward(function="exact_answer")
    error = RewardError(reward, "nan", "returned NaN", "Return 0 instead.", 7)
    copied = pickle.loads(pickle.dumps(error))
    assert (copied.message, copied.hint, copied.code) == (error.message, error.hint, "reward")
    assert (copied.reward, copied.problem, copied.row_line) == (reward, "nan", 7)


def test_too_few_prompts_for_a_step_of_all_processes_are_refused() -> None:
    recipe = Recipe(objective="grpo", batch_size=8)  # one prompt for each process
    prompt_rows.require_enough(3, recipe, 3)
    with pytest.raises(
        FtwizardError, match="A step of 4 processes takes 4 prompts, and there are 3"
    ):
        prompt_rows.require_enough(3, recipe, 4)
