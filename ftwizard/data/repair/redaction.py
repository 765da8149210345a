"""Redaction: secrets replaced with placeholders that name their kind."""

from __future__ import annotations

from typing import Any

from ftwizard.data.privacy.detect import find_secrets
from ftwizard.data.repair.change import RowChange, format_path, iterate_texts

CODES = frozenset({"secret", "card_number", "bank_account", "national_id"})
"""Codes of what is redacted on request. Names and addresses are often needed for training, so they
are only reported."""
_MAX_ROUNDS = 8


def redact_row(row: Any) -> list[RowChange]:
    """Replace the secrets in every text of a row in place and return the changes."""
    changes: list[RowChange] = []
    for container, key, path in iterate_texts(row):
        text, kinds = _redact_text(container[key])
        container[key] = text
        changes += [
            RowChange(code, format_path(path), f"a secret: {kind}", _placeholder(kind))
            for code, kind in kinds
        ]
    return changes


def _redact_text(text: str) -> tuple[str, list[tuple[str, str]]]:
    """Return a text without its secrets, and the code and kind of each.

    Once a secret is gone, the text around it can look like one: the result is searched again.
    """
    kinds: list[tuple[str, str]] = []
    for _ in range(_MAX_ROUNDS):
        secrets = [secret for secret in find_secrets(text) if secret.code in CODES]
        if not secrets:
            break
        pieces, end = [], 0
        for secret in secrets:
            pieces += [text[end : secret.start], _placeholder(secret.kind)]
            kinds.append((secret.code, secret.kind))
            end = secret.end
        text = "".join([*pieces, text[end:]])
    return text, kinds


def _placeholder(kind: str) -> str:
    return f"[redacted: {kind}]"
