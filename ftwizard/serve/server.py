"""A server's process: it loads the model, says where it answers, and ends with its starter.

``transformers serve`` answers for a merged model, llama.cpp's server (xllamacpp) for a GGUF file.
A guard in front of both binds to loopback only, and answers to one model name, the id of the run.
"""

from __future__ import annotations

import asyncio
import hmac
import os
import secrets
import socket
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from ftwizard.errors import FtwizardError, MissingExtra
from ftwizard.evaluate import chat, placement
from ftwizard.hardware import machine
from ftwizard.jobs.folder import JobResult
from ftwizard.jobs.worker import Worker, WorkResult
from ftwizard.plan import plan_file
from ftwizard.plan.schema import Plan
from ftwizard.runs.served_model import Engine, ServedModel
from ftwizard.serve.api_requests import REQUESTS, ApiError, read_request, to_prompt
from ftwizard.text import format_bytes, make_visible
from ftwizard.train import model_loading, runtime

HOST = "127.0.0.1"
MAX_CONTEXT = 8192
"""Context of a GGUF file's server in tokens, at most: memory for more is reserved at once."""
MAX_CACHE_MIB = 256
"""Of earlier prompts, in llama.cpp's server; its default is 8,192."""
LLAMA_BYTES = 400_000_000
"""Of llama.cpp and its buffers for a small model (measured: 0.3 GB)."""
PATHS = {
    "transformers": (*REQUESTS, "/v1/models", "/health"),
    "llama.cpp": (*REQUESTS, "/v1/models", "/health", "/apply-template", "/tokenize"),
}
"""What a server answers. Others of transformers load further models, and unload this one."""
POLL_S = 0.1
GRACE_S = 3
"""Time for answers to end when the server does."""
_Receive = Callable[[], Awaitable[Any]]
_Send = Callable[[Any], Awaitable[None]]


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The inputs of a server's job."""

    run: str
    weights: str
    """Folder of the merged model, or GGUF file."""
    port: int
    """0 for any free port."""
    key_file: str | None = None


def run(worker: Worker) -> WorkResult:
    """Serve until a stop is requested, or the starter ends."""
    _exit_with_starter()
    settings = msgspec.convert(worker.record.inputs, ServerSettings)
    plan = plan_file.load(worker.folder.plan, begun=True)
    worker.phase("loading", what="the model")
    listener = bind(settings.port)
    serve = _serve_gguf if settings.weights.endswith(".gguf") else _serve_merged
    serve(worker, plan, settings, listener)
    return WorkResult(JobResult(end_reason="stopped", attempt=worker.attempt))


def bind(port: int) -> socket.socket:
    """Return a socket on loopback; raise FtwizardError if the port is taken. 0: any free port."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((HOST, port))
    except OSError as error:
        listener.close()
        raise FtwizardError(
            f"Port {port} cannot be used: {error.strerror}.",
            "Choose another with --port N, or leave it out for any free port.",
        ) from None
    return listener


def _exit_with_starter() -> None:
    """Exit once the command that started this process ends, which closes standard input."""

    def watch() -> None:
        os.read(0, 1)  # without a lock of Python's, which would abort its own end
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="starter").start()


def _listen(
    worker: Worker, settings: ServerSettings, listener: socket.socket, server: Any,
    engine: Engine, device: str,
) -> None:  # fmt: skip
    """Answer requests by uvicorn's server, behind the guard, until a stop is requested."""
    config = server.config
    config.app = Guard(config.app, engine, settings.run, _read_key(settings))
    config.lifespan, config.timeout_graceful_shutdown = "off", GRACE_S
    served = ServedModel(
        run=settings.run,
        model=settings.run,
        url=f"http://{HOST}:{listener.getsockname()[1]}/v1",
        engine=engine,
        weights=settings.weights,
        device=device,
        key_file=settings.key_file,
    )

    def watch() -> None:
        while not server.started:
            time.sleep(POLL_S)
        worker.events.write("ready", **msgspec.to_builtins(served))
        while not worker.stop_asked():
            time.sleep(POLL_S)
        server.should_exit = True

    threading.Thread(target=watch, daemon=True).start()
    asyncio.run(server.serve(sockets=[listener]))


def _read_key(settings: ServerSettings) -> str | None:
    return Path(settings.key_file).read_text().strip() if settings.key_file else None


# ------------------------------------------------------------------------ transformers


def _serve_merged(
    worker: Worker, plan: Plan, settings: ServerSettings, listener: socket.socket
) -> None:
    """Serve a merged model with the server of transformers."""
    runtime.silence_libraries()
    weights = Path(settings.weights)
    config = model_loading.read_config(weights)
    precision = runtime.choose_precision(plan.recipe, config)
    if config.get("dtype") == "float32":  # as its merge was asked for
        precision = "fp32"
    device = placement.choose_device(weights, None, precision)
    if device is None:
        raise placement.make_memory_error(weights, precision)
    shown = chat.name_device(device)
    chat.silence_progress()
    try:
        import uvicorn
        from transformers.cli.serve import Serve
        from transformers.cli.serving.chat_completion import ChatCompletionHandler
    except ImportError as error:
        raise MissingExtra("local", "transformers[serving]") from error

    def listen(server: uvicorn.Server, sockets: None) -> None:
        _listen(worker, settings, listener, server, "transformers", shown)

    own_server: Any = uvicorn.Server
    own_server.run = listen  # behind the guard, and on this socket
    # Its own would drop the text next to a tool call, and put spaces between parts.
    handler: Any = ChatCompletionHandler
    handler.get_processor_inputs_from_messages = lambda _, messages, modality: to_prompt(messages)
    # It answers to the name that it loaded the model by: here a link, in a folder of its own.
    names = worker.folder.path / "models"
    names.mkdir(mode=0o700)
    (names / settings.run).symlink_to(weights.absolute())
    os.chdir(names)
    dtype = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}[precision]
    Serve(settings.run, device=device, dtype=dtype, host=HOST)


# ------------------------------------------------------------------------ llama.cpp


def _serve_gguf(
    worker: Worker, plan: Plan, settings: ServerSettings, listener: socket.socket
) -> None:
    """Serve a GGUF file with llama.cpp's server."""
    file = Path(settings.weights)
    needed = file.stat().st_size + LLAMA_BYTES
    if (available := machine.get_free_memory()) < needed:
        raise FtwizardError(
            f"The model needs about {format_bytes(needed)} of memory, and "
            f"{format_bytes(available)} are free.",
            "Close other programs, then try again.",
        )
    try:
        import uvicorn
        import xllamacpp
    except ImportError as error:
        raise MissingExtra("export", "xllamacpp") from error
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.model_alias = {settings.run}
    parameters.hostnames = [HOST]
    parameters.port = 0
    parameters.n_ctx = MAX_CONTEXT
    parameters.n_parallel = 1
    parameters.cache_ram_mib = MAX_CACHE_MIB
    parameters.ui = False
    parameters.api_keys = [key := secrets.token_urlsafe()]
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        raise FtwizardError(
            f"llama.cpp could not serve {make_visible(str(file))}: {make_visible(str(error), 200)}",
            f"Its log: {worker.folder.log}",
        ) from None
    relay = uvicorn.Server(uvicorn.Config(Relay(server.listening_address, key)))
    _listen(worker, settings, listener, relay, "llama.cpp", "CPU")
    del server


class Relay:
    """An ASGI application that passes requests on to the server of llama.cpp."""

    def __init__(self, address: str, key: str) -> None:
        from openai import DefaultAsyncHttpxClient

        headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/json"}
        self._client = DefaultAsyncHttpxClient(base_url=address, headers=headers, timeout=None)

    async def __call__(self, scope: dict[str, Any], receive: _Receive, send: _Send) -> None:
        """Answer a request; a client that leaves ends what llama.cpp does for it."""
        from starlette.requests import Request
        from starlette.responses import StreamingResponse

        data = await Request(scope, receive).body()
        request = self._client.build_request(scope["method"], scope["path"], content=data)
        sending = asyncio.ensure_future(self._client.send(request, stream=True))
        leaving = asyncio.ensure_future(receive())
        await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        leaving.cancel()
        if not sending.done():
            sending.cancel()
            return
        reply = await sending
        try:
            kind = reply.headers.get("content-type")
            response = StreamingResponse(reply.aiter_bytes(), reply.status_code, media_type=kind)
            await response(scope, receive, send)
        finally:
            await reply.aclose()


# ------------------------------------------------------------------------ requests


class Guard:
    """An ASGI application that passes on what its engine honors, of clients with the right key.

    It answers all else, and every error, in the form of OpenAI's API.
    """

    def __init__(self, app: Any, engine: Engine, model: str, key: str | None) -> None:
        self._app, self._engine, self._model, self._key = app, engine, model, key

    async def __call__(self, scope: dict[str, Any], receive: _Receive, send: _Send) -> None:
        """Answer a request."""
        from starlette.requests import Request

        try:
            self._admit(scope)
            if scope["path"] in REQUESTS and scope["method"] == "POST":
                data = await Request(scope, receive).body()
                body = read_request(data, scope["path"], self._engine, self._model)
                scope = {**scope, "headers": [(b"content-type", b"application/json")]}
                receive = _replay(msgspec.json.encode(body), receive)
        except ApiError as error:
            await _send_error(error, send)
        else:
            await self._pass_on(scope, receive, send)

    def _admit(self, scope: dict[str, Any]) -> None:
        if scope["type"] != "http" or scope["path"] not in PATHS[self._engine]:
            raise ApiError("This server has no such path.", code="unknown_url", status=404)
        if self._key is None or scope["path"] == "/health":
            return
        sent = dict(scope["headers"]).get(b"authorization", b"")
        if not hmac.compare_digest(sent, f"Bearer {self._key}".encode()):
            raise ApiError("The API key is missing or wrong.", code="invalid_api_key", status=401)

    async def _pass_on(self, scope: dict[str, Any], receive: _Receive, send: _Send) -> None:
        status, text = 0, b""

        async def check(message: dict[str, Any]) -> None:
            nonlocal status, text
            status = status or message["status"]
            if status < 400:
                await send(message)
                return
            text += message.get("body", b"")
            if message["type"] == "http.response.body" and not message.get("more_body"):
                await _send_error(ApiError(_read_error(text), status=status), send)

        try:
            await self._app(scope, receive, check)
        except Exception:
            if not status:
                await _send_error(ApiError("The server failed; see its log.", status=500), send)
            raise


def _replay(data: bytes, receive: _Receive) -> _Receive:
    """Return what receives a body that was read, and then whatever ``receive`` does."""
    messages = [{"type": "http.request", "body": data, "more_body": False}]

    async def receive_again() -> Any:
        return messages.pop() if messages else await receive()

    return receive_again


def _read_error(body: bytes) -> str:
    """Return the message of an engine's error."""
    try:
        error = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return make_visible(body.decode(errors="replace"), 300)
    if isinstance(error, dict):
        error = error.get("error", error.get("detail"))
    if isinstance(error, dict):
        error = error.get("message")
    return make_visible(str(error), 300)


async def _send_error(error: ApiError, send: _Send) -> None:
    body = msgspec.json.encode(error.body)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
