"""Errors of the service, as it words them."""

from __future__ import annotations

from typing import Any


class ServiceError(Exception):
    """Raised for a request that the service rejects."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        kind: str = "invalid_request_error",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param = status, message, code, param
        self.kind = kind
        self.headers = headers or {}

    def write(self, foundry: bool) -> dict[str, Any]:
        """Return the document of the reply."""
        if foundry:
            return {"error": {"code": self.code or str(self.status), "message": self.message}}
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.code,
            }
        }


def make_plain_error(status: int) -> ServiceError:
    """Return the usual error of a status."""
    if status == 429:
        return ServiceError(
            429,
            "Rate limit reached for requests. Please try again later.",
            kind="requests",
            code="rate_limit_exceeded",
        )
    if status >= 500:
        return ServiceError(
            status,
            "The server had an error while processing your request. Sorry about that!",
            kind="server_error",
        )
    return ServiceError(status, "The request was rejected.")


def mask_key(key: str) -> str:
    """Return a key as the service shows it."""
    return f"{key[:7]}{'*' * max(0, len(key) - 11)}{key[-4:]}" if len(key) > 11 else "*" * len(key)
