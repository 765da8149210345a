"""The log-probability of general text, on tiny models inside the test process."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from ftwizard.runs import checkpoints, loss_curves, objective_figures
from ftwizard.runs.summary import read_progress
from ftwizard.train import general_score
from tests.helpers.jobs import events
from tests.helpers.models import make_tiny, tiny_tokenizer
from tests.helpers.training import again, prepare

LENGTH: dict[str, Any] = {"function": "length_limit", "options": {"max": 2, "unit": "characters"}}
GENERAL = {"evaluate": {"general": True}}


def make_run(root: Path, name: str, **settings: Any) -> Any:
    grpo = {"num_generations": 4, "max_completion_length": 6, "rewards": [LENGTH]}
    return prepare(
        root, name, objective="grpo", batch_size=4, gradient_accumulation=2, grpo=grpo, **settings
    )


def test_the_score_is_the_mean_over_the_tokens_of_all_texts(tmp_path: Path) -> None:
    """Texts of different lengths are padded together, and long ones are in passes of their own."""
    import torch
    from transformers import AutoModelForCausalLM

    make_tiny(tmp_path / "tiny")
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "tiny")
    model.eval()
    chance = random.Random(1)
    vocabulary = len(tiny_tokenizer())
    rows = [
        [chance.randrange(vocabulary) for _ in range(length)] for length in (2, 40, 300, 9, 301)
    ]
    total = 0.0
    for row in rows:
        ids = torch.tensor([row])
        with torch.no_grad():
            total -= float(model(input_ids=ids, labels=ids).loss) * (len(row) - 1)
    expected = total / sum(len(row) - 1 for row in rows)
    assert general_score.compute_mean_logp(model, rows) == pytest.approx(expected, rel=1e-5)


def test_a_run_is_scored_before_the_first_step_and_at_evaluations_with_unchanged_steps(
    tmp_path: Path,
) -> None:
    plain = again(make_run(tmp_path, "plain"))
    scored = again(make_run(tmp_path, "scored", more=GENERAL))
    names = ("step", "loss", "grad_norm", "reward", "entropy", "tokens", "completions_mean_length")
    steps = [
        [[event[name] for name in names] for event in events(folder, "log")]
        for folder in (plain, scored)
    ]
    assert steps[0] == steps[1], "bit by bit"
    assert any(step[2] for step in steps[0]), "the weights change"
    assert not any(general_score.SCORE in event for event in events(plain, "eval"))
    scores = {event["step"]: event[general_score.SCORE] for event in events(scored, "eval")}
    assert list(scores) == [0, 4, 8]
    assert len(set(scores.values())) == 3 and all(-20 < score < 0 for score in scores.values())
    rewards = [event.get("eval_reward") for event in events(scored, "eval")]
    assert rewards[0] is None
    assert rewards[1:] == [event["eval_reward"] for event in events(plain, "eval")]
    assert not [f for f in events(scored, "finding") if f["code"] == "general_text_failed"]

    # The trainer's own history, by which a resumed run is diagnosed, has the same scores.
    newest = checkpoints.all_complete(scored.checkpoints)[-1]
    state = scored.checkpoints / newest.name / "trainer_state.json"
    curve = loss_curves.from_rows(json.loads(state.read_text())["log_history"])
    assert dict(curve.metrics[general_score.SCORE]) == scores
    progress = read_progress(scored)
    assert dict(loss_curves.from_progress(progress).metrics[general_score.SCORE]) == scores
    assert ("general text", f"{scores[8]:.2f}") in objective_figures.list_figures(progress)


def test_a_measurement_that_fails_ends_itself_and_not_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> float:
        raise RuntimeError("CUDA out of memory.\nmore")

    monkeypatch.setattr(general_score, "compute_mean_logp", fail)
    folder = again(make_run(tmp_path, "failing", more=GENERAL))
    (finding,) = [f for f in events(folder, "finding") if f["code"] == "general_text_failed"]
    assert "off for this run: RuntimeError: CUDA out of memory." in finding["message"]
    assert json.loads(folder.trained.read_bytes())["last_step"] == 8
    assert [event["step"] for event in events(folder, "eval")] == [4, 8]
