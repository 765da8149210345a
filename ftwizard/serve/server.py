"""A server's process: it loads the model, says where it answers, and ends with its starter.

``transformers serve`` answers for a merged model, llama.cpp's server (xllamacpp) for a GGUF file.
Both bind to loopback only, and answer to one model name, the id of the run.
"""

from __future__ import annotations

import hmac
import os
import socket
import sys
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
from ftwizard.text import format_bytes, make_visible
from ftwizard.train import model_loading, runtime

HOST = "127.0.0.1"
MAX_CONTEXT = 8192
"""Context of a GGUF file's server in tokens, at most: memory for more is reserved at once."""
MAX_CACHE_MIB = 256
"""Of earlier prompts, in llama.cpp's server; its default is 8,192."""
LLAMA_BYTES = 400_000_000
"""Of llama.cpp and its buffers for a small model (measured: 0.3 GB)."""
PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses", "/v1/models", "/health")
"""What transformers' server answers. Its others load further models, and unload this one."""
POLL_S = 0.1


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
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="starter").start()


def _report_ready(
    worker: Worker, settings: ServerSettings, port: int, engine: Engine, device: str
) -> None:
    served = ServedModel(
        run=settings.run,
        model=settings.run,
        url=f"http://{HOST}:{port}/v1",
        engine=engine,
        weights=settings.weights,
        device=device,
        key_file=settings.key_file,
    )
    worker.events.write("ready", **msgspec.to_builtins(served))


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
        from transformers.cli.serve import Serve
    except ImportError as error:
        raise MissingExtra("local", "transformers[serving]") from error
    key, port = _read_key(settings), listener.getsockname()[1]

    class OwnServe(Serve):
        """The server of transformers, guarded, in this thread and on this socket."""

        def start_server(self) -> None:
            self.server.config.app = Guard(self.server.config.app, key)
            watch = threading.Thread(target=self._report, daemon=True)
            watch.start()
            self.server.run(sockets=[listener])

        def _report(self) -> None:
            while not self.server.started:
                time.sleep(POLL_S)
            _report_ready(worker, settings, port, "transformers", shown)

    # It answers to the name that it loaded the model by: here a link, in a folder of its own.
    names = worker.folder.path / "models"
    names.mkdir(mode=0o700)
    (names / settings.run).symlink_to(weights.absolute())
    os.chdir(names)
    dtype = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}[precision]
    OwnServe(settings.run, device=device, dtype=dtype, host=HOST, non_blocking=True)


class Guard:
    """An ASGI application that passes on requests with the right key, for the right paths."""

    def __init__(self, app: Any, key: str | None) -> None:
        self._app, self._key = app, key

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
    ) -> None:
        """Answer a request, or refuse it in the words of OpenAI's API."""
        if scope["type"] == "http" and (refusal := self._refuse(scope)):
            from starlette.responses import JSONResponse

            status, message = refusal
            error = {"message": message, "type": "invalid_request_error"}
            await JSONResponse({"error": error}, status)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _refuse(self, scope: dict[str, Any]) -> tuple[int, str] | None:
        if scope["path"] not in PATHS:
            return 404, "This server has no such path."
        if self._key is None or scope["path"] == "/health":
            return None
        sent = dict(scope["headers"]).get(b"authorization", b"")
        if hmac.compare_digest(sent, f"Bearer {self._key}".encode()):
            return None
        return 401, "The API key is missing or wrong."


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
        import xllamacpp
    except ImportError as error:
        raise MissingExtra("export", "xllamacpp") from error
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(file)
    parameters.model_alias = {settings.run}
    parameters.hostnames = [HOST]
    parameters.port = listener.getsockname()[1]
    parameters.n_ctx = MAX_CONTEXT
    parameters.n_parallel = 1
    parameters.cache_ram_mib = MAX_CACHE_MIB
    parameters.cors_origins = f"http://{HOST}"  # by default every page in a browser may ask
    parameters.ui = False
    if key := _read_key(settings):
        parameters.api_keys = [key]
    listener.close()  # it opens the port itself
    try:
        server = xllamacpp.Server(parameters)
    except RuntimeError as error:
        raise FtwizardError(
            f"llama.cpp could not serve {make_visible(str(file))}: {make_visible(str(error), 200)}",
            f"Its log: {worker.folder.log}",
        ) from None
    _report_ready(worker, settings, parameters.port, "llama.cpp", "CPU")
    while not worker.stop_asked():
        time.sleep(POLL_S)
    del server
