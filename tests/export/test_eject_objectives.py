"""Ejected scripts of DPO, KTO and GRPO: the losses and rewards of the run, in bare TRL."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import plan_file
from tests.helpers import training
from tests.helpers.ejected import assert_same_losses, continue_weights, eject, read_losses
from tests.helpers.jobs import events

OWN = """\
from brevity import measure


async def brief(completions, prompts, level):
    return [
        measure(completion[0]["content"]) * (1 if prompt[-1]["content"] else 0) + level / 10
        for completion, prompt, level in zip(completions, prompts, level, strict=True)
    ]
"""
HELPER = "def measure(text):\n    return 1 / (1 + len(text))\n"
REWARDS = [
    {"function": "own.py:brief"},
    {"function": "length_limit", "weight": 0.5, "options": {"max": 40, "unit": "characters"}},
    {"function": "numeric_answer"},
]
ROWS: dict[str, Any] = {
    "dpo": lambda n: {
        "prompt": [{"role": "user", "content": f"Say {n} " + "again " * (n % 3)}],
        "chosen": [{"role": "assistant", "content": f"It is {n}."}],
        "rejected": [{"role": "assistant", "content": f"No {n}, {n}."}],
    },
    "kto": lambda n: {
        "prompt": f"Say {n}", "completion": f"It is {n}" + "!" * (n % 4), "label": n % 2 == 0,
    },
    "grpo": lambda n: {
        "prompt": f"What is {n} + 2?", "completion": f"{n + 2}", "level": n % 3,
    },
}  # fmt: skip


def prepare(root: Path, name: str, objective: str, **recipe: Any) -> JobFolder:
    """Create a run whose rows are for the objective."""
    if objective == "grpo":
        (root / "own.py").write_text(OWN)
        (root / "brevity.py").write_text(HELPER)
        grpo = {
            "num_generations": 4, "max_completion_length": 6, "rewards": REWARDS,
            **recipe.pop("grpo", {}),
        }  # fmt: skip
        recipe = {"batch_size": 4, "gradient_accumulation": 2, "grpo": grpo, **recipe}
    folder = training.prepare(root, name, objective=objective, **recipe)
    for part, numbers in (("train", range(16)), ("validation", range(500, 509))):
        rows = [ROWS[objective](n) for n in numbers]
        (root / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


@pytest.fixture
def run_script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """Run the script of a folder in this process, with the folder in the search path."""

    def run(out: Path) -> None:
        monkeypatch.syspath_prepend(out)
        runpy.run_path(str(out / "train.py"), run_name="__main__")

    yield run
    for name in [
        n for n in sys.modules if n.split(".")[0] in ("reward_functions", "own", "brevity")
    ]:
        del sys.modules[name]


RunScript = Callable[[Path], None]
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "dpo": ("dpo", "conversations", {"gradient_accumulation": 2, "dpo": {"beta": 0.3}}),
    "dpo-full": ("dpo", "conversations",
                 {"method": "full", "dpo": {"loss_type": ["sigmoid", "sft"]}}),
    # 16 rows in batches of 3: the last batch has one row.
    "kto": ("kto", "conversations", {"batch_size": 3, "kto": {"undesirable_weight": 1.2}}),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_a_script_has_the_losses_of_the_run(
    tmp_path: Path, case: str, run_script: RunScript
) -> None:
    objective, form, recipe = CASES[case]
    folder = training.again(prepare(tmp_path, "run", objective, **recipe))
    out = tmp_path / "script"
    assert eject(folder, out).form == form
    run_script(out)
    assert_same_losses(folder, out)
    first = json.loads((out / "data" / "train.jsonl").read_text().splitlines()[0])
    assert {"prompt"} < first.keys() and first["prompt"][0]["role"] == "user"


@pytest.mark.slow
def test_a_script_of_grpo_has_the_rewards_of_the_run(tmp_path: Path, run_script: RunScript) -> None:
    folder = training.again(prepare(tmp_path, "run", "grpo", max_steps=5, grpo={"beta": 0.05}))
    out = tmp_path / "script"
    report = eject(folder, out)
    assert report.form == "messages"
    (out / "brevity.py").write_text(HELPER)  # as the head of the script says
    assert "what own.py imports" in " ".join(
        (out / "train.py").read_text().split('"""', 2)[1].split()
    )
    lines = [line for path in out.rglob("*.py") for line in path.read_text().splitlines()]
    assert not [line for line in lines if line.startswith(("import ftwizard", "from ftwizard"))]
    run_script(out)
    assert_same_losses(folder, out, "eval_reward")
    state = json.loads((out / "output" / "checkpoints" / "trainer_state.json").read_text())
    theirs = [entry["reward"] for entry in state["log_history"] if "reward" in entry]
    assert theirs == pytest.approx([event["reward"] for event in events(folder, "log")], rel=1e-6)
    assert (out / "output" / "adapter" / "adapter_model.safetensors").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["dpo", "grpo"])
def test_a_child_has_the_reference_of_the_run(
    tmp_path: Path, objective: str, run_script: RunScript
) -> None:
    parent = training.train(tmp_path, "parent", max_steps=4)
    child = prepare(tmp_path, "child", objective, max_steps=3,
                    **({"grpo": {"beta": 0.2}} if objective == "grpo" else {}))  # fmt: skip
    continue_weights(child, parent)
    out = tmp_path / "script"
    eject(child, out)
    if objective == "grpo":
        (out / "brevity.py").write_text(HELPER)
        run_script(out)
        assert_same_losses(child, out, "eval_reward")
        return
    run_script(out)
    assert_same_losses(child, out)
    assert read_losses(out)[0][1] == pytest.approx(0.6931, abs=1e-3), "it is its own reference"
    assert not (out / "output" / "adapter" / "ref").exists()


@pytest.mark.slow
@pytest.mark.parametrize("objective", ["kto", "grpo"])
def test_a_model_without_a_chat_template(
    tmp_path: Path, objective: str, run_script: RunScript
) -> None:
    from tests.export.test_eject import with_template

    model = with_template(tmp_path, None)
    more = {"grpo": {"rewards": [{"function": "numeric_answer"}]}} if objective == "grpo" else {}
    folder = training.again(prepare(tmp_path, "run", objective, model=model, max_steps=3, **more))
    out = tmp_path / "script"
    assert eject(folder, out).form == {"kto": "pairs", "grpo": "tokens"}[objective]
    run_script(out)
    assert_same_losses(folder, out, "eval_reward" if objective == "grpo" else "eval_loss")


def test_an_answer_of_several_messages_is_refused(tmp_path: Path) -> None:
    folder = prepare(tmp_path, "run", "dpo")
    row = ROWS["dpo"](1)
    row["chosen"] += [{"role": "user", "content": "And?"}, {"role": "assistant", "content": "Yes"}]
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write(json.dumps(row) + "\n")
    with pytest.raises(FtwizardError, match="The row at line 17 cannot be ejected"):
        eject(folder, tmp_path / "script")


@pytest.mark.parametrize(
    ("name", "message"),
    [("json.py", "which is taken"), ("my-rewards.py", "is no name"), ("train.py", "is taken")],
)
def test_a_file_of_rewards_needs_a_name_of_its_own(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / name).write_text(HELPER)
    folder = prepare(tmp_path, "run", "grpo", grpo={"rewards": [{"function": f"{name}:measure"}]})
    with pytest.raises(FtwizardError, match=message):
        eject(folder, tmp_path / "script")
    assert not (tmp_path / "script").exists()


def test_a_missing_file_of_rewards_is_named(tmp_path: Path) -> None:
    folder = prepare(tmp_path, "run", "grpo")
    (tmp_path / "own.py").unlink()
    with pytest.raises(FtwizardError, match=r"The file of rewards own\.py could not be read"):
        eject(folder, tmp_path / "script")


def test_reward_files_are_copied_for_the_owner_only(tmp_path: Path) -> None:
    folder = prepare(tmp_path, "run", "grpo")
    out = tmp_path / "script"
    report = eject(folder, out)
    assert (out / "own.py").read_text() == OWN
    assert all(path.stat().st_mode & 0o077 == 0 for path in out.rglob("*"))
    assert "regex" in report.versions
    plan = plan_file.read_run(folder)
    limits = " ".join(report.left_out)
    assert (
        "limits of time and memory" in limits
        and str(plan.recipe.grpo.rewards[0].file) not in limits
    )
