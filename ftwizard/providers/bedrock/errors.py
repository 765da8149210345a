"""Errors of boto3 as ProviderError: the cause in a sentence, and the next step."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from boto3.exceptions import Boto3Error
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError

from ftwizard.hosted_platforms import PLATFORMS
from ftwizard.providers.base import ErrorKind, ProviderError
from ftwizard.providers.fields import describe_clock, read_retry_after
from ftwizard.text import make_visible

MAX_TEXT = 300
"""Characters of AWS's message that are shown."""
QUOTA_PAGE = "https://console.aws.amazon.com/servicequotas/home/services/bedrock/quotas"
AGAIN = "Run the same command again: it looks the job up before it creates another."
NAME_TAKEN = "name_taken"
"""Code where a job of this name exists: an earlier request of the same run created it."""
KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""Variables with credentials; the last only for temporary ones."""
_SECRET_VARIABLES = (
    "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN", "AWS_BEARER_TOKEN_BEDROCK",
)  # fmt: skip
_KEY_LIKE = re.compile(r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}\b")
_ENCODED = re.compile(r"\s*Encoded authorization failure message:.*", re.IGNORECASE | re.DOTALL)
_WORD = re.compile(r"[\w+/=]{8,}")
_KEY_CODES = {
    "UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignature",
    "ExpiredToken", "ExpiredTokenException", "InvalidClientTokenId", "SignatureDoesNotMatch",
    "InvalidAccessKeyId", "InvalidToken", "MissingAuthenticationToken",
    "MissingAuthenticationTokenException", "RequestExpired", "RequestTimeTooSkewed",
    "TokenRefreshRequired", "AuthFailure",
}  # fmt: skip
_PERMISSION_CODES = {
    "AccessDenied", "AccessDeniedException", "AllAccessDisabled", "UnauthorizedOperation",
    "UnauthorizedException", "OptInRequired", "403",
}  # fmt: skip
_QUOTA_CODES = {"ServiceQuotaExceededException", "LimitExceeded", "QuotaExceededException"}
_MISSING_CODES = {
    "ResourceNotFoundException", "NoSuchEntity", "NoSuchBucket", "NoSuchKey", "NoSuchUpload",
    "NoSuchResourceException", "404",
}  # fmt: skip
_THROTTLES = {
    "Throttling", "ThrottlingException", "ThrottledException", "TooManyRequestsException",
    "RequestLimitExceeded", "RequestThrottled", "RequestThrottledException", "SlowDown",
    "LimitExceededException", "ModelNotReadyException", "BandwidthLimitExceeded",
}  # fmt: skip
_TRANSIENT_CODES = {
    "InternalServerException", "InternalFailure", "InternalError", "ServiceUnavailable",
    "ServiceUnavailableException", "RequestTimeout", "ServiceException", "ModelTimeoutException",
    "ResourceNotReadyException",
}  # fmt: skip
_SKEW_CODES = {"RequestTimeTooSkewed", "RequestExpired"}
_TAKEN_CODES = {"ResourceInUseException", "ConflictException", "ValidationException"}
_TAKEN = re.compile(
    r"\bjob name\b.*\b(?:in use|exists|taken|unique)\b|\bcustomization job\b.*\balready exists\b",
    re.IGNORECASE,
)
_ASSUME = re.compile(r"could not assume|cannot assume|unable to assume", re.IGNORECASE)
_NO_RIGHT = re.compile(
    r"could not validate \w+ permissions|s3 perms missing|not authorized to|"
    r"don't have access to the model",
    re.IGNORECASE,
)
_UNEXPECTED = re.compile(r"encountered an (?:unexpected|internal) error", re.IGNORECASE)
_OVER = re.compile(r"end of (?:its )?life", re.IGNORECASE)
_WRONG_MODEL = re.compile(r"model identifier is invalid|model identifier", re.IGNORECASE)
_EXPIRED = re.compile(r"\bexpired\b", re.IGNORECASE)
_SKEWED = re.compile(r"^Signature (?:expired|not yet current)\b", re.IGNORECASE)
CLOCK = "The clock of this machine is wrong. Set it: timedatectl set-ntp true"
_ACTION = re.compile(r"not authorized to perform:? ([\w-]+:\w+)")
_LOGINS: tuple[tuple[tuple[type[BaseException], ...], str], ...] = (
    (
        (boto.SSOError, boto.TokenRetrievalError, boto.NoAuthTokenError),
        "aws sso login",
    ),
    ((boto.LoginError,), "aws login"),
)
"""Which command logs in again, by the error of the credentials."""
_CREDENTIAL_ERRORS = (
    boto.NoCredentialsError, boto.PartialCredentialsError, boto.CredentialRetrievalError,
    boto.UnknownCredentialError, boto.InvalidConfigError, boto.ConfigParseError,
    boto.ConfigNotFound, boto.ProfileNotFound, boto.SSOError, boto.TokenRetrievalError,
    boto.NoAuthTokenError, boto.LoginError, boto.MetadataRetrievalError,
)  # fmt: skip
_REGION_ERRORS = (
    boto.NoRegionError, boto.InvalidRegionError, boto.UnknownRegionError,
    boto.ServiceNotInRegionError,
)  # fmt: skip
_UNSENT = (
    boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError, boto.SSLError,
)  # fmt: skip
"""Errors before anything was sent."""
_PROXY_ERRORS = {
    "ProxySchemeUnknown", "ProxySchemeUnsupported", "LocationParseError", "LocationValueError",
    "URLSchemeUnknown", "InvalidSchema", "ValueError",
}  # fmt: skip
"""Causes of an error of the HTTP client whose proxy cannot be used."""


_ROLES = ("iam-role", "container-role")
"""Methods of boto3 that find the credentials of a machine."""


class Account:
    """Who is asked, by which credentials, and the secrets that no message may have."""

    access = PLATFORMS["bedrock"]
    name = access.name

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.profile = (
            environment.get("AWS_DEFAULT_PROFILE") or environment.get("AWS_PROFILE") or "default"
        ).strip()
        self.has_keys = all(environment.get(name, "").strip() for name in KEYS[:2])
        """Whether boto3 takes keys of the environment, which count more than any profile."""
        self.method = ""
        """How boto3 found the credentials that it uses; empty before it has any."""
        values = (environment.get(name, "").strip() for name in _SECRET_VARIABLES)
        self._secrets = tuple(value for value in values if len(value) >= 8)

    def __repr__(self) -> str:
        return f"Account(profile={self.profile!r})"

    def redact(self, text: str, limit: int = MAX_TEXT) -> str:
        """Return text of AWS on one line, without keys or parts of them."""
        for secret in self._secrets:
            text = text.replace(secret, "[key]")
        text = _KEY_LIKE.sub("[key id]", _ENCODED.sub("", text))
        text = _WORD.sub(
            lambda match: (
                "[key]" if any(match[0] in secret for secret in self._secrets) else match[0]
            ),
            text,
        )
        return make_visible(" ".join(text.split()), limit)

    def describe_sources(self) -> str:
        """Say where boto3 looks for credentials, in its order."""
        return (
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, the profile"
            f" {make_visible(self.profile, 60)} in ~/.aws/config and ~/.aws/credentials, and the role"
            " of this machine"
        )

    def describe_renewal(self) -> str:
        """Say how to replace credentials that AWS refused."""
        if not self.has_keys:
            return self.describe_login()
        return (
            f"Set new ones: {', '.join(KEYS)}. Or remove them, since they count more than a login: unset"
            f" {' '.join(KEYS)}. {self.describe_login()}"
        )

    def describe_login(self, command: str = "") -> str:
        """Say how to log in; ``command``: the one that fits, without the profile."""
        command = command or self.access.login
        if self.profile != "default":
            command += f" --profile {make_visible(self.profile, 60)}"
        return f"Log in: {command} (see {self.access.key_page})"


def translate(
    error: BaseException, account: Account, action: str, *, creates: bool = False, model: str = ""
) -> ProviderError:
    """Return the ProviderError for an error of boto3.

    ``action`` is what was asked for: ``create the job``. ``creates``: it makes something new.
    """
    if isinstance(error, Boto3Error) and isinstance(error.__context__, Exception):
        error = error.__context__  # a transfer hides its cause
    if isinstance(error, boto.ClientError):
        return _translate_answer(error, account, action, creates, model)
    if isinstance(error, _CREDENTIAL_ERRORS):
        return _translate_credentials(error, account, action)
    if isinstance(error, _REGION_ERRORS):
        return ProviderError(
            "rejected",
            f"No region of AWS could be used to {action}"
            f": {account.redact(str(error)).rstrip('.')}.",
            "Set bedrock.region in the plan, or AWS_DEFAULT_REGION.",
            code="no_region",
        )
    if isinstance(error, boto.ParamValidationError):
        return ProviderError(
            "rejected",
            f"The request to {action} is not one that AWS takes: {account.redact(str(error))}",
            "Correct the settings under bedrock in the plan.",
            code="ParamValidation",
        )
    if isinstance(error, ResponseParserError):
        return unreadable(account, action, creates=creates)
    return _translate_connection(error, account, action, creates)


def unreadable(account: Account, action: str, *, creates: bool = False) -> ProviderError:
    """Return the error for an answer that is not AWS's, such as the page of a proxy."""
    return ProviderError(
        "unreachable",
        f"A request to {action} was answered, but not as {account.name} does.",
        AGAIN if creates else f"Check {account.access.address_variable}, and any proxy in between.",
        code="not_json",
        may_have_acted=creates,
    )


def _translate_credentials(error: BaseException, account: Account, action: str) -> ProviderError:
    """Return the error for credentials that boto3 does not have, or cannot use."""
    login = next((command for kinds, command in _LOGINS if isinstance(error, kinds)), "")
    if isinstance(error, boto.NoCredentialsError):
        message = f"There are no credentials for AWS: boto3 looked at {account.describe_sources()}."
        return ProviderError("key", message, account.describe_login(login), code="no_key")
    if isinstance(error, boto.ProfileNotFound):
        message = (
            f"The profile {make_visible(account.profile, 60)} is neither in ~/.aws/config nor in"
            " ~/.aws/credentials."
        )
        hint = "Set AWS_PROFILE to one of: aws configure list-profiles"
        return ProviderError("key", message, hint, code="no_profile")
    # A program that supplies credentials may print anything, so its text is not shown.
    is_private = isinstance(error, boto.CredentialRetrievalError | boto.ConfigParseError)
    because = "" if is_private else f": {account.redact(str(error)).rstrip('.')}"
    return ProviderError(
        "key",
        f"The credentials of AWS could not be used to {action} ({type(error).__name__}){because}."
        f" boto3 looked at {account.describe_sources()}.",
        account.describe_login(login),
        code=type(error).__name__,
    )


def _translate_connection(
    error: BaseException, account: Account, action: str, creates: bool
) -> ProviderError:
    """Return the error for a request without an answer."""
    host = _read_host(error)
    cause_name = type(getattr(error, "kwargs", {}).get("error")).__name__
    is_proxy = isinstance(error, boto.ProxyConnectionError) or cause_name in _PROXY_ERRORS
    lost = creates and not is_proxy and not isinstance(error, _UNSENT)
    cause, hint = "did not answer", "Check the network, then try again."
    if isinstance(error, boto.SSLError):
        cause = "has a certificate that this machine does not trust"
        hint = "Check the clock, and AWS_CA_BUNDLE if a proxy has a certificate of its own."
    elif is_proxy:
        cause, hint = "could not be reached through the proxy", "Check HTTPS_PROXY and NO_PROXY."
    elif isinstance(error, boto.ConnectTimeoutError | boto.EndpointConnectionError):
        cause = "could not be reached"
        hint = f"Check the network, the region, and {account.access.address_variable} if it is set."
    elif isinstance(error, boto.ReadTimeoutError):
        cause = "did not answer in time"
    return ProviderError(
        "unreachable",
        f"{host} {cause}, so it is unknown whether it did {action}."
        if lost
        else f"{host} {cause} when asked to {action}.",
        AGAIN if lost else hint,
        code=type(error).__name__,
        may_have_acted=lost,
    )


def _read_host(error: BaseException) -> str:
    """Return the host that did not answer; an address may have a password in it."""
    fields = getattr(error, "kwargs", None)
    address = fields.get("endpoint_url") if isinstance(fields, Mapping) else None
    try:
        host = urlsplit(str(address or "")).hostname
    except ValueError:
        host = None
    return make_visible(host, 100) if host else "AWS"


def _translate_answer(
    error: Any, account: Account, action: str, creates: bool, model: str
) -> ProviderError:
    code, status, headers, text = _read_answer(error, account)
    kind = classify(code, status, text)
    taken = creates and code in _TAKEN_CODES and bool(_TAKEN.search(text))
    is_throttled = code in _THROTTLES or status == 429
    lost = creates and kind == "unreachable" and not is_throttled
    message, hint = _describe(kind, code, status, text, account, action, model)
    if kind == "key" and (code in _SKEW_CODES or _EXPIRED.search(text) or _SKEWED.search(text)):
        is_skewed = code == "RequestTimeTooSkewed" or bool(_SKEWED.search(text))
        hint = describe_clock(headers.get("date"), time.time()) or (CLOCK if is_skewed else hint)
    if taken:
        hint = "A job of this run exists: run the same command again, which looks it up."
    return ProviderError(
        kind,
        f"{message.rstrip('. ')}.",
        AGAIN if lost else hint,
        code=NAME_TAKEN if taken else account.redact(code or str(status))[:60],
        may_have_acted=lost or taken,
        retry_after_s=read_retry_after(headers),
    )


def _read_answer(error: Any, account: Account) -> tuple[str, int, Mapping[str, str], str]:
    """Return code, HTTP status, headers and text of an error that AWS answered."""
    response = error.response if isinstance(error.response, Mapping) else {}
    details = response.get("Error")
    details = details if isinstance(details, Mapping) else {}
    metadata = response.get("ResponseMetadata")
    metadata = metadata if isinstance(metadata, Mapping) else {}
    status, headers = metadata.get("HTTPStatusCode"), metadata.get("HTTPHeaders")
    text = details.get("Message") or details.get("message") or response.get("message") or ""
    return (
        make_visible(str(details.get("Code") or ""), 60),
        status if isinstance(status, int) else 0,
        headers if isinstance(headers, Mapping) else {},
        account.redact(str(text)),
    )


def classify(code: str, status: int, text: str) -> ErrorKind:
    """Return the kind of an error by its code, else by its text and HTTP status."""
    if code in _KEY_CODES:
        return "key"
    if code in _PERMISSION_CODES:
        return "key" if _EXPIRED.search(text) and "token" in text.lower() else "permission"
    if code in _QUOTA_CODES:
        return "quota"
    if _OVER.search(text):
        return "closed"
    if code in _MISSING_CODES:
        return "missing"
    if code in _THROTTLES or code in _TRANSIENT_CODES or _UNEXPECTED.search(text):
        return "unreachable"
    if _ASSUME.search(text) or _NO_RIGHT.search(text):
        return "permission"
    if status >= 500 or status in (0, 408, 429):
        return "unreachable"
    return {401: "key", 403: "permission", 404: "missing", 402: "quota"}.get(status, "rejected")  # type: ignore[return-value]


def _describe(
    kind: ErrorKind, code: str, status: int, text: str, account: Account, action: str, model: str
) -> tuple[str, str]:
    """Return the message and the next step."""
    because = f": {text}" if text and text != code else f" ({code})" if code else ""
    if kind == "key":
        return (
            f"AWS refused the credentials of {_name_credentials(account)}{because}",
            account.describe_renewal(),
        )
    if kind == "permission":
        return f"AWS does not allow this account to {action}{because}", _hint_rights(text)
    if kind == "quota":
        return (
            f"{account.name} did not {action} because of a quota{because}",
            f"Wait until a running job has ended, or ask for more at {QUOTA_PAGE}.",
        )
    if kind == "closed":
        return f"{account.name} no longer offers this model{because}", "Choose another model."
    if kind == "missing":
        return (
            f"AWS could not {action}{because}",
            "Check the name, the region and the account.",
        )
    if kind == "unreachable":
        if code in _THROTTLES or status == 429:
            return f"Too many requests to {account.name}{because}", "Wait a minute, and try again."
        return (
            f"{account.name} could not {action}: error {code or status} of the service{because}",
            "This usually passes. Try again in a few minutes.",
        )
    hint = "Correct it, and try again."
    if model and _WRONG_MODEL.search(text):
        hint = "The model is not tuned in this region, or its id is not that of a tunable model."
    return f"{account.name} rejected the request to {action}{because}", hint


def _name_credentials(account: Account) -> str:
    if account.has_keys:
        return "AWS_ACCESS_KEY_ID in the environment"
    if account.method in _ROLES:
        return "the role of this machine"
    return f"the profile {make_visible(account.profile, 60)}"


def _hint_rights(text: str) -> str:
    if _ASSUME.search(text):
        return (
            "Let Bedrock assume the role: its trust policy must name bedrock.amazonaws.com, this"
            " account, and the region of the job. A new role takes about 10 s until it can be used."
        )
    if match := _ACTION.search(text):
        who = "an organization's policy" if "service control policy" in text.lower() else "IAM"
        return f"Allow {match[1]} in {who}, or use another profile: AWS_PROFILE."
    if "access to the model" in text.lower():
        return "Ask for access to the model in the Bedrock console, under Model access."
    return "Ask who manages the AWS account for the right, or use another profile: AWS_PROFILE."
