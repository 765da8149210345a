"""The HTTP transport under the openai package that asks a platform by its own SDK.

A request for a chat completion becomes a call of the SDK, its answer a chat completion, and its error
a status of HTTP. So all that asks a model is written once, for chat completions.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import httpx2

Body = Mapping[str, Any]
"""The body of a request for a chat completion."""


class SdkRefusal(Exception):
    """Raised where a platform refuses a request; it becomes a status of HTTP."""

    def __init__(
        self, status: int, message: str, code: str = "", retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.retry_after_s = retry_after_s


class ChatService(Protocol):
    """The models of a platform, asked by its SDK. Its methods block, and are called in threads."""

    def answer(self, body: Body) -> dict[str, Any]:
        """Return the chat completion of a request."""
        ...

    def stream(self, body: Body) -> Iterator[dict[str, Any]]:
        """Yield the chunks of the chat completion of a request."""
        ...

    def explain(self, error: Exception) -> Exception:
        """Return the error of a call as a SdkRefusal, or as an error of httpx2 where no reply came."""
        ...


class SdkTransport(httpx2.BaseTransport):
    """Transport of a client that waits for its answers."""

    def __init__(self, service: ChatService) -> None:
        self._service = service

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the platform's answer; raise an error of httpx2 where no reply came."""
        if not request.url.path.endswith("/chat/completions"):
            return _to_response(SdkRefusal(404, "The SDK of the platform has no such route."))
        body = json.loads(request.read())
        try:
            if body.get("stream"):
                return self._begin(body)
            return httpx2.Response(200, json=self._service.answer(body))
        except Exception as error:  # noqa: BLE001 (each SDK has its own)
            return self._refuse(error)

    def _begin(self, body: Body) -> httpx2.Response:
        """Return a response whose body is read while the model answers.

        The first chunk is awaited, so that a refusal is a status.
        """
        chunks = self._service.stream(body)
        first = next(chunks, None)
        events = _Events(chunks, first, self._service.explain)
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=events)

    def _refuse(self, error: Exception) -> httpx2.Response:
        reason = error if isinstance(error, SdkRefusal) else self._service.explain(error)
        if isinstance(reason, SdkRefusal):
            return _to_response(reason)
        raise reason from error


class AsyncSdkTransport(httpx2.AsyncBaseTransport):
    """Transport of an asynchronous client: each call of the SDK has a thread."""

    def __init__(self, service: ChatService) -> None:
        self._transport = SdkTransport(service)

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the platform's answer; raise an error of httpx2 where no reply came."""
        await request.aread()
        return await _call_in_thread(lambda: self._transport.handle_request(request))


class _Events(httpx2.SyncByteStream):
    """Chunks of a completion as server-sent events; an error of the platform is one as well."""

    def __init__(
        self,
        chunks: Iterator[dict[str, Any]],
        first: dict[str, Any] | None,
        explain: Callable[[Exception], Exception],
    ) -> None:
        self._chunks, self._first, self._explain = chunks, first, explain

    def __iter__(self) -> Iterator[bytes]:
        try:
            if self._first is not None:
                yield _to_event(self._first)
            for chunk in self._chunks:
                yield _to_event(chunk)
        except Exception as error:
            reason = error if isinstance(error, SdkRefusal) else self._explain(error)
            if not isinstance(reason, SdkRefusal):
                raise reason from error
            yield _to_event(_to_document(reason))
        yield b"data: [DONE]\n\n"

    def close(self) -> None:
        """Stop reading: the platform ends its answer."""
        with contextlib.suppress(Exception):
            getattr(self._chunks, "close", lambda: None)()


def _to_response(refusal: SdkRefusal) -> httpx2.Response:
    headers = {}
    if refusal.retry_after_s is not None:
        headers["retry-after"] = f"{refusal.retry_after_s:g}"
    return httpx2.Response(refusal.status, headers=headers, json=_to_document(refusal))


def _to_document(refusal: SdkRefusal) -> dict[str, Any]:
    error = {"message": refusal.message, "type": "error", "param": None, "code": refusal.code}
    return {"error": error}


def _to_event(document: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


async def _call_in_thread(call: Callable[[], httpx2.Response]) -> httpx2.Response:
    """Return what a call returns in a thread of its own.

    Threads of a pool are awaited when the loop or the process ends. This one is left alone after a
    stop, however long the platform takes to answer.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[httpx2.Response] = loop.create_future()

    def deliver(response: httpx2.Response | None, error: Exception | None) -> None:
        if future.done():  # nobody waits any more
            return
        if error is not None:
            future.set_exception(error)
        elif response is not None:
            future.set_result(response)

    def work() -> None:
        response, failure = None, None
        try:
            response = call()
        except Exception as error:  # noqa: BLE001 (raised where the answer is awaited)
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(deliver, response, failure)

    threading.Thread(target=work, daemon=True, name="sdk-call").start()
    return await future
