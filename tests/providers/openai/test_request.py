"""The request of a job at OpenAI."""

from __future__ import annotations

import json
from pathlib import Path

from ftwizard.plan.schema import OpenAI, Wandb
from ftwizard.providers.openai.platform import OpenAIPlatform
from tests.providers.openai.script import GRADER, JOB, make_plan, make_remote
from tests.providers.scripted_service import ScriptedService


def test_the_request_is_sent_exactly_as_it_was_built(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    wandb = Wandb(project="p", tags=("a", "b"))
    settings = OpenAI(
        method="dpo", beta=0.2, suffix="s", seed=0, metadata={"why": "test"}, wandb=wandb
    )
    service.on("POST /fine_tuning/jobs", JOB)

    request = platform.build_request(make_plan(settings), make_remote())
    status = platform.create_job(json.loads(json.dumps(request)))

    assert service.requests[0].json == request == {
        "model": "gpt-4.1-mini-2025-04-14",
        "training_file": "file-1",
        "validation_file": "file-2",
        "method": {
            "type": "dpo",
            "dpo": {"hyperparameters": {
                "n_epochs": 3, "batch_size": "auto", "learning_rate_multiplier": "auto", "beta": 0.2,
            }},
        },
        "suffix": "s",
        "seed": 0,
        "metadata": {"why": "test", "ftwizard_run": "tag-1"},
        "integrations": [{"type": "wandb", "wandb": {"project": "p", "tags": ["a", "b"]}}],
    }  # fmt: skip
    assert (status.id, status.tag, status.training_file) == ("ftjob-1", "tag-1", "file-1")


def test_a_reinforcement_request_has_its_grader(platform: OpenAIPlatform, tmp_path: Path) -> None:
    path = tmp_path / "grader.yaml"
    path.write_text(json.dumps(GRADER))
    for grader in (GRADER, str(path)):
        settings = OpenAI(method="reinforcement", grader=grader, reasoning_effort="low")
        method = platform.build_request(make_plan(settings, "o4-mini"), make_remote())["method"]
        assert method["reinforcement"]["grader"] == GRADER
        assert method["reinforcement"]["hyperparameters"]["reasoning_effort"] == "low"
