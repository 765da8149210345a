"""Errors of the services, in the form of each."""

from __future__ import annotations

import dataclasses
import json
from typing import Any
from xml.sax.saxutils import escape

S3_CODES = {
    400: "InvalidRequest", 403: "AccessDenied", 404: "NoSuchKey", 409: "OperationAborted",
    429: "SlowDown", 500: "InternalError", 503: "SlowDown",
}  # fmt: skip
QUERY_CODES = {
    400: "ValidationError", 403: "AccessDenied", 404: "NoSuchEntity", 429: "Throttling",
    500: "InternalFailure", 503: "ServiceUnavailable",
}  # fmt: skip
JSON_CODES = {
    400: "ValidationException", 403: "AccessDeniedException", 404: "ResourceNotFoundException",
    429: "ThrottlingException", 500: "InternalServerException", 503: "ServiceUnavailableException",
}  # fmt: skip
MESSAGES = {
    403: "The request is denied.",
    404: "The requested resource was not found.",
    429: "Too many requests, please wait before trying again.",
    500: "The system encountered an unexpected error during processing. Try your request again.",
    503: "The service is temporarily unavailable. Please try again.",
}
QUERY_SERVICES = ("iam", "sts")
TARGET_SERVICES = ("servicequotas", "pricing")
"""Services whose calls are named by a header."""


class AwsError(Exception):
    """Raised for a request that the service rejects."""

    def __init__(
        self, status: int, code: str, message: str, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message
        self.headers = headers or {}


@dataclasses.dataclass
class Reply:
    """An answer of a service."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = dataclasses.field(default_factory=dict)


def invalid(message: str) -> AwsError:
    return AwsError(400, "ValidationException", message)


def missing(message: str) -> AwsError:
    return AwsError(404, "ResourceNotFoundException", message)


def write_json(document: Any, status: int = 200) -> Reply:
    return Reply(status, json.dumps(document).encode(), {"Content-Type": "application/json"})


def make_plain_error(service: str, status: int, code: str = "", message: str = "") -> AwsError:
    """Return an error with the service's own code and words for a status."""
    table = {"s3": S3_CODES, "iam": QUERY_CODES, "sts": QUERY_CODES}.get(service, JSON_CODES)
    kind = 500 if status >= 500 and status != 503 else status
    code = code or table.get(kind, table[400])
    return AwsError(status, code, message or MESSAGES.get(kind, "The request is not valid."))


def write_error(service: str, error: AwsError, request_id: str, *, is_head: bool = False) -> Reply:
    """Return an error as the service writes it; one to HEAD has no body."""
    headers = {"x-amzn-RequestId": request_id, "x-amz-request-id": request_id, **error.headers}
    if is_head:
        return Reply(error.status, b"", headers)
    code, message = escape(error.code), escape(error.message)
    inner = f"<Code>{code}</Code><Message>{message}</Message>"
    if service == "s3":
        text = f"<Error>{inner}<RequestId>{request_id}</RequestId></Error>"
        return _write_xml(error.status, text, headers)
    if service in QUERY_SERVICES:
        kind = "Sender" if error.status < 500 else "Receiver"
        text = (
            f"<ErrorResponse><Error><Type>{kind}</Type>{inner}</Error>"
            f"<RequestId>{request_id}</RequestId></ErrorResponse>"
        )
        return _write_xml(error.status, text, headers)
    if service in TARGET_SERVICES:
        reply = write_json({"__type": error.code, "message": error.message}, error.status)
    else:
        reply = write_json({"message": error.message}, error.status)
        headers["x-amzn-ErrorType"] = error.code
    reply.headers |= headers
    return reply


def _write_xml(status: int, text: str, headers: dict[str, str]) -> Reply:
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n{text}'.encode()
    return Reply(status, body, {"Content-Type": "text/xml", **headers})
