"""Answers of a model behind an OpenAI-compatible endpoint: concurrent, patient, and never stuck.

Requests slow down where the endpoint limits them, and recover. What cannot be answered for its own
sake (too long, filtered) is unscored; an endpoint that answers nothing more ends the evaluation,
which continues later where it was. Models that are asked by an SDK of their platform are the same
here: a transport under the openai package translates.
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import json
import random
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from ftwizard import kept_keys
from ftwizard.errors import USAGE, FtwizardError, MissingExtra
from ftwizard.evaluate.answer_cache import make_key
from ftwizard.evaluate.arms import Arm
from ftwizard.evaluate.items import Item
from ftwizard.evaluate.prompts import build_messages
from ftwizard.evaluate.thinking import OPENING
from ftwizard.hosted_platforms import PLATFORMS
from ftwizard.runs.evaluation import ItemAnswer, ItemScore
from ftwizard.text import format_count, format_duration, make_visible
from ftwizard.train.generate import without_thinking

START_CONCURRENCY = 4
MAX_CONCURRENCY = 8
"""Requests at once. It halves at each refusal of the endpoint, and grows by one per round."""
TIMEOUT_S = 300.0
"""Time for one answer."""
CONNECT_S = 10.0
MAX_ATTEMPTS = 4
"""Requests for one item that fail for reasons that may pass."""
MAX_TIMEOUTS = 2
"""Requests for one item that get no reply in time."""
PROBE_S = 60.0
"""Time for a short prompt, which tells a prompt that takes too long from a dead endpoint."""
FIRST_WAIT_S = 0.5
MAX_WAIT_S = 8.0
"""Wait before a second attempt, doubled for each further one."""
MAX_PAUSE_S = 120.0
"""Longest pause that an endpoint may ask for."""
MIN_REJECTED = 3
"""Items rejected without an answer, after which the endpoint is at fault."""
MAX_REFUSALS = 12
"""Refusals for too many requests, without an answer in between."""
MAX_THROTTLED_S = 1800.0
"""Time without an answer after which a platform that allows few requests a minute counts as one that
allows none."""
FIRST_INTERVAL_S = 4.0
"""Time between two requests once such a platform refuses one."""
MAX_INTERVAL_S = 60.0
MIN_INTERVAL_S = 0.5
"""Shorter intervals are none."""
RATE_MARGIN = 1.05
"""Interval between requests, as a multiple of what the rate of a model allows."""
POLL_S = 0.25
"""Between two checks for a stop."""
MAX_LISTED = 8
KEPT = "The answers so far are kept: run the same command again to continue."
_OPENAI_HOST = "api.openai.com"
REASONING_TOKENS = 4096
"""Tokens besides the limit of an answer for a model that takes ``max_completion_tokens`` only: it
reasons before it answers, and these count as well."""
_FILTERED = ("content_filter", "content_policy_violation", "invalid_prompt")
"""Codes of Azure and OpenAI for a prompt that their filters refuse; another prompt is answered."""


_SDK_ADDRESS = re.compile(r"bedrock://[a-z0-9-]+|vertex://[A-Za-z0-9.:-]+/[a-z0-9-]+")
"""Addresses of models that are asked by an SDK: ``bedrock://REGION``, ``vertex://PROJECT/LOCATION``."""


class _Pace:
    """How many requests may be open, and when the next may begin."""

    def __init__(self, *, is_patient: bool = False, per_minute: float | None = None) -> None:
        """``is_patient``: refusals lengthen the interval between requests, and end nothing.

        ``per_minute``: requests that are allowed, if known.
        """
        self.limit = float(START_CONCURRENCY)
        self.paused_until = 0.0
        self.refusals = 0
        self.answers = 0
        self.rejected = 0
        """Items that the endpoint would not answer."""
        self.is_patient = is_patient or per_minute is not None
        self.least_interval_s = RATE_MARGIN * 60 / per_minute if per_minute else 0.0
        self.interval_s = self.least_interval_s
        self.next_start = 0.0
        self.last_answer = time.monotonic()

    def record_answer(self) -> None:
        self.answers += 1
        self.refusals = 0
        self.last_answer = time.monotonic()
        self.limit = min(MAX_CONCURRENCY, self.limit + 1 / self.limit)
        interval_s = self.interval_s * 0.95
        self.interval_s = max(
            self.least_interval_s, interval_s if interval_s >= MIN_INTERVAL_S else 0.0
        )

    def record_throttling(self, pause_s: float) -> None:
        """Slow down after a refusal for too many requests."""
        if self.is_patient and time.monotonic() >= self.paused_until:
            self.interval_s = min(MAX_INTERVAL_S, max(FIRST_INTERVAL_S, 1.5 * self.interval_s))
        self.record_refusal(pause_s)

    @property
    def is_over(self) -> bool:
        """Return whether the endpoint refused for so long that it allows nothing more."""
        if self.is_patient:
            return time.monotonic() - self.last_answer > MAX_THROTTLED_S
        return self.refusals > MAX_REFUSALS

    def reserve(self) -> float:
        """Return the seconds until a request may begin, and let the next one begin later."""
        if not self.interval_s:
            return 0.0
        now = time.monotonic()
        start = max(now, self.next_start, self.paused_until)
        self.next_start = start + self.interval_s
        return start - now

    def record_refusal(self, pause_s: float) -> None:
        """Slow down; refusals of requests that were open together count as one."""
        now = time.monotonic()
        if now >= self.paused_until:
            self.limit = max(1.0, self.limit / 2)
            self.refusals += 1
        self.paused_until = max(self.paused_until, now + pause_s)

    def may_begin(self, open_requests: int) -> bool:
        now = time.monotonic()
        return open_requests < int(self.limit) and now >= max(self.paused_until, self.next_start)


class ModelOptions:
    """Options of the requests to a model, without those that it does not take."""

    def __init__(self) -> None:
        self._limit_name, self._has_temperature = "max_tokens", True

    def build(self, limit: int | None, temperature: float = 0.0) -> dict[str, Any]:
        """Return the options; the limit of a reasoning model counts its thinking as well."""
        is_usual = self._limit_name == "max_tokens"
        options = {self._limit_name: limit if is_usual else (limit or 0) + REASONING_TOKENS}
        return options | ({"temperature": temperature} if self._has_temperature else {})

    def adapt(self, error: Any, options: Mapping[str, Any]) -> bool:
        """Change the options where a model names one of them that it does not take; return whether it did."""
        if error.param not in ("max_tokens", "temperature") or error.param not in options:
            return False
        if error.param == "max_tokens":
            self._limit_name = "max_completion_tokens"
        else:  # some models take their own default only
            self._has_temperature = False
        return True


def list_sent(messages: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return messages without the weights of training rows."""
    return [{key: value for key, value in m.items() if key != "weight"} for m in messages]


class EndpointAnswerer:
    """Answers of one arm by an OpenAI-compatible endpoint."""

    def __init__(self, arm: Arm, *, timeout_s: float = TIMEOUT_S) -> None:
        """Check the address and the key's variable; nothing is sent yet.

        Raises FtwizardError for an address or a variable that cannot be used, MissingExtra without
        the openai package.
        """
        try:
            import openai
        except ImportError:
            raise MissingExtra("openai", "openai") from None
        self._openai = openai
        self.arm, self._timeout_s = arm, timeout_s
        self.address = normalize_address(arm.model)
        self._is_sdk = is_sdk_address(self.address)
        self._key = None if self._is_sdk else _read_key(arm, self.address)
        self._model = arm.served_name or ""
        self._options = ModelOptions()
        self._pace = _Pace(is_patient=self._is_sdk, per_minute=arm.requests_per_minute)

    @property
    def requests_per_minute(self) -> float | None:
        """Return how many requests are sent a minute; None where they are not counted by the minute."""
        return 60 / self._pace.interval_s if self._pace.interval_s else None

    def key(self, item: Item) -> str:
        """Return a hash of address, model, prompt and limit; the weights behind are unknown."""
        messages = build_messages(self.arm, item)
        return make_key(self.address, self.arm.served_name, messages, item.tools, item.max_tokens)

    def answer(
        self,
        items: Sequence[Item],
        on_answer: Callable[[Item, ItemAnswer], None],
        on_work: Callable[[float], None] = lambda items: None,
        may_start: Callable[[], bool] | None = None,
    ) -> None:
        """Answer ``items``; see Answerer. Raises FtwizardError if the endpoint cannot be used."""
        asyncio.run(self._answer_all(items, on_answer, on_work, may_start))

    async def _answer_all(
        self,
        items: Sequence[Item],
        on_answer: Callable[[Item, ItemAnswer], None],
        on_work: Callable[[float], None],
        may_start: Callable[[], bool] | None,
    ) -> None:
        waiting, tasks = deque(items), dict[asyncio.Future[ItemAnswer], Item]()
        self._pace.last_answer = time.monotonic()
        async with self._connect() as client:
            try:
                await _poll(asyncio.ensure_future(self._choose_model(client)), on_work)
                while waiting or tasks:
                    if may_start and self._pace.answers and not may_start():
                        waiting.clear()
                    while waiting and self._pace.may_begin(len(tasks)):
                        item = waiting.popleft()
                        self._pace.reserve()
                        tasks[asyncio.ensure_future(self._ask(client, item))] = item
                    on_work(0.0)
                    if not tasks:
                        await asyncio.sleep(POLL_S)
                        continue
                    done, _ = await asyncio.wait(
                        tasks, timeout=POLL_S, return_when=asyncio.FIRST_COMPLETED
                    )
                    # Answers first, so that none is lost to another's error.
                    for task in sorted(done, key=lambda task: task.exception() is not None):
                        on_answer(tasks.pop(task), task.result())
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    def _connect(self) -> Any:
        return self._openai.AsyncOpenAI(
            base_url=self.address,
            # Never the variable OPENAI_API_KEY for another's endpoint.
            api_key=self._key or "none",
            timeout=self._timeout_s,
            max_retries=0,
            http_client=_make_sdk_client(self.address, self._timeout_s) if self._is_sdk else None,
        )

    async def _choose_model(self, client: Any) -> None:
        """Ask for the name of the model, if none is set."""
        if self._model:
            return
        names = await self._list_models(client)
        if names and len(names) > 1:
            raise FtwizardError(
                f"{self._shown} serves {format_count(len(names), 'model')}: {_list(names)}.",
                "Name the one to evaluate.",
                USAGE,
            )
        self._model = names[0] if names else "default"

    async def _list_models(self, client: Any) -> list[str] | None:
        """Return the names of the endpoint's models; None if it does not list them."""
        for attempt in range(1, MAX_ATTEMPTS + 1):
            try:
                async with asyncio.timeout(CONNECT_S):
                    page = await client.models.list()
                return [str(model.id) for model in page.data]
            except (self._openai.AuthenticationError, self._openai.PermissionDeniedError) as error:
                raise self._key_error(error) from None
            except (self._openai.APIConnectionError, TimeoutError) as error:
                if attempt == MAX_ATTEMPTS:
                    raise self._make_error("does not answer", error) from None
                await asyncio.sleep(_backoff(attempt))
            except (self._openai.OpenAIError, AttributeError, TypeError, ValueError):
                return None
        return None

    async def _ask(self, client: Any, item: Item) -> ItemAnswer:
        """Return the answer to an item, after further attempts if needed; unscored without one.

        Raises FtwizardError if the endpoint cannot be used.
        """
        attempt = 0
        while True:
            try:
                options = self._options.build(item.max_tokens)
                async with asyncio.timeout(self._timeout_s):
                    answer = await self._request(client, item, options)
                self._pace.record_answer()
                return answer
            except self._openai.RateLimitError as error:
                await self._wait_for_turn(error)
            except self._openai.BadRequestError as error:
                if error.code in _FILTERED:
                    return _unscored(
                        item,
                        f"its content filter refused it: {self._redact(describe_error(error))}",
                    )
                if not self._options.adapt(error, options):
                    self._pace.rejected += 1
                    if not self._pace.answers and self._pace.rejected >= MIN_REJECTED:
                        raise self._make_error("refuses every request", error) from None
                    return _unscored(item, self._redact(describe_error(error)))
            except (self._openai.APIError, TimeoutError, ValueError) as error:
                if not _may_pass(error):
                    raise await self._explain(client, error) from None
                attempt += 1
                if attempt >= (MAX_TIMEOUTS if _is_timeout(error) else MAX_ATTEMPTS):
                    if not await self._is_alive(client):
                        raise self._make_error("does not answer", error) from None
                    return _unscored(item, self._redact(describe_error(error)))
                self._pace.record_refusal(0.0)
                await asyncio.sleep(_backoff(attempt))
                await asyncio.sleep(self._pace.reserve())

    async def _is_alive(self, client: Any) -> bool:
        """Return whether the endpoint answers the shortest of prompts."""
        messages = [{"role": "user", "content": "Hi"}]
        probe = Item(id="", set="", messages=messages, scorer="answered", max_tokens=16)
        options = self._options.build(probe.max_tokens)
        try:
            async with asyncio.timeout(min(PROBE_S, self._timeout_s)):
                await self._request(client, probe, options)
        except self._openai.RateLimitError:
            return True
        except (self._openai.APIError, TimeoutError, ValueError):
            return False
        return True

    async def _request(self, client: Any, item: Item, options: dict[str, Any]) -> ItemAnswer:
        """Send one request; raise ValueError if what comes back is not a completion."""
        if item.tools:
            options["tools"] = item.tools
        messages = list_sent(build_messages(self.arm, item))
        reply = await client.chat.completions.create(
            model=self._model, messages=messages, **options
        )
        try:
            choice, usage = reply.choices[0], reply.usage
            text = choice.message.content
            calls = choice.message.tool_calls
            if calls and (text is None or item.scorer == "tool_call"):
                text = json.dumps([call.function.model_dump() for call in calls])
            thoughts = getattr(choice.message, "reasoning_content", None)
            if not text and choice.finish_reason == "length" and (thoughts or has_reasoned(usage)):
                text = f"{OPENING}{thoughts or ''}"
            if not isinstance(text or "", str):
                raise TypeError
            tokens = int(usage.completion_tokens) if usage else 0
        except (AttributeError, IndexError, TypeError, ValueError):
            raise ValueError("the reply is not a chat completion") from None
        if choice.finish_reason == "content_filter":
            return _unscored(item, "its content filter withheld the answer")
        return ItemAnswer(
            item=item.id,
            text=without_thinking(text or ""),
            ended=choice.finish_reason != "length",
            tokens=tokens,
        )

    async def _wait_for_turn(self, error: Any) -> None:
        """Slow down for a time; raise FtwizardError if it would be too long, or is of no use."""
        pause = _read_pause(error.response.headers)
        if error.code == "insufficient_quota":
            whose = "" if self._is_sdk else " for this key"
            raise self._make_error(f"has no quota left{whose}", error)
        if pause is not None and pause > MAX_PAUSE_S:
            raise FtwizardError(
                f"{self._shown} limits requests: it asks to wait {format_duration(pause)}.", KEPT
            )
        wait_s = pause if pause is not None else _backoff(self._pace.refusals + 1)
        self._pace.record_throttling(wait_s)
        if self._pace.is_over:
            raise self._make_error("refuses all further requests", error)
        await asyncio.sleep(max(0.0, self._pace.paused_until - time.monotonic()))
        # Not all at once.
        await asyncio.sleep(random.random() * FIRST_WAIT_S + self._pace.reserve())

    async def _explain(self, client: Any, error: Any) -> FtwizardError:
        """Return the error for a status that does not pass."""
        if isinstance(error, self._openai.AuthenticationError | self._openai.PermissionDeniedError):
            return self._key_error(error)
        if isinstance(error, self._openai.NotFoundError) and self._is_sdk:
            return FtwizardError(
                f"{self._shown} does not have {make_visible(self._model, 120)}: "
                f"{describe_error(error)}.",
                f"Check that it is still there, and deployed. {KEPT}",
            )
        if isinstance(error, self._openai.NotFoundError):
            if error.code == "DeploymentNotFound":  # Azure lists models there, not deployments
                return FtwizardError(
                    f"{self._shown} has no deployment {make_visible(self._model, 80)}.",
                    "Deploy the model, or wait a few minutes if it was just deployed.",
                )
            names = await self._list_models(client)
            if names and self._model not in names:
                return FtwizardError(
                    f"{self._shown} has no model {make_visible(self._model, 80)}; "
                    f"it has {_list(names)}.",
                    "Name one of these: --served-model NAME (of a judge: --judge-model NAME).",
                )
            return FtwizardError(
                f"There is no chat at {self._shown}/chat/completions.",
                "Check the address; it usually ends in /v1.",
            )
        return self._make_error("refuses the request", error)

    def _key_error(self, error: Any) -> FtwizardError:
        if self._is_sdk:
            reason = describe_error(error)
            if isinstance(error, self._openai.AuthenticationError) and "Log in again" not in reason:
                reason += f". Log in again: {_find_login(self.address)}"
            return FtwizardError(f"{self._shown} refuses to answer: {reason}.", KEPT)
        if self._key:
            name = self.arm.key_variable or "OPENAI_API_KEY"
            return FtwizardError(
                f"{self._shown} rejected the key in {name} (status {error.status_code}).",
                f"Set {name} to a valid key. {KEPT}",
            )
        return FtwizardError(
            f"{self._shown} needs a key (status {error.status_code}).",
            "Set it in an environment variable, and name that: --key-variable NAME (of a judge: "
            "--judge-key NAME).",
        )

    def _make_error(self, problem: str, error: Any) -> FtwizardError:
        count = format_count(self._pace.answers, "answer")
        reason = self._redact(describe_error(error))
        return FtwizardError(f"{self._shown} {problem}, after {count}: {reason}.", KEPT)

    @property
    def _shown(self) -> str:
        return make_visible(self.address, 120)

    def _redact(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key else text


def is_sdk_address(address: str) -> bool:
    """Return whether the models at an address are asked by an SDK of their platform."""
    return bool(_SDK_ADDRESS.fullmatch(address))


def _find_login(address: str) -> str:
    """Return the command that logs in at the platform of an SDK's address."""
    scheme = urlsplit(address).scheme
    return next(platform.login for name, platform in PLATFORMS.items() if name == scheme)


def _make_sdk_client(address: str, timeout_s: float) -> Any:
    """Return the HTTP client that asks an SDK instead."""
    import httpx2

    from ftwizard.evaluate.transports import services, transport

    service = services.connect(address, timeout_s)
    return httpx2.AsyncClient(transport=transport.AsyncSdkTransport(service))


def normalize_address(address: str) -> str:
    """Return the address that routes are appended to; raise FtwizardError if it is not a URL."""
    if is_sdk_address(address):
        return address
    parts = urlsplit(address.rstrip("/"))
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise FtwizardError(
            f"{make_visible(address, 100)} is not the address of an endpoint.",
            "Use one such as http://localhost:8000/v1",
            USAGE,
        )
    if parts.username or parts.password:
        raise FtwizardError(
            "The address of an endpoint must not contain a key or a password.",
            "Set the key in an environment variable, and name that variable.",
            USAGE,
        )
    path = parts.path.removesuffix("/chat/completions") or "/v1"
    return parts._replace(path=path, query="", fragment="").geturl()


def _read_key(arm: Arm, address: str) -> str | None:
    is_openai = urlsplit(address).hostname == _OPENAI_HOST
    name = arm.key_variable or ("OPENAI_API_KEY" if is_openai else None)
    key = kept_keys.get_value(name) if name else ""
    if name and not key:
        raise FtwizardError(
            f"The variable {make_visible(name, 60)} is not set.",
            "Set it to the key of the endpoint.",
            USAGE,
        )
    return key or None


def _may_pass(error: Exception) -> bool:
    """Return whether the same request may succeed later."""
    status = getattr(error, "status_code", None)
    return not isinstance(status, int) or status >= 500 or status in (200, 408, 409, 425)


def _is_timeout(error: Exception) -> bool:
    return isinstance(error, TimeoutError) or type(error).__name__ == "APITimeoutError"


def describe_error(error: Exception) -> str:
    """Return the reason in an error, in one line."""
    status = getattr(error, "status_code", None)
    if _is_timeout(error):
        return "no reply in time"
    if isinstance(error, json.JSONDecodeError):
        return "the reply is not JSON"
    body = getattr(error, "body", None)
    text = body.get("message") if isinstance(body, dict) else None
    cause = error.__cause__
    text = str(text or (cause if cause and str(cause) else error))
    line = make_visible(" ".join(text.split())[:200]).rstrip(".")
    return f"status {status}, {line}" if isinstance(status, int) else line


def _read_pause(headers: Any) -> float | None:
    """Return the seconds that an endpoint asks to wait, from its headers."""
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, float(headers.get("retry-after-ms")) / 1000)
    value = headers.get("retry-after")
    with contextlib.suppress(TypeError, ValueError):
        return max(0.0, float(value))
    with contextlib.suppress(TypeError, ValueError):
        moment = email.utils.parsedate_to_datetime(value)
        return max(0.0, moment.timestamp() - time.time())
    return None


def _backoff(attempt: int) -> float:
    wait = min(MAX_WAIT_S, FIRST_WAIT_S * 2.0 ** (attempt - 1))
    return wait * (0.75 + random.random() / 2)


async def _poll(task: asyncio.Future[None], on_work: Callable[[float], None]) -> None:
    """Wait for a task, with checks for a stop."""
    try:
        while not task.done():
            on_work(0.0)
            await asyncio.wait([task], timeout=POLL_S)
        task.result()
    finally:
        task.cancel()


def has_reasoned(usage: Any) -> bool:
    """Return whether tokens were spent on thoughts that the endpoint does not show."""
    details = getattr(usage, "completion_tokens_details", None)
    return bool(getattr(details, "reasoning_tokens", None))


def _unscored(item: Item, note: str) -> ItemAnswer:
    return ItemAnswer(item=item.id, text="", ended=False, score=ItemScore(note=note))


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(make_visible(name, 60) for name in names[:MAX_LISTED])
    return shown + (f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else "")
