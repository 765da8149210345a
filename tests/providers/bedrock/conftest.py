"""AWS's double on loopback, and the platform that speaks to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from ftwizard.providers.bedrock import client
from ftwizard.providers.bedrock.platform import BedrockPlatform
from tests.doubles.aws import AwsScenario, RunningAws, serve_aws


class World(NamedTuple):
    """A running double, and a platform with its credentials."""

    service: RunningAws
    platform: BedrockPlatform

    def connect(self, **changes: str) -> BedrockPlatform:
        """Return a new platform, with other variables of the environment."""
        return BedrockPlatform(self.service.environment | changes)


Serve = Callable[..., World]


@pytest.fixture(autouse=True)
def no_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try each request once: what boto3 repeats is its own business, and slow."""
    monkeypatch.setattr(client, "MAX_ATTEMPTS", 1)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as stack:

        def start(**scenario: Any) -> World:
            service = stack.enter_context(serve_aws(AwsScenario(**scenario)))
            return World(service, BedrockPlatform(service.environment))

        yield start


@pytest.fixture
def world(serve: Serve) -> World:
    return serve()
