"""OpenAI's scripted service on loopback, and the platform that speaks to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ftwizard.providers.openai.platform import OpenAIPlatform
from tests.providers.openai.script import connect
from tests.providers.scripted_service import ScriptedService, run_script


@pytest.fixture(scope="module")
def running_service() -> Iterator[ScriptedService]:
    with run_script() as running:
        yield running


@pytest.fixture
def service(running_service: ScriptedService) -> ScriptedService:
    running_service.reset()
    return running_service


@pytest.fixture
def platform(service: ScriptedService) -> OpenAIPlatform:
    return connect(service)
