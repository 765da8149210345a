"""The guard of a server, and its port."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ftwizard.errors import FtwizardError
from ftwizard.serve import server


def ask(guard: server.Guard, path: str, key: str | None = None) -> int:
    """Return the status of a request."""
    headers = [(b"authorization", f"Bearer {key}".encode())] if key else []
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "path": path, "headers": headers}
    asyncio.run(guard(scope, receive, send))
    return int(sent[0]["status"])


async def application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200})


def guard(key: str | None) -> server.Guard:
    return server.Guard(application, "transformers", "run", key)


def test_only_requests_with_the_key_are_answered() -> None:
    guarded = guard("secret")
    assert ask(guarded, "/v1/models", "secret") == 200
    assert ask(guarded, "/v1/models", "secrets") == ask(guarded, "/v1/models") == 401
    assert ask(guarded, "/health") == 200
    assert ask(guard(None), "/v1/models") == 200


@pytest.mark.parametrize("path", ["/load_model", "/reset", "/v1/models/", "/v1/responses", "/docs"])
def test_paths_that_change_the_server_are_closed(path: str) -> None:
    assert ask(guard(None), path) == 404


def test_taken_port_is_a_sentence() -> None:
    with server.bind(0) as listener:
        listener.listen()
        host, port = listener.getsockname()
        assert host == "127.0.0.1"
        with pytest.raises(FtwizardError, match=f"Port {port} cannot be used: Address already"):
            server.bind(port)
