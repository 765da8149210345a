"""An HTTP service on loopback that answers by a script and records every request."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from tests.doubles.http_server import SilentHandler, serve


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request that the service got."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A reply: a body of JSON or bytes, or none at all (``lost``)."""

    status: int = 200
    body: Any = {}
    headers: dict[str, str] = {}
    lost: bool = False


Script = Reply | dict[str, Any] | Callable[[Request], Any]


class ScriptedService:
    """Replies by method and path (``GET /models``); the last of several is repeated."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.address = ""
        self.clock_offset_s = 0.0
        self._scripts: dict[str, list[Script]] = {}

    def reset(self) -> None:
        """Forget all requests and replies."""
        self.requests.clear()
        self.clock_offset_s = 0.0
        self._scripts.clear()

    def on(self, route: str, *scripts: Script) -> None:
        """Answer a route with these replies, one after another."""
        self._scripts[route] = list(scripts)

    def count(self, route: str) -> int:
        """Return how many requests a route got."""
        return sum(f"{request.method} {request.path}" == route for request in self.requests)

    def answer(self, request: Request) -> Reply:
        """Record a request, and return its reply."""
        self.requests.append(request)
        scripts = self._scripts.get(f"{request.method} {request.path}")
        if not scripts:
            message = f"Unknown request URL: {request.method} {request.path}."
            return Reply(status=404, body={"error": {"message": message, "code": "unknown_url"}})
        script = scripts.pop(0) if len(scripts) > 1 else scripts[0]
        reply = script(request) if callable(script) else script
        return reply if isinstance(reply, Reply) else Reply(body=reply)


@contextmanager
def run_script(prefix: str = "/v1") -> Iterator[ScriptedService]:
    """Run a service below ``prefix`` until the block ends."""
    service = ScriptedService()

    class Handler(SilentHandler):
        def answer(self) -> None:
            parts = urlsplit(self.path)
            request = Request(
                method=self.command,
                path=parts.path.removeprefix(prefix),
                query=parse_qs(parts.query),
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.read_body(),
            )
            reply = service.answer(request)
            if reply.lost:
                self.close_connection = True
                return
            is_bytes = isinstance(reply.body, bytes)
            data = reply.body if is_bytes else json.dumps(reply.body).encode()
            kind = "application/octet-stream" if is_bytes else "application/json"
            self.send(reply.status, data, {"Content-Type": kind, **reply.headers})

        def date_time_string(self, timestamp: float | None = None) -> str:
            return email.utils.formatdate(time.time() + service.clock_offset_s, usegmt=True)

        def read_body(self) -> bytes:
            if "chunked" not in self.headers.get("Transfer-Encoding", ""):
                return self.rfile.read(int(self.headers.get("Content-Length", 0)))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        do_POST = do_DELETE = answer

    with serve(Handler) as port:
        service.address = f"http://127.0.0.1:{port}{prefix}"
        yield service
