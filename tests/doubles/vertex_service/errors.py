"""Errors of the service in Google's own shapes."""

from __future__ import annotations

from typing import Any

STATUSES = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
    409: "ABORTED", 429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL",
    503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED",
}  # fmt: skip
REASONS = {
    400: "invalid", 401: "required", 403: "forbidden", 404: "notFound", 409: "conflict",
    412: "conditionNotMet", 429: "rateLimitExceeded",
}  # fmt: skip
_TEXTS = {
    429: "Resource exhausted. Please try again later.",
    500: "Internal error encountered.",
    503: "The service is currently unavailable.",
}


class ServiceError(Exception):
    """An error of Vertex AI.

    ``status`` is the word for the HTTP status, where it is not the usual one; ``reason`` and
    ``metadata`` are those of an ErrorInfo.
    """

    def __init__(
        self,
        code: int,
        message: str,
        *,
        status: str = "",
        reason: str = "",
        metadata: dict[str, str] | None = None,
        field: str = "",
        html: bool = False,
    ) -> None:
        super().__init__(message)
        self.code, self.message, self.html = code, message, html
        self.status = status or STATUSES.get(code, "UNKNOWN")
        self.details: list[dict[str, Any]] = []
        if reason:
            info = {"reason": reason, "domain": "googleapis.com", "metadata": metadata or {}}
            self.details.append({"@type": "type.googleapis.com/google.rpc.ErrorInfo", **info})
        if field:
            violations = [{"field": field, "description": message}]
            kind = "type.googleapis.com/google.rpc.BadRequest"
            self.details.append({"@type": kind, "fieldViolations": violations})

    def write(self) -> Any:
        """Return the body."""
        if self.html:
            return (
                "<!DOCTYPE html>\n<html lang=en><title>Error 404 (Not Found)!!1</title>"
                f"<p><b>404.</b> <ins>That’s an error.</ins><p>{self.message}</html>"
            )
        error = {"code": self.code, "message": self.message, "status": self.status}
        return {"error": {**error, **({"details": self.details} if self.details else {})}}


class StorageError(ServiceError):
    """An error of Cloud Storage's JSON API."""

    def write(self) -> Any:
        reason = REASONS.get(self.code, "backendError")
        entry = {"message": self.message, "domain": "global", "reason": reason}
        return {"error": {"code": self.code, "message": self.message, "errors": [entry]}}


def refuse_precondition(message: str) -> ServiceError:
    """Return a refusal that the state of the service or the location causes."""
    return ServiceError(400, message, status="FAILED_PRECONDITION")


def make_plain_error(code: int, *, storage: bool) -> ServiceError:
    """Return the service's usual error of an HTTP status."""
    text = _TEXTS.get(code, f"The request failed with status {code}.")
    return (StorageError if storage else ServiceError)(code, text)
