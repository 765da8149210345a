"""Errors of the openai SDK as ProviderError: the cause in a sentence, and the next step."""

from __future__ import annotations

import datetime
import re
from typing import Any
from urllib.parse import urlsplit

import openai

from ftwizard.catalog import hosted_models
from ftwizard.catalog.hosted_models import PLATFORM_NAMES, check_deprecation, list_hosted_models
from ftwizard.catalog.providers import catalog
from ftwizard.hosted_platforms import PLATFORMS, HostedProvider
from ftwizard.providers.base import ErrorKind, ProviderError
from ftwizard.providers.connection_errors import describe_certificate, iterate_causes
from ftwizard.providers.fields import read_retry_after
from ftwizard.text import make_visible

MAX_TEXT = 300
"""Characters of a platform's message that are shown."""
NOT_TRAINABLE = "training_not_available"
"""OpenAI's code where an account may create no jobs because the service closes."""
AGAIN = "Run the same command again: it looks the job up before it creates another."
_UNSENT = {
    "ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError", "UnsupportedProtocol",
    "LocalProtocolError", "UnicodeEncodeError",
}  # fmt: skip
"""Errors of the HTTP client before anything was sent."""
_KEY_LIKE = re.compile(r"\b(?:sk|sess|ek|rk)-[\w*.…-]{4,}")
_WORD = re.compile(r"[\w+/=*.~-]{8,}")
_QUOTA_CODES = {
    "insufficient_quota", "exceeded_quota", "quota_exceeded", "billing_hard_limit_reached",
    "billing_not_active", "account_deactivated",
}  # fmt: skip
_MODEL_CODES = {
    "model_not_found", "model_not_available", "invalid_model", "unsupported_model",
    "model_not_supported",
}  # fmt: skip
_NO_TUNING = re.compile(
    r"does not support fine-?tuning|not (?:available|supported) for fine-?tun", re.IGNORECASE
)
_NO_RIGHT = re.compile(r"missing scopes|insufficient permissions", re.IGNORECASE)
_TOO_MANY_JOBS = re.compile(
    r"\b(?:active|concurrent|running|queued)\b.*\bjobs?\b|\bjobs? limit\b", re.IGNORECASE
)


class Account:
    """Who is asked, and the secrets that no message may have."""

    def __init__(self, provider: HostedProvider, address: str, key: str) -> None:
        self.provider, self.access = provider, PLATFORMS[provider]
        self.name = self.access.name
        self.host = make_visible(urlsplit(address).hostname or address, 100)
        self._key = key

    def __repr__(self) -> str:
        return f"Account({self.provider!r})"

    def redact(self, text: str) -> str:
        """Return text of the platform on one line, without the key or parts of it."""
        text = text.replace(self._key, "[key]") if self._key else text
        text = _KEY_LIKE.sub("[key]", text)
        text = _WORD.sub(lambda match: "[key]" if self._is_secret(match[0]) else match[0], text)
        return make_visible(" ".join(text.split()), MAX_TEXT)

    def _is_secret(self, word: str) -> bool:
        """Return whether a word is a part of the key, or a key whose middle is masked."""
        return word in self._key or ("***" in word and self._key[-4:] in word)


def translate(
    error: BaseException, account: Account, action: str, *, creates: bool = False, model: str = ""
) -> ProviderError:
    """Return the ProviderError for an error of the SDK.

    ``action`` is what was asked for: ``create the job``. ``creates``: it makes something new.
    """
    if isinstance(error, openai.APIStatusError):
        return _translate_status(error, account, action, creates, model)
    if isinstance(error, openai.APIConnectionError):
        return _translate_connection(error, account, action, creates)
    return unreadable(account, action, creates=creates)


def unreadable(account: Account, action: str, *, creates: bool = False) -> ProviderError:
    """Return the error for an answer that is not the API's, such as the page of a proxy."""
    return ProviderError(
        "unreachable",
        f"{account.host} answered a request to {action}, but not as the API of {account.name} does.",
        AGAIN if creates else f"Check {account.access.address_variable}, and any proxy in between.",
        code="not_json",
        may_have_acted=creates,
    )


def _translate_status(
    error: openai.APIStatusError, account: Account, action: str, creates: bool, model: str
) -> ProviderError:
    status, code = error.status_code, _read_code(error)
    text = account.redact(_read_message(error))
    kind = _classify(status, code, text)
    message, hint = _describe(kind, status, code, text, account, action, model)
    lost = creates and kind == "unreachable" and (status >= 500 or status == 408)
    if param := account.redact(error.param or ""):
        message = f"{message} (parameter: {param})" if kind == "rejected" else message
    translated = ProviderError(
        kind,
        f"{message.rstrip('. ')}.",
        AGAIN if lost else hint,
        code=account.redact(code or str(status))[:60],
        may_have_acted=lost,
        retry_after_s=read_retry_after(error.response.headers),
    )
    if kind == "closed":
        translated.candidates = tuple(
            name for name, _ in find_alternatives(model, account.provider)
        )
    return translated


def _classify(status: int, code: str, text: str) -> ErrorKind:
    if code == NOT_TRAINABLE:
        return "closed"
    if code in _QUOTA_CODES:
        return "quota"
    if code in _MODEL_CODES or _NO_TUNING.search(text):
        return "missing"
    if status == 501:  # a service without this part of the API
        return "missing"
    if status == 401:
        return "permission" if _NO_RIGHT.search(text) else "key"
    if status == 429:
        return "quota" if _TOO_MANY_JOBS.search(text) else "unreachable"
    if status >= 500 or status in (408, 409, 425):
        return "unreachable"
    return {402: "quota", 403: "permission", 404: "missing", 410: "missing"}.get(status, "rejected")  # type: ignore[return-value]


def _describe(
    kind: ErrorKind, status: int, code: str, text: str, account: Account, action: str, model: str
) -> tuple[str, str]:
    """Return the message and the next step."""
    name, access = account.name, account.access
    because = f": {text}" if text else ""
    if kind == "key":
        short = " A short-term key ends after 12 hours." if account.provider == "mantle" else ""
        return (
            f"{name} refused the key in {access.key_variable}{because}",
            f"Check the key, or create one at {access.key_page}.{short}",
        )
    if kind == "permission":
        return (
            f"The key in {access.key_variable} is not allowed to {action}{because}",
            _hint_rights(account, code),
        )
    if kind == "closed":
        return _describe_closing(account), format_alternatives(model, account.provider)
    if kind == "quota":
        return f"{name} did not {action} because of a quota{because}", _hint_quota(account, text)
    if kind == "missing":
        return f"{name} could not {action}{because}", _hint_missing(account, code, text, model)
    if kind == "unreachable":
        if status == 429:
            return f"Too many requests to {name}{because}", "Wait a minute, and try again."
        return (
            f"{name} could not {action}: error {status} of the service{because}",
            "This usually passes. Try again in a few minutes.",
        )
    if status == 413:
        return (
            f"{name} did not {action}: the file is too large{because}",
            "Send fewer rows: set data.max_rows in the plan.",
        )
    return f"{name} rejected the request to {action}{because}", "Correct it, and try again."


def _hint_rights(account: Account, code: str) -> str:
    if code == "unsupported_country_region_territory":
        return f"{account.name} does not serve this country. Train elsewhere."
    if account.provider == "foundry":
        return "Ask for the role Azure AI User on the project, or use the key of another resource."
    if account.provider == "mantle":
        return (
            "Give the identity of the key the policy AmazonBedrockMantleFullAccess, and"
            " lambda:InvokeFunction on the grader."
        )
    return (
        "Give the key the rights for models, files and fine-tuning at"
        f" {account.access.key_page}, or use another key."
    )


def _hint_quota(account: Account, text: str) -> str:
    if _TOO_MANY_JOBS.search(text):
        return "Wait until a running job has ended, or cancel one."
    if account.provider == "foundry":
        return "Raise the quota of the subscription in the Azure portal, then try again."
    if account.provider == "mantle":
        return "Raise the quota of Amazon Bedrock in the console of Service Quotas, then try again."
    return (
        "Add credit or raise the limit at"
        " https://platform.openai.com/settings/organization/billing, then try again."
    )


def _hint_missing(account: Account, code: str, text: str, model: str) -> str:
    if model and (code in _MODEL_CODES or _NO_TUNING.search(text) or "model" in text.lower()):
        return hint_models(account.provider)
    return f"Check the id, and that {account.access.address_variable} is the right address."


def hint_models(provider: HostedProvider) -> str:
    """Name the models that the platform fine-tunes by the catalog."""
    today = datetime.date.today()
    names = [
        model.id
        for model in list_hosted_models("current")
        if model.platform == provider and check_deprecation(model, today).tunable
    ]
    extra = " A model may be missing in a region, or need another foundry.trainingType."
    listed = (
        f"It can fine-tune: {', '.join(names)}." if names else "It cannot fine-tune any model now."
    )
    return listed + (extra if provider == "foundry" else "")


def _describe_closing(account: Account) -> str:
    """Say that the service closes for this account, with the dates of the catalog."""
    today = datetime.date.today()
    ends = [
        end
        for end in catalog().lifecycles
        if (end.platform or end.provider) == account.provider and end.what != "models"
    ]
    reasons = [f"Since {end.date}: {end.text.rstrip('.')}" for end in ends if end.date <= today]
    reasons += [f"From {end.date}: {end.text.rstrip('.')}" for end in ends if end.date > today]
    closing = (
        f"{account.name} no longer lets this account create fine-tuning jobs, because it is closing"
    )
    return ". ".join([f"{closing} the service ({NOT_TRAINABLE})", *reasons])


def find_alternatives(model: str, provider: HostedProvider) -> list[tuple[str, str]]:
    """Return where else to train, nearest first: the value of ``provider``, and the model there."""
    elsewhere = hosted_models.find_alternatives(model, provider, datetime.date.today())
    return [*((other.platform, other.name) for other in elsewhere), ("local", "an open model")]


def format_alternatives(model: str, provider: HostedProvider) -> str:
    """Say where else to train, with the value of ``provider`` for each."""
    names = {**PLATFORM_NAMES, "foundry": "Microsoft Foundry"}
    listed = [
        f"{text} on this machine (provider: local)"
        if name == "local"
        else f"{text} at {names[name]} (provider: {name})"  # type: ignore[index]
        for name, text in find_alternatives(model, provider)
    ]
    return f"Alternatives: {', or '.join(listed)}."


def _translate_connection(
    error: openai.APIConnectionError, account: Account, action: str, creates: bool
) -> ProviderError:
    causes = list(iterate_causes(error))
    names = {type(cause).__name__ for cause in causes}
    unsent = bool(names & _UNSENT)
    message, hint, code = _describe_connection(error, causes, account, action)
    return ProviderError(
        "unreachable",
        message,
        AGAIN if creates and not unsent else hint,
        code=code,
        may_have_acted=creates and not unsent,
    )


def _describe_connection(
    error: openai.APIConnectionError, causes: list[BaseException], account: Account, action: str
) -> tuple[str, str, str]:
    """Return the message, the next step and a code."""
    check = f"Check the network, any proxy, and {account.access.address_variable}."
    if certificate := describe_certificate(causes, account.host, account.redact):
        return certificate
    if isinstance(error, openai.APITimeoutError):
        return f"{account.host} did not answer a request to {action} in time.", check, "timeout"
    reasons = [cause.strerror for cause in causes if isinstance(cause, OSError) and cause.strerror]
    reason = reasons[-1] if reasons else str(causes[-1]) if causes else ""
    because = f": {account.redact(reason)}" if reason else ""
    return f"{account.host} could not be reached{because}.".replace("..", "."), check, "connection"


def _read_code(error: openai.APIStatusError) -> str:
    """Return the platform's code; the inner one where Azure has one."""
    body: Any = error.body
    inner = body.get("innererror") if isinstance(body, dict) else None
    code = inner.get("code") if isinstance(inner, dict) else None
    return str(error.code or code or error.type or "")


def _read_message(error: openai.APIStatusError) -> str:
    body: Any = error.body
    if isinstance(body, dict):
        text = body.get("message") or body.get("detail") or body.get("error") or ""
        return text if isinstance(text, str) else str(text)
    return "" if not isinstance(body, str) or "<" in body else body
