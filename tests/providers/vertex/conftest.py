"""Doubles of Vertex AI, and retries without a pause."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.doubles.vertex_service import Scenario, serve
from tests.providers.vertex.world import MakeWorld, World


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the platform repeat requests without a pause."""
    monkeypatch.setattr("ftwizard.providers.vertex.client.FIRST_WAIT_S", 0.001)


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[MakeWorld]:
    with ExitStack() as stack:

        def make(**scenario: Any) -> World:
            return World(stack.enter_context(serve(Scenario(**scenario))), tmp_path)

        yield make


@pytest.fixture
def world(make_world: MakeWorld) -> World:
    return make_world()
