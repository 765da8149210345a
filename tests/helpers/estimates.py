"""Estimate reports for tests, with empty defaults for missing keys."""

from __future__ import annotations

from typing import Any

import msgspec

from ftwizard.estimate.report import EstimateReport

_PART: dict[str, Any] = {
    "rows": 0,
    "kept": 0,
    "cut": 0,
    "lost": [],
    "tokens": 0,
    "trained": 0,
    "longest": 0,
}
_DISK: dict[str, Any] = {"short": None, "parts": {}, "later": {}, "elsewhere": None}
_OFFER: dict[str, Any] = {
    "provider": "local", "platform": "local", "model": "m", "name": "a GPU", "weights": "yes", "owner": "",
}  # fmt: skip
_REPORT: dict[str, Any] = {
    "edition": "current", "sort": "provider", "date": "2026-11-25", "tokens": 0, "by_model": {},
    "counted": {}, "costs": [], "monthly": None, "notes": [], "model": {"said": "owner/model"},
    "parameters": 1, "trained": 0, "parts": {},
}  # fmt: skip


def make_report(**fields: Any) -> EstimateReport:
    """Return a report with these keys of the document of ``ftwizard estimate``."""
    document = _REPORT | fields
    document["parts"] = {name: _PART | part for name, part in document["parts"].items()}
    document["costs"] = [_OFFER | offer for offer in document["costs"]]
    if document.get("disk"):
        document["disk"] = _DISK | document["disk"]
    return msgspec.convert(_with_sources(msgspec.to_builtins(document)), EstimateReport)


def _with_sources(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_sources(item) for item in value]
    if not isinstance(value, dict):
        return value
    items = {name: _with_sources(item) for name, item in value.items()}
    return {"unit": "bytes", "source": "made up", **items} if "value" in items else items
