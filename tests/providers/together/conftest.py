"""Doubles of Together, and retries without a pause."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import together._base_client

from tests.doubles.together_service import Scenario, serve_together
from tests.providers.together.world import MakeWorld, World


@pytest.fixture(autouse=True)
def _quick_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the SDK and the platform repeat requests without a pause."""
    monkeypatch.setattr(together._base_client, "INITIAL_RETRY_DELAY", 0.001)
    monkeypatch.setattr(together._base_client, "MAX_RETRY_DELAY", 0.001)
    monkeypatch.setattr("ftwizard.providers.together.client.FIRST_WAIT_S", 0.001)
    monkeypatch.setattr("ftwizard.providers.together.endpoints.STOP_POLL_S", 0.001)


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[MakeWorld]:
    from contextlib import ExitStack

    with ExitStack() as stack:

        def make(**scenario: Any) -> World:
            service = stack.enter_context(serve_together(Scenario(**scenario)))
            return World(service, tmp_path)

        yield make
