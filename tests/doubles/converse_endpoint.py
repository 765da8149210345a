"""Bedrock's Converse on loopback, which boto3 is directed to by ``AWS_ENDPOINT_URL_BEDROCK_RUNTIME``."""

from __future__ import annotations

import json
import struct
import threading
import time
import urllib.parse
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from tests.doubles.http_server import SilentHandler, serve

THROTTLED = "Too many requests, please wait before trying again."


class ConverseReply:
    """An answer of a model, or an error."""

    def __init__(
        self,
        text: str = "",
        *,
        content: list[dict[str, Any]] | None = None,
        stop: str = "end_turn",
        status: int = 200,
        code: str = "",
        headers: dict[str, str] | None = None,
        ends_with: str = "",
        delay_s: float = 0.0,
    ) -> None:
        """``ends_with``: code of the error in which a stream ends."""
        self.content = [{"text": text}] if content is None else content
        self.text, self.stop, self.status, self.code = text, stop, status, code
        self.headers, self.ends_with, self.delay_s = headers or {}, ends_with, delay_s


def refuse(status: int, code: str, message: str = THROTTLED, **headers: str) -> ConverseReply:
    """Return an error as AWS words it."""
    return ConverseReply(message, status=status, code=code, headers=headers)


class ConverseEndpoint:
    """What the server was asked."""

    def __init__(self, reply: Callable[[dict[str, Any]], ConverseReply]) -> None:
        self.reply = reply
        self.requests: list[dict[str, Any]] = []
        """Bodies, each with its ``modelId`` and the ``authorization`` that was sent."""
        self.times: list[float] = []
        self.address = ""
        self.lock = threading.Lock()


@contextmanager
def serve_converse(
    reply: Callable[[dict[str, Any]], ConverseReply],
) -> Iterator[ConverseEndpoint]:
    """Serve until the block ends."""
    endpoint = ConverseEndpoint(reply)

    class Handler(SilentHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            _, _, model, action = self.path.split("/", 3)
            body["modelId"] = urllib.parse.unquote(model)
            body["authorization"] = self.headers.get("Authorization", "")
            with endpoint.lock:
                endpoint.requests.append(body)
                endpoint.times.append(time.monotonic())
            answer = endpoint.reply(body)
            time.sleep(answer.delay_s)
            with suppress(BrokenPipeError, ConnectionResetError):  # it did not wait
                self._send(answer, action)

        def _send(self, answer: ConverseReply, action: str) -> None:
            if answer.status != 200:
                headers = {"Content-Type": "application/json", "x-amzn-ErrorType": answer.code}
                data = json.dumps({"message": answer.text}).encode()
                return self.send(answer.status, data, {**headers, **answer.headers})
            if action == "converse":
                headers = {"Content-Type": "application/json"}
                return self.send(200, json.dumps(_to_document(answer)).encode(), headers)
            headers = {"Content-Type": "application/vnd.amazon.eventstream"}
            return self.send(200, b"".join(_list_frames(answer)), headers)

    with serve(Handler) as port:
        endpoint.address = f"http://127.0.0.1:{port}"
        yield endpoint


def _to_document(answer: ConverseReply) -> dict[str, Any]:
    return {
        "output": {"message": {"role": "assistant", "content": answer.content}},
        "stopReason": answer.stop,
        "usage": {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12},
        "metrics": {"latencyMs": 3},
    }


def _list_frames(answer: ConverseReply) -> Iterator[bytes]:
    """Yield the answer in words, as frames of AWS's event stream."""
    yield _to_frame("messageStart", {"role": "assistant"})
    words = [f"{word} " for word in answer.text.split(" ")]
    words[-1] = words[-1].removesuffix(" ")
    for word in words:
        yield _to_frame("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": word}})
    if answer.ends_with:
        yield _to_frame(answer.ends_with, {"message": THROTTLED}, is_error=True)
        return
    yield _to_frame("contentBlockStop", {"contentBlockIndex": 0})
    yield _to_frame("messageStop", {"stopReason": answer.stop})
    usage = {"inputTokens": 5, "outputTokens": 7, "totalTokens": 12}
    yield _to_frame("metadata", {"usage": usage, "metrics": {"latencyMs": 3}})


def _to_frame(kind: str, document: dict[str, Any], *, is_error: bool = False) -> bytes:
    """Return a message of ``application/vnd.amazon.eventstream``: lengths, headers, payload, sums."""
    names = (":message-type", ":exception-type") if is_error else (":message-type", ":event-type")
    values = ("exception" if is_error else "event", kind)
    pairs = [*zip(names, values, strict=True), (":content-type", "application/json")]
    headers = b"".join(_to_header(name, value) for name, value in pairs)
    payload = json.dumps(document).encode()
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    head = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + payload
    return head + struct.pack("!I", zlib.crc32(head))


def _to_header(name: str, value: str) -> bytes:
    data = value.encode()
    return struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(data)) + data
