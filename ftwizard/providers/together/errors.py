"""Errors of Together's SDK in the kinds of the protocol: cause, next step, and no key in them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import httpx
from together import APIConnectionError, APIError, APIStatusError, APITimeoutError, TogetherError

from ftwizard.hosted_platforms import PLATFORMS
from ftwizard.providers.base import ErrorKind, ProviderError
from ftwizard.providers.fields import read_retry_after
from ftwizard.text import make_visible

KEYS_PAGE = PLATFORMS["together"].key_page
BILLING_PAGE = "https://api.together.ai/settings/billing"
_MAX_MESSAGE = 300
_RETRY_HINT = "This usually passes. Try again in a few minutes."
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
"""Errors of a request that did not leave this machine."""
_NO_CREDIT = {
    "insufficient_balance",
    "insufficient_funds",
    "insufficient_quota",
    "credit_limit_exceeded",
}
"""Codes of an account without money."""


class _Meaning(NamedTuple):
    kind: ErrorKind
    cause: str
    hint: str


_BY_STATUS = {
    401: _Meaning(
        "key", "Together does not accept the key in TOGETHER_API_KEY",
        f"Copy it again from {KEYS_PAGE}, and set it: export TOGETHER_API_KEY=...",
    ),
    402: _Meaning(
        "quota", "The Together account has not enough credit for this", f"Add credit at {BILLING_PAGE}."
    ),
    403: _Meaning(
        "permission", "Together does not allow this with the key in TOGETHER_API_KEY",
        f"Check the project and the rights of the key at {KEYS_PAGE}.",
    ),
    404: _Meaning(
        "missing", "Together did not find it",
        "Check the name or id, and that TOGETHER_API_KEY belongs to the project that has it.",
    ),
    408: _Meaning("unreachable", "Together took too long to answer", _RETRY_HINT),
    410: _Meaning("closed", "Together does not offer this any more", "See https://docs.together.ai."),
    501: _Meaning(
        "missing", "This service does not offer this part of Together's API",
        "Check that TOGETHER_BASE_URL is the address of Together's API.",
    ),
    429: _Meaning("unreachable", "Too many requests to Together", _RETRY_HINT),
}  # fmt: skip
_REJECTED = _Meaning(
    "rejected", "Together rejected the request", "Change the plan accordingly, and try again."
)
_BROKEN = _Meaning(
    "unreachable", "Together failed to answer",
    "This usually passes. Try again in a few minutes; see https://status.together.ai.",
)  # fmt: skip


def acts_never(_: APIError) -> bool:
    return False


def refuse_answer(problem: str, *, may_have_acted: bool = False) -> ProviderError:
    """Return the error for an answer that is not from Together's API, such as the page of a proxy."""
    return ProviderError(
        "unreachable", problem, "Check TOGETHER_BASE_URL, and any proxy in between.",
        code="bad_answer", may_have_acted=may_have_acted,
    )  # fmt: skip


@contextlib.contextmanager
def translate_errors(
    secrets: Sequence[str], *, acts: Callable[[APIError], bool] = acts_never
) -> Iterator[None]:
    """Turn each error of the SDK into a ProviderError, without ``secrets`` in it.

    ``acts`` returns whether the failed request creates something, which may then exist although no
    answer came.
    """
    try:
        yield
    except APIStatusError as error:
        raise _translate_status(error, secrets, acts=acts(error)) from None
    except APIConnectionError as error:
        raise _translate_connection(error, secrets, acts=acts(error)) from None
    except httpx.HTTPError as error:  # the SDK's uploads and downloads use httpx directly
        raise _translate_connection(error, secrets, acts=False) from None
    except APIError as error:
        raise ProviderError(
            "unreachable",
            f"Together sent an answer that could not be read: {_redact(error.message, secrets)}",
            _RETRY_HINT,
            code="bad_answer",
            may_have_acted=acts(error),
        ) from None
    # Not JSON, as the page of a proxy, or JSON of another form, where the SDK returns what it got.
    except (ValueError, AttributeError, TypeError, RecursionError):
        problem = "The answer is not from the API of Together."
        raise refuse_answer(problem, may_have_acted=acts is not acts_never) from None
    except TogetherError as error:
        raise ProviderError(
            "rejected", f"Together's SDK refuses this: {_redact(str(error), secrets)}",
            "Change the plan accordingly, and try again.",
        ) from None  # fmt: skip


def _translate_status(
    error: APIStatusError, secrets: Sequence[str], *, acts: bool
) -> ProviderError:
    status = error.status_code
    message, code = _read_body(error.response)
    meaning = _BY_STATUS.get(status, _BROKEN if status >= 500 else _REJECTED)
    if code in _NO_CREDIT:
        meaning = _BY_STATUS[402]
    reason = _redact(message, secrets).rstrip(". ")
    return ProviderError(
        meaning.kind,
        f"{meaning.cause} (HTTP {status}{': ' if reason else ''}{reason}).",
        meaning.hint,
        code=make_visible(code, 60) or f"http_{status}",
        may_have_acted=acts
        and status != 501
        and (status >= 500 or status in (408, 409) or status < 400),
        retry_after_s=read_retry_after(error.response.headers),
    )


def _translate_connection(
    error: APIConnectionError | httpx.HTTPError, secrets: Sequence[str], *, acts: bool
) -> ProviderError:
    cause = error.__cause__ if isinstance(error, APIConnectionError) else error
    host = urlsplit(str(error.request.url)).netloc.rpartition("@")[2] if _has_request(error) else ""
    address = make_visible(host, 80) or "Together"
    detail = _redact(str(cause or error), secrets)
    hint = "Check the network here and TOGETHER_BASE_URL, then try again."
    if "certificate" in detail.lower():
        message = f"The certificate of {address} could not be verified: {detail}."
        hint = "Check the clock of this machine, and any proxy in between."
    elif isinstance(error, APITimeoutError | httpx.TimeoutException):
        message = f"{address} did not answer in time."
    elif isinstance(cause, _NEVER_SENT):
        message = f"{address} could not be reached: {detail or 'no connection'}."
    else:
        message = f"The connection to {address} broke before the answer came."
    return ProviderError(
        "unreachable", message, hint, code="no_connection",
        may_have_acted=acts and not isinstance(cause, _NEVER_SENT),
    )  # fmt: skip


def _has_request(error: APIConnectionError | httpx.HTTPError) -> bool:
    try:
        return error.request is not None
    except RuntimeError:  # an httpx error without a request
        return False


def _read_body(response: httpx.Response) -> tuple[str, str]:
    """Return message and code of an error, in any of the shapes that the service uses."""
    try:
        body: Any = json.loads(response.content or b"null")
    except (ValueError, RecursionError, httpx.HTTPError):
        return "", ""
    if not isinstance(body, dict):
        return "", ""
    error = body.get("error")
    fields: dict[str, Any] = error if isinstance(error, dict) else body
    message = fields.get("message") or fields.get("detail") or (error if error else "")
    if isinstance(message, list):
        message = "; ".join(
            str(item.get("msg") or item) if isinstance(item, dict) else str(item)
            for item in message[:5]
        )
    code = fields.get("code") or fields.get("type") or ""
    return str(message or ""), str(code)


def _redact(text: str, secrets: Sequence[str]) -> str:
    for secret in secrets:
        if secret:
            text = text.replace(secret, "[key]")
    return make_visible(text.strip(), _MAX_MESSAGE)
