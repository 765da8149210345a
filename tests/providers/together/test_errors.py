"""Errors and keys of Together by its official SDK."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from ftwizard.providers.together.platform import TogetherPlatform
from tests.doubles.together_service import KEY, QWEN
from tests.providers.together.world import ROWS, WANDB_KEY, MakeWorld, World, refused


@pytest.mark.parametrize("body", ["<html>proxy</html>", 1])
def test_a_page_of_a_proxy_is_an_outage(make_world: MakeWorld, body: Any) -> None:
    world = make_world()
    remote = world.make_remote()
    request = world.platform.build_request(world.make_plan(), remote)
    job = world.create(remote)
    for call, *arguments in (
        (world.platform.get_job, job.id),
        (world.platform.find_job, remote),
        (world.platform.list_checkpoints, job.id),
        (world.platform.check_file, "file-1"),
        (world.platform.check_plan, world.make_plan()),
        (world.platform.estimate_price, request),
    ):
        world.fail_next(status=200, body=body, times=9)
        with refused("unreachable", "not from the API of Together"):
            call(*arguments)
        world.service.scenario.faults.clear()


@pytest.mark.parametrize("drop", ["before", "after", "half"])
@pytest.mark.parametrize(
    "call",
    [
        lambda world, job: world.platform.list_models(),
        lambda world, job: world.platform.check_plan(world.make_plan()),
        lambda world, job: world.platform.find_file("run-1-train.jsonl"),
        lambda world, job: world.platform.get_job(job),
        lambda world, job: world.platform.list_events(job, frozenset()),
        lambda world, job: world.platform.list_checkpoints(job) == [],
        lambda world, job: world.platform.get_endpoint(QWEN, world.make_plan()),
        lambda world, job: world.platform.list_billed() == [],
        lambda world, job: world.platform.cancel_job(job) is None,
    ],
)
def test_reading_survives_a_broken_connection(
    make_world: MakeWorld, call: Callable[[World, str], Any], drop: str
) -> None:
    world = make_world()
    job = world.create().id
    world.fail_next(drop=drop)
    assert call(world, job)


def test_a_key_is_needed() -> None:
    with refused("key", "TOGETHER_API_KEY"):
        TogetherPlatform({})


def test_a_wrong_key_is_named_but_not_shown(make_world: MakeWorld) -> None:
    world = make_world()
    platform = TogetherPlatform({**world.environment, "TOGETHER_API_KEY": "sk-wrong-key"})
    calls: list[Callable[[], object]] = [
        lambda: platform.check_plan(world.make_plan()),
        lambda: platform.upload(world.write(ROWS), "a.jsonl", lambda done, total: None),
        lambda: platform.get_job("ft-1"),
        platform.list_models,
        platform.list_billed,
    ]
    for call in calls:
        with refused("key", "TOGETHER_API_KEY", "https://api.together.ai/settings/api-keys"):
            call()


def test_an_echoed_key_is_removed(make_world: MakeWorld) -> None:
    world = make_world()
    body = {"error": {"message": f"Bad key {KEY}\x1b[2J and {WANDB_KEY}", "code": None}}
    world.fail_next(status=400, body=body)
    with refused("rejected", "[key]"):
        world.platform.get_job("ft-1")


def test_an_account_without_the_right(make_world: MakeWorld) -> None:
    world = make_world()
    remote = world.make_remote()
    world.service.scenario.forbidden = True
    with refused("permission", "does not have access to fine-tuning"):
        world.create(remote)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"detail": [{"loc": ["body"], "msg": "field required"}]}, "field required"),
        ({"message": "plain message"}, "plain message"),
        ({"error": "only text"}, "only text"),
        ("<html>", "HTTP 400"),
    ],
)
def test_errors_of_any_shape(make_world: MakeWorld, body: Any, text: str) -> None:
    world = make_world()
    world.fail_next(status=400, body=body)
    with refused("rejected", text):
        world.platform.get_job("ft-1")


def test_a_certificate_of_another_time_names_the_clock(
    make_world: MakeWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make_world()

    def fail(*_: object, **__: object) -> None:
        raise httpx.ConnectError("certificate verify failed: certificate is not yet valid")

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", fail)
    with refused("unreachable", "clock"):
        world.platform.get_job("ft-1")
