"""Secrets and personal data in a row, reported by kind and position, never by value."""

from __future__ import annotations

from collections.abc import Iterator

from ftwizard.data.checks.row_texts import iter_texts
from ftwizard.data.example import Example
from ftwizard.data.findings import RowFinding
from ftwizard.data.platforms import Target
from ftwizard.data.privacy.detect import Secret, find_secrets

_SECRET = (
    "replace it with a placeholder and revoke it: it would be uploaded, and the model could repeat "
    "it"
)
_NUMBER = "replace it with a placeholder: it would be uploaded, and the model could repeat it"
_PERSONAL = "replace it with a placeholder, unless the person agreed or it is a public contact"
_TEXTS = {
    "secret": ("a possible secret", _SECRET),
    "card_number": ("a payment card number", _NUMBER),
    "bank_account": ("a bank account number", _NUMBER),
    "national_id": ("a personal identity number", _NUMBER),
    "personal_data": ("personal data", _PERSONAL),
}


def check(example: Example, target: Target) -> Iterator[RowFinding]:
    """Yield the secrets and personal data in the texts of a row, each kind once per message."""
    reported: set[tuple[str, str]] = set()
    for where, text in iter_texts(example):
        for secret in find_secrets(text):
            if (where, secret.kind) not in reported:
                reported.add((where, secret.kind))
                yield _to_finding(secret, where)


def _to_finding(secret: Secret, where: str) -> RowFinding:
    name, fix = _TEXTS[secret.code]
    length = secret.end - secret.start
    return RowFinding(
        secret.code, f"{where} contains {name}: {secret.kind}, {length:,} characters", fix
    )
