"""Answers of the double, and the errors of the service in its own words."""

from __future__ import annotations

from typing import Any

import msgspec


class Answer(msgspec.Struct, kw_only=True):
    status: int = 200
    body: Any = None
    """JSON, or bytes."""
    headers: dict[str, str] = {}


class Refusal(Exception):
    """Raised to answer with an error."""

    def __init__(self, status: int, message: str, code: str | None = None, **fields: Any) -> None:
        super().__init__(message)
        error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
        self.answer = Answer(status=status, body={"error": error} | fields)


class V2Refusal(Refusal):
    """An error of the routes of version 2, which has no ``error`` object."""

    def __init__(self, status: int, message: str, code: int = 3) -> None:
        super().__init__(status, message)
        self.answer = Answer(status=status, body={"code": code, "message": message, "details": []})
