"""Fields of what a platform sends: each may be missing, new, or of another type."""

from __future__ import annotations

import datetime
import email.utils
import math
from collections.abc import Mapping
from typing import Any

from ftwizard.text import format_duration, make_visible

MAX_TEXT = 1000
"""Characters of a field that are kept."""
MAX_RETRY_AFTER_S = 3600.0
"""Longest pause that a platform may ask for."""


def get_text(record: Mapping[str, Any], name: str) -> str | None:
    """Return a field as visible text; None if it is missing, empty or something else."""
    value = record.get(name)
    return make_visible(value, MAX_TEXT) if isinstance(value, str) and value else None


def get_count(record: Mapping[str, Any], name: str) -> int | None:
    """Return a field as a whole number of at least 0; None if it is missing or something else."""
    number = read_number(record.get(name))
    return int(number) if number is not None and math.isfinite(number) and number >= 0 else None


def get_list(record: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """Return the objects in a list; none if it is missing."""
    value = record.get(name)
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def read_number(value: Any) -> float | None:
    """Return a number, also one written as text (``NaN``); None for everything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def read_time(value: Any) -> float | None:
    """Return Unix seconds of a time in ISO 8601 or in seconds; None for everything else."""
    if isinstance(value, datetime.datetime):
        return value.timestamp()
    if isinstance(value, str):
        with_zone = value.strip().replace(" UTC", "Z")
        try:
            moment = datetime.datetime.fromisoformat(with_zone)
        except ValueError:
            return None
        return (moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)).timestamp()
    number = read_number(value)
    return number if number and math.isfinite(number) and number > 0 else None


def read_retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a platform asks to wait: a number, or a date; None for anything else.

    The date is by the platform's own clock, which the header ``Date`` has.
    """
    text = headers.get("retry-after", "")
    try:
        seconds = float(text)
    except ValueError:
        try:
            end, now = email.utils.parsedate_to_datetime(text), datetime.datetime.now(datetime.UTC)
            start = email.utils.parsedate_to_datetime(headers["date"]) if "date" in headers else now
            seconds = (end - start).total_seconds()
        except (ValueError, TypeError, OverflowError):
            return None
    return None if math.isnan(seconds) else min(max(seconds, 0.0), MAX_RETRY_AFTER_S)


def describe_clock(header: str | None, now: float) -> str:
    """Return a caution if the clock differs from a ``Date`` header by over five minutes."""
    try:
        server = email.utils.parsedate_to_datetime(header or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return ""
    difference = now - server
    if abs(difference) <= 300:
        return ""
    direction = "ahead of" if difference > 0 else "behind"
    return (
        f"This machine's clock is {format_duration(abs(difference))} {direction} the platform's."
        " Set it: timedatectl set-ntp true"
    )
