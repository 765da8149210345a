"""Secrets and personal data in a row: named, located, never repeated."""

from __future__ import annotations

from collections.abc import Iterator

from ftwizard.data.checks.found import Found
from ftwizard.data.checks.texts import texts
from ftwizard.data.example import Example
from ftwizard.data.secrets import Secret, find
from ftwizard.data.targets import Target

_SECRET = (
    "put a placeholder in its place, and revoke it where it was issued: it would be uploaded, and "
    "the model could repeat it"
)
_NUMBER = "put a placeholder in its place: it would be uploaded, and the model could repeat it"
_PERSONAL = "put a placeholder in its place unless the person agrees, or it is an office's"
_WORDS = {
    "secret": ("what looks like a secret", _SECRET),
    "card_number": ("the number of a payment card", _NUMBER),
    "bank_account": ("the number of a bank account", _NUMBER),
    "national_id": ("a number that identifies a person", _NUMBER),
    "personal_data": ("personal data", _PERSONAL),
}


def check(example: Example, target: Target) -> Iterator[Found]:
    """Yield what is secret or personal in the texts of a row: its kind and place, not its value."""
    seen: set[tuple[str, str]] = set()
    for where, text in texts(example):
        for secret in find(text):
            if (where, secret.kind) not in seen:
                seen.add((where, secret.kind))
                yield _found(secret, where)


def _found(secret: Secret, where: str) -> Found:
    words, fix = _WORDS[secret.code]
    length = secret.end - secret.start
    return Found(secret.code, f"{where} holds {words}: {secret.kind}, {length:,} characters", fix)
