"""Together by its official SDK, against a double of its service."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from together import types

from ftwizard.plan.schema import Wandb
from ftwizard.providers.base import Platform
from ftwizard.providers.fields import describe_clock
from ftwizard.providers.platforms import get_platform
from ftwizard.providers.together.platform import TogetherPlatform
from tests.doubles.together_service import KEY, LLAMA, QWEN
from tests.paths import TESTS
from tests.providers.together.world import PAIRS, MakeWorld, refused


def test_from_rows_to_a_finished_job(make_world: MakeWorld) -> None:
    world = make_world()
    platform: Platform = get_platform("together", world.environment)
    plan = world.make_plan(n_checkpoints=2)
    assert any("canceled" in caution for caution in platform.check_plan(plan))
    remote = world.make_remote()
    request = platform.build_request(plan, remote)
    price = platform.estimate_price(request)
    assert price.total is not None and price.allowed is True and price.limit == 100.0
    status = platform.create_job(request)
    assert (status.state, status.tuned_model) == ("pending", None)
    words, states, ids = [], [], set[str]()
    while status.state in ("pending", "running"):
        status = platform.get_job(status.id)
        words.append(status.status)
        states.append(status.state)
        events = platform.list_events(status.id, frozenset(ids))
        assert not ids & {event.id for event in events}
        ids |= {event.id for event in events}
    assert list(dict.fromkeys(words)) == [
        "pending", "queued", "running", "compressing", "uploading", "completed",
    ]  # fmt: skip
    assert list(dict.fromkeys(states)) == ["pending", "running", "succeeded"]
    assert status.url == f"https://api.together.ai/jobs/{status.id}"
    assert status.tuned_model and status.trained_tokens and status.finished and status.created
    assert status.price is not None and status.price.value == pytest.approx(price.total.value)
    assert platform.list_events(status.id, frozenset(ids)) == []
    assert world.count_creates() == 1


def test_the_address_may_end_with_v1(make_world: MakeWorld) -> None:
    world = make_world()
    environment = {**world.environment, "TOGETHER_BASE_URL": f"{world.service.address}/v1/"}
    platform = TogetherPlatform(environment)
    assert platform.endpoint == f"{world.service.address}/v1"
    assert [model.id for model in platform.list_models()] == [LLAMA, QWEN]


def test_models_answer_at_an_address_of_their_own() -> None:
    platform = TogetherPlatform({"TOGETHER_API_KEY": KEY})
    assert platform.endpoint == "https://api.together.ai/v1"
    assert platform.chat_address == "https://api-inference.together.ai/v1"


def test_cautions(make_world: MakeWorld) -> None:
    world = make_world()
    environment = {**world.environment, "WANDB_API_KEY": ""}
    plan = world.make_plan(validation=False, n_evals=4, wandb=Wandb(project="p", tags=("a",)))
    text = " ".join(TogetherPlatform(environment).check_plan(plan))
    for part in (
        "billed" if "billed" in text else "bills",
        "n_evals",
        "WANDB_API_KEY",
        "wandb.tags",
    ):
        assert part in text


def test_a_wrong_clock_is_a_caution(make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "ftwizard.providers.together.platform.describe_clock",
        lambda header, now: describe_clock(header, now - 9_000),
    )
    world = make_world()
    cautions = world.platform.check_plan(world.make_plan())
    assert "clock" in cautions[-1] and "behind" in cautions[-1]


def test_the_sdk_prints_nothing(make_world: MakeWorld, capfd: pytest.CaptureFixture[str]) -> None:
    world = make_world()
    settings: dict[str, Any] = {"training_method": "dpo", "simpo_gamma": 0.5}
    world.platform.check_plan(world.make_plan(**settings))
    world.create(world.make_remote(rows=PAIRS), **settings)
    assert capfd.readouterr() == ("", "")
    (job,) = world.service.jobs.values()
    assert job.request["training_method"]["dpo_reference_free"] is True


@pytest.mark.parametrize("address", ["ftp://x", "api.together.ai", "http://"])
def test_an_address_that_is_none(address: str) -> None:
    with refused("unreachable", "TOGETHER_BASE_URL"):
        TogetherPlatform({"TOGETHER_API_KEY": KEY, "TOGETHER_BASE_URL": address})


def test_a_job_cannot_be_paused(make_world: MakeWorld) -> None:
    world = make_world()
    assert not world.platform.can_pause
    with refused("rejected", "pause"):
        world.platform.pause_job("ft-1")


def test_the_double_speaks_the_types_of_the_sdk(make_world: MakeWorld) -> None:
    world = make_world()
    _, status = world.finish(n_checkpoints=2)
    assert status.tuned_model is not None
    world.platform.create_endpoint(status.tuned_model)
    endpoint = next(iter(world.service.registry.endpoints))
    base = "/v2/projects/proj_acme/endpoints"
    shapes: list[tuple[str, Any]] = [
        ("/v1/files", types.FileList),
        ("/v1/fine-tunes", types.FineTuningListResponse),
        (f"/v1/fine-tunes/{status.id}", types.FinetuneResponse),
        (f"/v1/fine-tunes/{status.id}/events", types.FineTuningListEventsResponse),
        (f"/v1/fine-tunes/{status.id}/metrics", types.FineTuningListMetricsResponse),
        (f"/v1/fine-tunes/{status.id}/checkpoints", types.FineTuningListCheckpointsResponse),
        (f"/v1/fine-tunes/models/limits?model_name={LLAMA}", types.FinetuneModelLimits),
        ("/v2/public/inference-instance-types", types.endpoints.HardwareListResponse),
        (f"{base}/{endpoint}", types.Endpoint),
    ]
    headers = {"Authorization": f"Bearer {KEY}"}
    for path, shape in shapes:
        answer = httpx.get(world.service.address + path, headers=headers)
        assert answer.status_code == 200, path
        shape.model_validate(answer.json())


def test_the_double_runs_as_a_process(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.json"
    scenario.write_text(json.dumps({"balance_usd": 5.0, "models": {QWEN: {"max_rank": 4}}}))
    command = [sys.executable, "-m", "tests.doubles.together_service", "--scenario", str(scenario)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=TESTS.parent) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        try:
            platform = TogetherPlatform({"TOGETHER_API_KEY": KEY, "TOGETHER_BASE_URL": address})
            assert [model.id for model in platform.list_models()] == [QWEN]
            httpx.post(
                f"{address}/_control/faults", json={"path": "/fine-tunes/ft-1$", "status": 403}
            )
            with refused("permission"):
                platform.get_job("ft-1")
            httpx.post(f"{address}/_control/scenario", json={"keys": ["other"]})
            with refused("key"):
                platform.list_models()
            paths = [item["path"] for item in httpx.get(f"{address}/_control/requests").json()]
            assert paths == ["/v2/supported-models", "/v1/fine-tunes/ft-1", "/v2/supported-models"]
        finally:
            process.terminate()
    assert process.returncode == 0
