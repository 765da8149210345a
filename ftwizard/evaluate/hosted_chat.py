"""Chat with the tuned model of a hosted run and its base, at the platform."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

from ftwizard import kept_keys
from ftwizard.errors import FtwizardError, MissingExtra
from ftwizard.evaluate.chat import EMIT_EVERY_S, read_system_prompt
from ftwizard.evaluate.endpoint import (
    ModelOptions,
    describe_error,
    is_sdk_address,
    list_sent,
    normalize_address,
)
from ftwizard.jobs.folder import JobFolder
from ftwizard.plan import plan_file
from ftwizard.providers.base import Endpoint
from ftwizard.providers.endpoints import Endpoints, find_endpoints
from ftwizard.runs import hosted
from ftwizard.runs.chat_protocol import AnswerRequest, ChatAnswer, EndReason, ReadyEvent, Side
from ftwizard.runs.remote import RemoteJob
from ftwizard.text import make_visible
from ftwizard.train.generate import without_thinking

TIMEOUT_S = 120.0
"""Longest wait for the next part of an answer."""


class HostedModels:
    """Tuned and base model of a run behind endpoints, with the methods of ``ChatModels``."""

    def __init__(self, endpoints: Endpoints, platform: str, ready: ReadyEvent) -> None:
        try:
            import openai
        except ImportError:
            raise MissingExtra("openai", "openai") from None
        self.ready = ready
        self._openai, self._platform = openai, platform
        self._endpoints: dict[Side, Endpoint | None] = {
            "tuned": endpoints.tuned, "base": endpoints.base,
        }  # fmt: skip
        self._sdk_clients: dict[str, Any] = {}
        """By address: each finds its credentials once."""
        self._options: dict[Side, ModelOptions] = {"tuned": ModelOptions(), "base": ModelOptions()}

    def answer(
        self,
        request: AnswerRequest,
        on_text: Callable[[str], None] = lambda text: None,
        is_stopped: Callable[[], bool] = lambda: False,
    ) -> ChatAnswer:
        """Answer a request; ``on_text`` is called with the answer so far, a few times per second.

        Raises FtwizardError if the platform does not answer it.
        """
        endpoint = self._endpoints[request.side]
        if endpoint is None or (request.side == "base" and not self.ready.has_base):
            raise FtwizardError("The base model is not asked.", "Start the chat with --base.")
        start = time.monotonic()
        try:
            text, reason, tokens = self._stream(endpoint, request, on_text, is_stopped)
        except self._openai.OpenAIError as error:
            raise self._explain(endpoint, error) from None
        seconds = round(time.monotonic() - start, 2)
        return ChatAnswer(text=text, reason=reason, tokens=tokens, seconds=seconds)

    def _stream(
        self,
        endpoint: Endpoint,
        request: AnswerRequest,
        on_text: Callable[[str], None],
        is_stopped: Callable[[], bool],
    ) -> tuple[str, EndReason, int]:
        """Return text, reason of its end and tokens of an answer."""
        parts: list[str] = []
        reason: EndReason = "end"
        tokens, last = 0, time.monotonic()
        with self._open(endpoint, request) as stream:
            for chunk in self._read(endpoint, stream):
                if usage := getattr(chunk, "usage", None):
                    tokens = int(usage.completion_tokens or 0)
                if is_stopped():
                    reason = "stopped"
                    break
                for choice in chunk.choices or ():
                    parts.append(choice.delta.content or "" if choice.delta else "")
                    reason = "limit" if choice.finish_reason == "length" else reason
                if (now := time.monotonic()) - last >= EMIT_EVERY_S:
                    last = now
                    on_text(without_thinking("".join(parts)))
        return without_thinking("".join(parts)), reason, tokens or sum(map(bool, parts))

    def _read(self, endpoint: Endpoint, stream: Any) -> Iterator[Any]:
        """Yield the parts of an answer; raise FtwizardError if the connection is lost."""
        try:
            yield from stream
        except Exception as error:  # noqa: BLE001 (the transport of the SDK has errors of its own)
            raise self._explain(endpoint, error) from None

    def _open(self, endpoint: Endpoint, request: AnswerRequest) -> Any:
        """Return the stream of an answer; options that the model does not take are replaced."""
        client = self._connect(endpoint)
        while True:
            options = self._build(endpoint, request)
            try:
                return client.chat.completions.create(**options)
            except self._openai.BadRequestError as error:
                if not self._options[request.side].adapt(error, options):
                    raise

    def _connect(self, endpoint: Endpoint) -> Any:
        if is_sdk_address(endpoint.address):
            return self._connect_sdk(endpoint.address)
        key = kept_keys.get_value(endpoint.key_variable)
        if not key:
            raise FtwizardError(
                f"{endpoint.key_variable} is not set, so {self._platform} cannot be asked.",
                f"Set it in the environment: export {endpoint.key_variable}=...",
            )
        address = normalize_address(endpoint.address)
        return self._openai.OpenAI(base_url=address, api_key=key, timeout=TIMEOUT_S)

    def _connect_sdk(self, address: str) -> Any:
        """Return the client that asks the SDK of a platform, which finds its own credentials."""
        import httpx2

        from ftwizard.evaluate.transports import services, transport

        if address not in self._sdk_clients:
            service = services.connect(address, TIMEOUT_S)
            client = httpx2.Client(transport=transport.SdkTransport(service))
            self._sdk_clients[address] = self._openai.OpenAI(
                base_url=address, api_key="none", timeout=TIMEOUT_S, http_client=client
            )
        return self._sdk_clients[address]

    def _build(self, endpoint: Endpoint, request: AnswerRequest) -> dict[str, Any]:
        options: dict[str, Any] = {
            "model": endpoint.served_name,
            "messages": list_sent(request.messages),
            "stream": True,
            "stream_options": {"include_usage": True},
            **self._options[request.side].build(request.max_new_tokens, request.temperature),
        }
        return options | ({"tools": request.tools} if request.tools else {})

    def _explain(self, endpoint: Endpoint, error: Any) -> FtwizardError:
        key = kept_keys.get_value(endpoint.key_variable) if endpoint.key_variable else ""
        reason = describe_error(error).replace(key, "…") if key else describe_error(error)
        model = make_visible(endpoint.served_name, hosted.MAX_ID)
        hint = "Ask again; the platform may have been busy."
        if isinstance(error, self._openai.RateLimitError) and is_sdk_address(endpoint.address):
            hint = "It answers only a few requests a minute: ask again in a minute."
        elif isinstance(error, self._openai.AuthenticationError):
            hint = "Log in again, then ask again."
            if endpoint.key_variable:
                hint = f"Set {endpoint.key_variable} to a valid key."
        elif (
            isinstance(error, self._openai.NotFoundError)
            or getattr(error, "code", None) == "model_not_available"  # Together's
        ):
            hint = "Check that the model is still there, and deployed."
        return FtwizardError(f"{self._platform} did not answer as {model}: {reason}.", hint)


def load(
    folder: JobFolder, *, base: bool, say: Callable[[str], None], checkpoint: int | None = None
) -> HostedModels:
    """Return the models of a hosted run, which only have to be located.

    ``checkpoint``: step of the checkpoint to ask instead of the result. Raises FtwizardError if there
    is no such model, if it is not deployed, or without the key.
    """
    record = hosted.read_served(folder)
    assert record is not None
    platform = hosted.name_platform(record.provider)
    say(f"models at {platform}")
    endpoints = find_endpoints(folder, record, plan_file.read_run(folder), checkpoint=checkpoint)
    notes = []
    if base and endpoints.base is None:
        notes.append(f"The base model is not deployed at {platform}: only the tuned model answers.")
    ready = ReadyEvent(
        run=folder.id,
        base_name=make_visible(record.model, hosted.MAX_ID),
        step=_find_step(record) if checkpoint is None else checkpoint,
        device=platform,
        has_base=base and endpoints.base is not None,
        has_template=True,
        system=read_system_prompt(folder),
        notes=notes,
    )
    return HostedModels(endpoints, platform, ready)


def _find_step(record: RemoteJob) -> int:
    with contextlib.suppress(ValueError):
        return max(c.step for c in record.checkpoints if c.model == record.tuned_model)
    return 0
