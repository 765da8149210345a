"""A server that answers, asked as a client of OpenAI's API does: texts, counts, tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from ftwizard.errors import FtwizardError, MissingExtra
from ftwizard.serve.probes import Probe
from ftwizard.text import make_visible

TIMEOUT_S = 300.0


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server to verify."""

    url: str
    """Base URL, with ``/v1``."""
    model: str
    key: str | None = None


class ServedAnswer(NamedTuple):
    """One answer."""

    text: str
    ended: bool
    """Whether ``finish_reason`` is ``stop``."""
    prompt_tokens: int | None
    tokens: int | None
    logprobs: list[tuple[str, float]]
    """Text and log-probability of each token; empty where the server gives none."""


class Refusal(Exception):
    """Raised where the server refuses a prompt; its text is the server's message."""


class Client:
    """Requests to one server, one at a time."""

    def __init__(self, server: Server) -> None:
        try:
            import openai
        except ImportError:
            raise MissingExtra("local", "openai") from None
        self._openai, self.server = openai, server
        self._client = openai.OpenAI(
            base_url=server.url, api_key=server.key or "none", timeout=TIMEOUT_S, max_retries=1
        )
        self._gives_logprobs = True

    def list_models(self) -> dict[str, str] | None:
        """Return the names of the models, with their owners; None if the server does not list them.

        Raises FtwizardError if there is no server, or if it refuses the key.
        """
        shown = make_visible(self.server.url, 100)
        try:
            models = self._client.models.list().data
            return {str(model.id): str(model.owned_by) for model in models}
        except self._openai.AuthenticationError:
            raise FtwizardError(
                f"The server at {shown} refuses the key.", "Pass the right one: --key-variable NAME"
            ) from None
        except self._openai.APIConnectionError:
            raise FtwizardError(
                f"No server answers at {shown}.", "Check the address, and that it is running."
            ) from None
        except (self._openai.OpenAIError, AttributeError, TypeError, ValueError):
            return None

    def serves_gguf(self) -> bool:
        """Return whether the server is llama.cpp's, or Ollama: both load GGUF files."""
        owners = (self.list_models() or {}).values()
        return bool({"llamacpp", "library"} & set(owners))

    def ask(
        self, messages: Sequence[dict[str, Any]], tools: Any, limit: int, seed: int = 0
    ) -> ServedAnswer:
        """Return the greedy answer to a prompt; raise Refusal, or FtwizardError without a server."""
        options: dict[str, Any] = {"tools": tools} if tools else {}
        if self._gives_logprobs:
            try:
                return self._ask(messages, limit, seed, logprobs=True, **options)
            except Refusal:
                self._gives_logprobs = False  # or the prompt is refused: then again below
        return self._ask(messages, limit, seed, **options)

    def _ask(
        self, messages: Sequence[dict[str, Any]], limit: int, seed: int, **options: Any
    ) -> ServedAnswer:
        request: Any = [
            {key: value for key, value in message.items() if key != "weight"}
            for message in messages
        ]
        try:
            reply = self._client.chat.completions.create(
                model=self.server.model, messages=request, temperature=0, max_tokens=limit,
                seed=seed, **options,
            )  # fmt: skip
        except self._openai.APIConnectionError as error:
            shown = make_visible(self.server.url, 100)
            raise FtwizardError(
                f"The server at {shown} stopped answering.", make_visible(str(error), 200)
            ) from None
        except self._openai.APIStatusError as error:
            raise Refusal(make_visible(error.response.text or str(error), 300)) from None
        if not reply.choices:
            raise Refusal("it gave no answer")
        choice, usage = reply.choices[0], reply.usage
        steps = (choice.logprobs.content or []) if choice.logprobs else []
        return ServedAnswer(
            text=choice.message.content or "",
            ended=choice.finish_reason == "stop",
            prompt_tokens=usage.prompt_tokens if usage else None,
            tokens=usage.completion_tokens if usage else None,
            logprobs=[(step.token, step.logprob) for step in steps],
        )

    def tokenize(self, probe: Probe) -> list[int] | None:
        """Return the tokens of a prompt as the server renders it; None if it does not say.

        llama.cpp: ``/apply-template``, then ``/tokenize``. vLLM: ``/tokenize`` with messages.
        """
        rendered = self._post("/apply-template", {"messages": probe.messages})
        if rendered and isinstance(prompt := rendered.get("prompt"), str):
            body = {"content": prompt, "add_special": True, "parse_special": True}
            reply = self._post("/tokenize", body)
        else:
            body = {
                "model": self.server.model, "messages": probe.messages,
                "add_generation_prompt": True,
            }  # fmt: skip
            reply = self._post("/tokenize", body)
        tokens = reply.get("tokens") if reply else None
        if not isinstance(tokens, list) or not tokens:
            return None
        return [int(token) for token in tokens if isinstance(token, int)]

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        address = urlsplit(self.server.url)
        url = f"{address.scheme}://{address.netloc}{path}"
        try:
            reply = self._client.post(url, body=body, cast_to=object)
        except self._openai.OpenAIError:
            return None
        return reply if isinstance(reply, dict) else None
