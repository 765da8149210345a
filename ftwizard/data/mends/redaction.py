"""Secrets replaced by words that say what stood there."""

from __future__ import annotations

from typing import Any

from ftwizard.data.mends.change import Change
from ftwizard.data.mends.places import in_texts, where
from ftwizard.data.secrets import find

CODES = frozenset({"secret", "card_number", "bank_account", "national_id"})
"""What is replaced where that is asked for. Names, addresses and the like are often what is to be
learnt: these are only reported."""
_ROUNDS = 8


def mend(row: Any) -> list[Change]:
    """Replace the secrets in every text of a row, in its place, and return the changes."""
    changes: list[Change] = []
    for container, key, path in in_texts(row):
        text, kinds = _replaced(container[key])
        container[key] = text
        changes += [
            Change(code, where(path), f"a secret: {kind}", _placeholder(kind))
            for code, kind in kinds
        ]
    return changes


def _replaced(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Return a text without its secrets, and the code and kind of each.

    What stood beside one can look like one itself once it is gone: the result is searched again.
    """
    kinds: list[tuple[str, str]] = []
    for _ in range(_ROUNDS):
        found = [secret for secret in find(text) if secret.code in CODES]
        if not found:
            break
        pieces, place = [], 0
        for secret in found:
            pieces += [text[place : secret.start], _placeholder(secret.kind)]
            kinds.append((secret.code, secret.kind))
            place = secret.end
        text = "".join([*pieces, text[place:]])
    return text, kinds


def _placeholder(kind: str) -> str:
    return f"[redacted: {kind}]"
