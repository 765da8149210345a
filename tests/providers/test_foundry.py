"""Microsoft Foundry by the real SDK of OpenAI, against a scripted service on loopback."""

from __future__ import annotations

import datetime
import json
import shlex
from collections.abc import Iterator
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftwizard.plan.schema import Data, Files, Foundry, Model, Plan, TrainingType
from ftwizard.providers.base import Platform, ProviderError
from ftwizard.providers.foundry import FoundryPlatform, complete_endpoint
from ftwizard.providers.platforms import get_platform
from ftwizard.runs.remote import RemoteFile, RemoteJob
from tests.providers.scripted_service import Reply, ScriptedService, run_script

KEY = "8c1f0e2d4b6a49758c1f0e2d4b6a4975"
MODEL = "gpt-4.1-mini-2025-04-14"
TUNED = f"{MODEL}.ft-0ab3f80e4f22"
JOB: dict[str, Any] = {
    "id": "ftjob-1", "object": "fine_tuning.job", "created_at": 1_790_000_000, "status": "pending",
    "model": MODEL, "training_file": "file-1", "organization_id": None, "result_files": None,
    "hyperparameters": {"n_epochs": -1}, "trainingType": "globalstandard", "error": None,
}  # fmt: skip


@pytest.fixture(scope="module")
def running_service() -> Iterator[ScriptedService]:
    with run_script("/openai/v1") as running:
        yield running


@pytest.fixture
def service(running_service: ScriptedService) -> ScriptedService:
    running_service.reset()
    return running_service


@pytest.fixture
def platform(service: ScriptedService) -> FoundryPlatform:
    return connect(service.address.removesuffix("/openai/v1"))


def connect(endpoint: str) -> FoundryPlatform:
    platform = get_platform(
        "foundry", {"AZURE_OPENAI_API_KEY": KEY, "AZURE_OPENAI_ENDPOINT": endpoint}
    )
    return cast(FoundryPlatform, platform)


def make_plan(model: str = "gpt-4.1-mini", **settings: Any) -> Plan:
    return Plan(
        provider="foundry", data=Data(files=Files(train="train.jsonl")), model=Model(name=model),
        foundry=Foundry(**settings),
    )  # fmt: skip


def make_remote() -> RemoteJob:
    train = RemoteFile(path="t", name="t.jsonl", rows=10, size_bytes=1, id="file-1")
    return RemoteJob(provider="foundry", tag="tag-1", model=MODEL, files={"train": train})


def allow_checks(service: ScriptedService, **model: Any) -> None:
    service.on(f"GET /models/{MODEL}", {"id": MODEL, "object": "model", **model})
    service.on("GET /fine_tuning/jobs", {"object": "list", "data": [], "has_more": False})


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        ("https://res.openai.azure.com", "https://res.openai.azure.com/openai/v1"),
        ("https://res.openai.azure.com/", "https://res.openai.azure.com/openai/v1"),
        ("https://res.openai.azure.com/openai", "https://res.openai.azure.com/openai/v1"),
        ("https://res.openai.azure.com/openai/v1/", "https://res.openai.azure.com/openai/v1"),
        ("res.openai.azure.com", "https://res.openai.azure.com/openai/v1"),
        ("https://res.services.ai.azure.com/api/projects/p",
         "https://res.services.ai.azure.com/api/projects/p/openai/v1"),
        ("https://res.services.ai.azure.com/api/projects/p/openai/v1",
         "https://res.services.ai.azure.com/api/projects/p/openai/v1"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/openai/v1"),
        ("http://127.0.0.1:8080/v1", "http://127.0.0.1:8080/v1"),
    ],
)  # fmt: skip
def test_what_is_missing_of_an_endpoint_is_appended(endpoint: str, address: str) -> None:
    platform: Platform = connect(endpoint)
    assert platform.endpoint == address


@given(st.text(alphabet="abc:/.?#[]@1 "))
def test_completing_an_endpoint_twice_changes_nothing(endpoint: str) -> None:
    once = complete_endpoint(endpoint)
    assert complete_endpoint(once) == once


@pytest.mark.parametrize("missing", ["AZURE_OPENAI_API_KEY", "AZURE_OPENAI_ENDPOINT"])
def test_a_missing_variable_is_named(missing: str) -> None:
    environment = {
        "AZURE_OPENAI_API_KEY": KEY,
        "AZURE_OPENAI_ENDPOINT": "https://res.openai.azure.com",
    }
    del environment[missing]

    with pytest.raises(ProviderError) as failure:
        get_platform("foundry", environment)

    assert failure.value.kind == "key"
    assert missing in failure.value.message
    assert f"export {missing}=" in failure.value.hint


@pytest.mark.parametrize("kind", ["Standard", "GlobalStandard", "developerTier"])
def test_the_training_type_is_part_of_the_body(
    service: ScriptedService, platform: FoundryPlatform, kind: TrainingType
) -> None:
    service.on("POST /fine_tuning/jobs", JOB)

    request = platform.build_request(make_plan(trainingType=kind), make_remote())
    status = platform.create_job(json.loads(json.dumps(request)))

    assert service.requests[0].json == request
    assert request["trainingType"] == kind
    assert service.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert (status.state, status.result_files) == ("pending", ())
    assert status.settings["trainingType"] == "globalstandard"
    assert status.url is None


def test_a_model_without_tuning_in_the_region_names_those_with(
    service: ScriptedService, platform: FoundryPlatform
) -> None:
    error = {
        "code": "invalidPayload",
        "message": "The specified base model does not support fine-tuning.",
    }
    service.on("POST /fine_tuning/jobs", Reply(status=400, body={"error": error}))

    with pytest.raises(ProviderError) as failure:
        platform.create_job(platform.build_request(make_plan(), make_remote()))

    assert failure.value.kind == "missing"
    assert "gpt-4.1-mini" in failure.value.hint
    assert "trainingType" in failure.value.hint


def test_a_wrong_key_is_told_by_its_variable(
    service: ScriptedService, platform: FoundryPlatform
) -> None:
    body = {"statusCode": 401, "message": f"Access denied due to invalid subscription key {KEY}."}
    service.on("GET /models", Reply(status=401, body=body))

    with pytest.raises(ProviderError) as failure:
        platform.list_models()

    assert "AZURE_OPENAI_API_KEY" in failure.value.message
    assert "Access denied" in failure.value.message
    assert KEY not in failure.value.text


def test_models_have_their_end_and_no_wrong_flag(
    service: ScriptedService, platform: FoundryPlatform
) -> None:
    end = int(datetime.datetime(2027, 4, 11, tzinfo=datetime.UTC).timestamp())
    models = [
        {"id": "a", "capabilities": {"fine_tune": True}, "deprecation": {"inference": end}},
        {"id": "b", "capabilities": {"fine_tune": False}},
        {"id": "c", "capabilities": None, "deprecation": None},
    ]
    service.on("GET /models", {"object": "list", "data": models})

    first, *others = platform.list_models()

    assert (first.tunable, first.shutdown) == (True, "2027-04-11")
    assert [model.tunable for model in others] == [None, None]


def test_a_plan_is_told_what_hosting_costs(
    service: ScriptedService, platform: FoundryPlatform
) -> None:
    allow_checks(service)
    assert any("$1.70 per hour" in caution for caution in platform.check_plan(make_plan()))


def test_the_regions_of_a_training_type_are_named(
    service: ScriptedService, platform: FoundryPlatform
) -> None:
    allow_checks(service)
    regions = "Standard is offered in North Central US, Sweden Central and East US 2 only"
    for kind in ("Standard", "standard", "GlobalStandard"):
        cautions = " ".join(platform.check_plan(make_plan(trainingType=kind)))
        assert (regions in cautions) == (kind != "GlobalStandard")


def test_reinforcement_is_told_its_cap(service: ScriptedService, platform: FoundryPlatform) -> None:
    service.on("GET /models/o4-mini-2025-04-16", {"id": "o4-mini-2025-04-16"})
    service.on("GET /fine_tuning/jobs", {"object": "list", "data": []})
    service.on("POST /fine_tuning/alpha/graders/validate", {})
    plan = make_plan("o4-mini", method="reinforcement", grader={"type": "python", "name": "g"})

    assert any("$5,000" in caution for caution in platform.check_plan(plan))


@pytest.mark.parametrize(
    ("model", "settings", "phrase"),
    [
        ("gpt-4.1-mini", {"suffix": "v1.2"}, "foundry.suffix"),
        ("qwen3-32b", {"trainingType": "Standard"}, "only with trainingType GlobalStandard"),
        ("gpt-4o-mini", {"method": "dpo"}, "does not train GPT-4o mini with dpo"),
        ("gpt-4o-mini-2024-07-18", {"method": "dpo"}, "does not train GPT-4o mini with dpo"),
        (
            "qwen3-32b-2025-04-28",
            {"trainingType": "Standard"},
            "only with trainingType GlobalStandard",
        ),
    ],
)
def test_what_foundry_never_takes_is_refused_before_a_request(
    service: ScriptedService, platform: FoundryPlatform,
    model: str, settings: dict[str, Any], phrase: str,
) -> None:  # fmt: skip
    with pytest.raises(ProviderError) as failure:
        platform.check_plan(make_plan(model, **settings))

    assert phrase.lower() in failure.value.message.lower().replace("gpt-4o-mini", "gpt-4o mini")
    assert service.requests == []


def test_models_are_asked_by_their_deployments(platform: FoundryPlatform) -> None:
    plan = make_plan(deployment="tuned", base_deployment="base")

    names = [platform.get_endpoint(model, plan) for model in (MODEL, "gpt-4.1-mini", TUNED)]

    assert [name.served_name if name else None for name in names] == ["base", "base", "tuned"]
    assert platform.get_endpoint(TUNED, make_plan()) is None


def test_a_deployment_is_described_by_commands_for_this_resource() -> None:
    platform = connect("https://my-res.services.ai.azure.com/api/projects/p")
    plan = make_plan(deployment="it; rm -rf ~")

    lines = platform.describe_deployment(plan, TUNED, "one")

    commands = [shlex.split(line) for line in lines if line.startswith("az ")]
    assert [command[4] for command in commands] == ["create", "create", "list", "delete"]
    assert all(command[command.index("--name") + 1] == "my-res" for command in commands)
    assert [command[-1] for command in commands[:2]] == ["DeveloperTier", "GlobalStandard"]
    assert commands[0][commands[0].index("--model-name") + 1] == TUNED
    assert commands[-1][-1] == "it; rm -rf ~"
    assert any("$1.70 per hour" in line for line in lines)


def test_an_open_model_is_deployed_in_its_own_form() -> None:
    platform = connect("https://my-res.openai.azure.com")
    commands = [
        shlex.split(line)
        for line in platform.describe_deployment(make_plan("qwen3-32b"), "qwen.ft-1", "one")
        if line.startswith("az ")
    ]
    assert [command[4] for command in commands] == ["create", "list", "delete"]
    assert "OpenAI-OSS" in commands[0]
