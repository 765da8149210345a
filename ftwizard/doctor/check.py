"""One thing that was looked at."""

from __future__ import annotations

from typing import Literal

import msgspec

Status = Literal["ok", "warning", "missing"]


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at."""

    name: str
    status: Status
    found: str
    fix: str = ""
    """What to do; empty where nothing needs to be."""


def ok(name: str, found: str) -> Check:
    """Return what is as it should be."""
    return Check(name=name, status="ok", found=found)


def warning(name: str, found: str, fix: str) -> Check:
    """Return what may go wrong, or is slower than it could be."""
    return Check(name=name, status="warning", found=found, fix=fix)


def missing(name: str, found: str, fix: str) -> Check:
    """Return what training here needs and does not have."""
    return Check(name=name, status="missing", found=found, fix=fix)


def merge(earlier: list[Check], *later: Check) -> list[Check]:
    """Return the checks with ``later`` ones, each in the place of an earlier one of its name."""
    newest = {one.name: one for one in later}
    kept = [newest.pop(one.name, one) for one in earlier]
    return [*kept, *newest.values()]
