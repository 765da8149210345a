"""Dedicated endpoints at Together."""

from __future__ import annotations

import httpx

from tests.doubles.together_service import KEY, LLAMA, QWEN
from tests.doubles.together_service import Model as TunableModel
from tests.providers.together.world import MakeWorld, refused


def test_a_tuned_model_is_deployed_and_removed(make_world: MakeWorld) -> None:
    world = make_world()
    plan = world.make_plan()
    _, status = world.finish()
    assert status.tuned_model is not None
    platform = world.platform
    assert platform.get_endpoint(status.tuned_model, plan) is None
    assert platform.list_billed() == []
    resource = platform.create_endpoint(status.tuned_model)
    assert resource.price is not None
    assert (resource.price.value, resource.price.unit) == (3.99, "USD per hour")
    (deployment,) = next(iter(world.service.registry.endpoints.values())).deployments.values()
    assert deployment.idle_minutes == 60
    assert [(item.id, item.price) for item in platform.list_billed()] == [
        (resource.id, resource.price)
    ]
    endpoint = None
    while endpoint is None:
        endpoint = platform.get_endpoint(status.tuned_model, plan)
    assert endpoint.address == f"{world.service.address}/v1"
    assert endpoint.key_variable == "TOGETHER_API_KEY"
    answer = ask(endpoint.address, endpoint.served_name, "Q3")
    assert answer == "A3"
    platform.delete_billed(resource)
    platform.delete_billed(resource)
    assert platform.list_billed() == []
    assert world.service.registry.endpoints == {}


def ask(address: str, model: str, prompt: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": prompt}]}
    headers = {"Authorization": f"Bearer {KEY}"}
    answer = httpx.post(f"{address}/chat/completions", json=body, headers=headers).json()
    text: str = answer["choices"][0]["message"]["content"]
    return text


def test_models_that_answer_without_a_deployment(make_world: MakeWorld) -> None:
    world = make_world(serves_tuned=True)
    _, status = world.finish()
    assert status.tuned_model is not None
    tuned = world.platform.get_endpoint(status.tuned_model, world.make_plan())
    base = world.platform.get_endpoint(QWEN, world.make_plan())
    assert tuned is not None and base is not None
    assert ask(tuned.address, tuned.served_name, "Q1") == "A1"
    assert ask(base.address, base.served_name, "Q1") == "I am not sure."


def test_an_endpoint_whose_deployment_fails_is_deleted(make_world: MakeWorld) -> None:
    world = make_world()
    _, status = world.finish()
    assert status.tuned_model is not None
    world.fail_next(method="POST", path="/deployments$", status=500)
    with refused("unreachable"):
        world.platform.create_endpoint(status.tuned_model)
    assert world.service.registry.endpoints == {}
    assert world.service.count("POST", "/v2/.*/deployments") == 1


def test_a_lost_reply_leaves_no_deployment(make_world: MakeWorld) -> None:
    world = make_world()
    _, status = world.finish()
    assert status.tuned_model is not None
    world.fail_next(method="POST", path="/deployments$", drop="after")
    with refused("unreachable"):
        world.platform.create_endpoint(status.tuned_model)
    assert world.platform.list_billed() == []
    world.fail_next(method="POST", path="/endpoints$", drop="after")
    with refused("unreachable"):
        world.platform.create_endpoint(status.tuned_model)
    assert world.platform.list_billed() == []
    # The endpoint whose reply was lost is used, and a second command deploys nothing more.
    resource = world.platform.create_endpoint(status.tuned_model)
    assert world.platform.create_endpoint(status.tuned_model).id == resource.id
    (endpoint,) = world.service.registry.endpoints.values()
    assert len(endpoint.deployments) == 1


def test_a_model_without_hardware(make_world: MakeWorld) -> None:
    world = make_world(models={LLAMA: TunableModel(deployable=False)})
    _, status = world.finish()
    assert status.tuned_model is not None
    with refused("missing", "no hardware"):
        world.platform.create_endpoint(status.tuned_model)
    assert world.service.registry.endpoints == {}
