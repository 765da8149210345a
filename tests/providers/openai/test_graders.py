"""Graders at OpenAI: their check and a dry run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ftwizard.providers.base import ProviderError
from ftwizard.providers.openai.graders import dry_run_grader
from ftwizard.providers.openai.platform import OpenAIPlatform
from tests.providers.openai.script import GRADER, make_error, make_page, make_reinforcement
from tests.providers.scripted_service import ScriptedService


def test_a_grader_that_the_platform_rejects_is_refused(
    service: ScriptedService, platform: OpenAIPlatform
) -> None:
    service.on("GET /models/o4-mini-2025-04-16", {"id": "o4-mini-2025-04-16"})
    service.on("GET /fine_tuning/jobs", make_page([]))
    route = "POST /fine_tuning/alpha/graders/validate"
    service.on(route, make_error(400, "invalid_grader", "unknown operation", "grader"))

    with pytest.raises(ProviderError) as failure:
        platform.check_plan(make_reinforcement())

    assert "unknown operation" in failure.value.message
    assert "openai.grader" in failure.value.hint
    assert service.requests[-1].json == {"grader": GRADER}


def make_rewards(reward: float, **errors: bool) -> dict[str, Any]:
    metadata = {"errors": errors, "execution_time": 0.1, "name": "exact", "scores": {}, "type": "t"}
    return {"reward": reward, "metadata": metadata, "sub_rewards": {}}


def test_a_dry_run_grades_ten_rows_with_their_own_references(
    service: ScriptedService, platform: OpenAIPlatform, tmp_path: Path
) -> None:
    rows = [{"messages": [{"role": "user", "content": "?"}], "answer": str(i)} for i in range(12)]
    path = tmp_path / "train.jsonl"
    path.write_text("\ufeff" + "".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    service.on("POST /fine_tuning/alpha/graders/run", make_rewards(1.0))

    trial = dry_run_grader(platform, make_reinforcement().openai, path)

    assert (trial.rows, trial.rewards, trial.describe()) == (10, (1.0,) * 10, [])
    assert [request.json["model_sample"] for request in service.requests] == list("0123456789")
    assert service.requests[0].json["item"] == rows[0]


def test_a_dry_run_tells_rewards_of_0_and_failing_rows(
    service: ScriptedService, platform: OpenAIPlatform, tmp_path: Path
) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"messages": [], "answer": {"a": 1}}\n' * 3)
    failing = make_rewards(0.0, sample_parse_error=True, other_error=False)
    service.on("POST /fine_tuning/alpha/graders/run", failing, make_rewards(0.0))

    trial = dry_run_grader(platform, make_reinforcement().openai, path)

    assert "1 of 3 rows: sample parse error" in trial.describe()[0]
    assert "reward 0" in trial.describe()[1]

    service.on("POST /fine_tuning/alpha/graders/run", failing)
    with pytest.raises(ProviderError, match="all of 3 rows: sample parse error"):
        dry_run_grader(platform, make_reinforcement().openai, path)
