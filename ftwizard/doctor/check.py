"""Checks: a name, a status, what was found, and a fix."""

from __future__ import annotations

from typing import Literal

import msgspec

CheckStatus = Literal["ok", "warning", "missing"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """The result of one check."""

    name: str
    status: CheckStatus
    detail: str = msgspec.field(name="found")
    """What was found."""
    fix: str = ""
    """What to do; empty if nothing."""


class DoctorReport(msgspec.Struct, frozen=True):
    """The document of ``ftwizard doctor --json``."""

    checks: list[Check]


def ok(name: str, detail: str) -> Check:
    """Return a check that passed."""
    return Check(name=name, status="ok", detail=detail)


def warning(name: str, detail: str, fix: str) -> Check:
    """Return a check of something that may fail, or is slower than necessary."""
    return Check(name=name, status="warning", detail=detail, fix=fix)


def missing(name: str, detail: str, fix: str) -> Check:
    """Return a check of something that training needs and that is missing."""
    return Check(name=name, status="missing", detail=detail, fix=fix)
