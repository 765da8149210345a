"""OpenAI-compatible endpoint on loopback that limits, fails, hangs or answers as a test wants."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.doubles.http_server import SilentHandler, serve


class Reply:
    """A response: a completion's text, or a status with a body."""

    def __init__(
        self,
        text: str = "",
        *,
        status: int = 200,
        body: Any = None,
        headers: dict[str, str] | None = None,
        finish: str = "stop",
        delay_s: float = 0.0,
        closes: bool = False,
    ) -> None:
        self.text, self.status, self.body, self.finish = text, status, body, finish
        self.headers, self.delay_s, self.closes = headers or {}, delay_s, closes

    def encode(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        if self.body is not None:
            return json.dumps(self.body).encode()
        message = {"role": "assistant", "content": self.text}
        return json.dumps(
            {
                "id": "1",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": self.finish}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 7, "total_tokens": 8},
            }
        ).encode()

    def encode_stream(self) -> bytes:
        """Return the completion as server-sent events, a word each, then the usage."""
        shared = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        words = [f"{word} " for word in self.text.split(" ")]
        words[-1] = words[-1].removesuffix(" ")
        deltas = [({"role": "assistant", "content": word}, None) for word in words]
        chunks: list[dict[str, Any]] = [
            {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
            for delta, finish in [*deltas, ({}, self.finish)]
        ]
        usage = {"prompt_tokens": 1, "completion_tokens": 7, "total_tokens": 8}
        chunks.append({"choices": [], "usage": usage})
        lines = [f"data: {json.dumps(shared | chunk)}\n\n" for chunk in chunks]
        return "".join([*lines, "data: [DONE]\n\n"]).encode()


def error(status: int, message: str, **fields: Any) -> Reply:
    """Return an error as OpenAI's API words it."""
    headers = fields.pop("headers", None)
    body = {"error": {"message": message, "type": "error", "param": None, "code": None, **fields}}
    return Reply(status=status, body=body, headers=headers)


class ChatEndpoint:
    """What the server was asked, and how it replies: ``reply`` gets each request's body."""

    def __init__(
        self, reply: Callable[[dict[str, Any]], Reply], models: list[str] | None = None
    ) -> None:
        self.reply = reply
        self.models = models
        """None: it does not list its models."""
        self.requests: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.open_requests = 0
        self.most_open = 0
        self.address = ""
        self.lock = threading.Lock()


@contextmanager
def serve_chat(
    reply: Callable[[dict[str, Any]], Reply], models: list[str] | None = None
) -> Iterator[ChatEndpoint]:
    """Serve until the block ends."""
    endpoint = ChatEndpoint(reply, models)

    class Handler(SilentHandler):
        def answer(self) -> None:
            endpoint.keys.append(self.headers.get("Authorization"))
            if endpoint.models is None or not self.path.endswith("/v1/models"):
                return self._send(error(404, "Not Found"))
            data = [{"id": name, "object": "model"} for name in endpoint.models]
            self._send(Reply(body={"object": "list", "data": data}))

        def do_POST(self) -> None:
            size = int(self.headers["Content-Length"])
            body = json.loads(self.rfile.read(size))
            endpoint.keys.append(self.headers.get("Authorization"))
            if not self.path.endswith("/v1/chat/completions"):
                return self._send(error(404, "Not Found"))
            with endpoint.lock:
                endpoint.requests.append(body)
                endpoint.open_requests += 1
                endpoint.most_open = max(endpoint.most_open, endpoint.open_requests)
            try:
                reply = endpoint.reply(body)
                time.sleep(reply.delay_s)
            finally:
                with endpoint.lock:
                    endpoint.open_requests -= 1
            if reply.closes:
                self.close_connection = True
                return None
            if body.get("stream") and reply.status == 200 and reply.body is None:
                return self.send(200, reply.encode_stream(), {"Content-Type": "text/event-stream"})
            self._send(reply)

        def _send(self, reply: Reply) -> None:
            headers = {"Content-Type": "application/json", **reply.headers}
            with suppress(BrokenPipeError, ConnectionResetError):  # it did not wait
                self.send(reply.status, reply.encode(), headers)

    with serve(Handler) as port:
        endpoint.address = f"http://127.0.0.1:{port}/v1"
        yield endpoint
