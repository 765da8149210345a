"""Keys and signatures (Signature Version 4), checked as the services do."""

from __future__ import annotations

import hashlib
import hmac
import re
import urllib.parse
from datetime import UTC, datetime, timedelta

from tests.doubles.aws.calls import Call
from tests.doubles.aws.errors import QUERY_SERVICES, AwsError
from tests.doubles.aws.scenario import AwsScenario

MAX_SKEW = timedelta(minutes=15)
_FORM = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d+/[^/]+/[^/]+/aws4_request), ?"
    r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]+)"
)
_WRONG = (
    "The request signature we calculated does not match the signature you provided. Check your AWS "
    "Secret Access Key and signing method."
)


def check_signature(call: Call, scenario: AwsScenario) -> None:
    """Raise AwsError for a request that does not come from the account."""
    authorization = call.headers.get("authorization", "")
    if authorization.startswith("Bearer "):
        message = "Authentication failed: Please make sure your API Key is valid."
        raise AwsError(403, "AccessDeniedException", message)
    match = _FORM.match(authorization)
    if not match:
        raise _refuse(
            call.service, "Missing Authentication Token",
            "MissingAuthenticationTokenException", "MissingAuthenticationToken", "AccessDenied",
        )  # fmt: skip
    if match[1] != scenario.key_id:
        message = "The security token included in the request is invalid."
        if call.service == "s3":
            message = "The AWS Access Key Id you provided does not exist in our records."
        raise _refuse(
            call.service, message,
            "UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId",
        )  # fmt: skip
    _check_time(call, scenario)
    expected = _sign(call, scenario.key, match[2], match[3])
    if not hmac.compare_digest(expected, match[4]):
        raise _refuse(
            call.service, _WRONG,
            "InvalidSignatureException", "SignatureDoesNotMatch", "SignatureDoesNotMatch",
        )  # fmt: skip
    _check_token(call, scenario)


def _refuse(service: str, message: str, plain: str, query: str, storage: str) -> AwsError:
    if service == "s3":
        return AwsError(403, storage, message)
    return AwsError(403, query if service in QUERY_SERVICES else plain, message)


def _check_time(call: Call, scenario: AwsScenario) -> None:
    now = datetime.now(UTC) + timedelta(seconds=scenario.clock_offset_s)
    date = call.headers.get("x-amz-date", "")
    try:
        sent = datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        sent = datetime.min.replace(tzinfo=UTC)
    if abs(now - sent) > MAX_SKEW:
        message = f"Signature expired: {date} is now earlier than {now - MAX_SKEW:%Y%m%dT%H%M%SZ}"
        if call.service == "s3":
            message = "The difference between the request time and the current time is too large."
        raise _refuse(
            call.service, message,
            "InvalidSignatureException", "SignatureDoesNotMatch", "RequestTimeTooSkewed",
        )  # fmt: skip


def _check_token(call: Call, scenario: AwsScenario) -> None:
    if scenario.expired:
        if call.service == "s3":
            raise AwsError(400, "ExpiredToken", "The provided token has expired.")
        message = "The security token included in the request is expired"
        raise _refuse(call.service, message, "ExpiredTokenException", "ExpiredToken", "")
    if call.headers.get("x-amz-security-token") != scenario.session_token:
        if call.service == "s3":
            raise AwsError(
                400, "InvalidToken", "The provided token is malformed or otherwise invalid."
            )
        message = "The security token included in the request is invalid."
        raise _refuse(
            call.service, message, "UnrecognizedClientException", "InvalidClientTokenId", ""
        )


def _sign(call: Call, key: str, scope: str, signed: str) -> str:
    """Return the signature that a request must have."""
    path = call.path if call.service == "s3" else urllib.parse.quote(call.path, safe="/~")
    pairs = sorted(pair.partition("=")[::2] for pair in call.raw_query.split("&") if pair)
    query = "&".join(f"{name}={value}" for name, value in pairs)
    names = signed.split(";")
    headers = "".join(f"{name}:{' '.join(call.headers.get(name, '').split())}\n" for name in names)
    digest = call.headers.get("x-amz-content-sha256") or hashlib.sha256(call.data).hexdigest()
    request = f"{call.method}\n{path}\n{query}\n{headers}\n{signed}\n{digest}"
    text = "\n".join(
        [
            "AWS4-HMAC-SHA256", call.headers.get("x-amz-date", ""), scope,
            hashlib.sha256(request.encode()).hexdigest(),
        ]
    )  # fmt: skip
    secret = f"AWS4{key}".encode()
    for part in scope.split("/"):
        secret = hmac.digest(secret, part.encode(), "sha256")
    return hmac.digest(secret, text.encode(), "sha256").hex()
