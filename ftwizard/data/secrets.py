"""Secrets and personal data in a text: where they are, and the text without them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from ftwizard.data.prefilter import RULES, prefilter
from ftwizard.data.secret_rules import compiled


class Secret(NamedTuple):
    """What must not be learnt, uploaded or shown, and where it stands in a text."""

    kind: str
    """In plain words: ``GitHub token``, ``e-mail address``."""
    start: int
    end: int
    code: str
    """``secret``, ``card_number``, ``bank_account``, ``national_id`` or ``personal_data``."""


def find(text: str) -> list[Secret]:
    """Return the secrets and personal data of a text, in order, none overlapping another."""
    orders = prefilter().rules(text)
    found = [(start, end, order) for order in orders for start, end in _places(order, text)]
    merged: list[tuple[int, int, int]] = []
    for start, end, order in sorted(found):
        if merged and start < merged[-1][1]:
            first, last, before = merged[-1]
            merged[-1] = (first, max(last, end), min(before, order))
        else:
            merged.append((start, end, order))
    return [Secret(RULES[i].kind, start, end, RULES[i].code) for start, end, i in merged]


def _places(order: int, text: str) -> Iterator[tuple[int, int]]:
    rule = RULES[order]
    for match in compiled(rule.pattern).finditer(text):
        if rule.real(match):
            start = match.start("value")
            yield start, start + rule.trim(match["value"])


_ROUNDS = 8
_MOST = 200
_DEPTH = 100


def redact(text: str) -> str:
    """Return a text with each secret replaced by what it was: ``[GitHub token, 40 characters]``.

    What stood beside one can look like one itself when it is gone, so that the result is
    searched again; a text that is made of little else is not shown at all.
    """
    length = len(text)
    for _ in range(_ROUNDS):
        found = find(text)
        if not found:
            return text
        if len(found) > _MOST:
            break
        text = _replaced(text, found)
    return f"[text full of secrets or personal data, {length:,} characters]"


def _replaced(text: str, found: list[Secret]) -> str:
    shown: dict[str, str] = {}
    parts, at = [], 0
    for secret in found:
        word = text[secret.start : secret.end]
        shown[word] = f"[{secret.kind}, {len(word):,} characters]"
        parts += [text[at : secret.start], shown[word]]
        at = secret.end
    rest = "".join([*parts, text[at:]])
    for word, instead in shown.items():
        rest = rest.replace(word, instead)  # once more, where nothing else told what it is
    return rest


def redact_value(value: Any) -> Any:
    """Return a JSON value with its texts redacted, keys included; other values as they are.

    A key speaks for its value, as in ``{"password": …}``. What is nested more than 100 deep is
    left out.
    """
    return _redacted(value, _DEPTH)


def _redacted(value: Any, depth: int) -> Any:
    if isinstance(value, str):
        return redact(value)
    if not isinstance(value, dict | list | tuple):
        return value
    if depth == 0:
        return "[nested too deep to be shown]"
    if isinstance(value, dict):
        return {_redacted(k, depth): _named(k, v, depth - 1) for k, v in value.items()}
    return [_redacted(item, depth - 1) for item in value]


def _named(key: Any, value: Any, depth: int) -> Any:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return _redacted(value, depth)
    before = f"{key}: "
    text = f"{before}{value}"
    shown = redact(text)
    if shown == text:
        return value
    return shown.removeprefix(before) if shown.startswith(before) else _redacted(str(value), depth)
